//! Arguments of `wright database`, which is run on a controller.

use clap::Subcommand;
use std::path::PathBuf;

/// Look at the database's cluster, and decide where its guards must not
#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Show what every controller's guard says
    Status {
        /// The guard's configuration file
        #[arg(long, value_name = "FILE", default_value = "/etc/wright/database.toml")]
        config: PathBuf,
    },
    /// Begin the cluster from this node's data
    ///
    /// For when a controller is lost for good, or the data differ: `status` says what was found, and what may be lost.
    /// Make sure first that the database server of every node that cannot be heard is off. Holds for one start, and is
    /// refused while a cluster runs.
    Bootstrap {
        /// The guard's configuration file
        #[arg(long, value_name = "FILE", default_value = "/etc/wright/database.toml")]
        config: PathBuf,
    },
}
