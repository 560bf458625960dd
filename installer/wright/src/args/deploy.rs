//! Arguments of `wright deploy`.
use clap::Args;
use std::path::PathBuf;

/// Make the environment's machines into a cloud
///
/// Boots and installs every node that is not installed yet, runs the roles of all nodes, and checks the cloud.
/// Killed at any step, it goes on where it stopped when it is run again; run again when all is done, it
/// changes nothing and says so.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// Playbook that maps groups to roles
    #[arg(long, value_name = "FILE", default_value = "roles/site.yml")]
    pub playbook: PathBuf,
    /// Run roles only on these nodes (a host pattern); all nodes' facts stay known
    #[arg(long, value_name = "PATTERN")]
    pub limit: Option<String>,
    /// Leave out the health checks at the end
    #[arg(long)]
    pub no_health: bool,
    /// For the kernel of the installation ramdisk, for example `wright.debug`
    #[arg(long = "kernel-argument", value_name = "WORD")]
    pub kernel_arguments: Vec<String>,
}
