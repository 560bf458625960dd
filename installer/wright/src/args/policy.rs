//! Arguments of `wright policy`.

use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;

/// Rules of who may call what: show them, check a file with own ones
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show the rules that hold without a policy file, as such a file
    Show {
        /// Which service
        #[arg(value_enum)]
        service: ApiName,
    },
    /// Check a policy file, and tell all that is wrong with it
    Check {
        /// The service that it is for
        #[arg(value_enum)]
        service: ApiName,
        /// The file
        file: PathBuf,
    },
}

/// The services with an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApiName {
    Identity,
    Image,
    Placement,
    Network,
    Compute,
    Orchestration,
}
