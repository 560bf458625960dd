//! Arguments of `wright stack`.
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Stacks of the environment's cloud
#[derive(Debug, Subcommand)]
pub enum StackCommand {
    /// Create a stack from a template and wait for it
    Create(DefineArgs),
    /// Bring a stack to what a template says and wait for it
    Update(DefineArgs),
    /// Delete a stack and wait until nothing of it is left
    Delete {
        /// Name of the stack
        name: String,
    },
    /// Show a stack with its outputs
    Show {
        /// Name of the stack
        name: String,
    },
    /// List stacks
    List,
}

#[derive(Debug, Args)]
pub struct DefineArgs {
    /// Name of the stack
    pub name: String,
    /// Template (HOT)
    #[arg(long, short, value_name = "FILE")]
    pub template: PathBuf,
    /// A parameter's value; may be repeated
    #[arg(long = "parameter", short = 'P', value_name = "NAME=VALUE")]
    pub parameters: Vec<String>,
    /// Environment file; may be repeated, later ones win
    #[arg(long = "environment", value_name = "FILE")]
    pub environments: Vec<PathBuf>,
    /// Go back to what was before when it fails
    #[arg(long)]
    pub rollback: bool,
    /// Minutes that it may take
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub timeout: u32,
}
