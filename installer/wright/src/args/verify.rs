//! Arguments of `wright verify`.
use clap::{Args, Subcommand};
use inventory::NetworkName;
use std::path::PathBuf;

/// What to verify
#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// Check the running cloud: units, ports, clocks; a token, an image, a network, a server, a stack
    Health,
    Network(NetworkArgs),
    /// Launch a stack, prove that it works, grow it, delete it, and see that nothing is left
    Stack(ProofArgs),
}

/// Check the wires: VLANs, full-size frames, addresses, strangers, gateways, servers, BMCs
///
/// Asks all installed nodes at once, with or without roles; each card and bond member sends and listens by itself, so
/// nothing need be configured on it. Tells the cable that is at fault. Exit status 1 when something is.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// Only this network; may be given several times
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub only: Vec<NetworkName>,
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
