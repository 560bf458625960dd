//! Arguments of `wright serve`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Run one service of a deployed cloud.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which service
    #[arg(value_enum)]
    pub service: ServiceName,
    /// Its configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// The bundled services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServiceName {
    Identity,
    Image,
    Placement,
    Network,
    Orchestration,
    Compute,
    /// The agent of a compute node
    ComputeAgent,
    /// The guard of the database's cluster, on a controller
    Database,
}
