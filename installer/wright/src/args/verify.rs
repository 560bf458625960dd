//! Arguments of `wright verify`.
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to verify
#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// Check the running cloud: units, ports, clocks; a token, an image, a network, a server, a stack
    Health,
    /// Launch a stack, prove that it works, grow it, delete it, and see that nothing is left
    Stack(ProofArgs),
}

#[derive(Debug, Args)]
pub struct ProofArgs {
    /// Template of the stack
    #[arg(
        long,
        value_name = "FILE",
        default_value = "templates/two-servers.yaml"
    )]
    pub template: PathBuf,
    /// Template that the stack is updated to
    #[arg(
        long,
        value_name = "FILE",
        default_value = "templates/three-servers.yaml"
    )]
    pub update: PathBuf,
    /// Name of the stack
    #[arg(long, default_value = "demo")]
    pub name: String,
    /// Leave the stack running after the first proof
    #[arg(long)]
    pub keep: bool,
}
