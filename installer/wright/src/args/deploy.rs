//! Arguments of `wright deploy`, and of what ends with one.
use super::plan::SelectionArgs;
use clap::Args;
use std::path::PathBuf;

/// Make the environment's machines into a cloud
///
/// Boots and installs every node that is not installed yet, checks the wires between them, runs the roles of all
/// nodes, and checks the cloud.
/// Killed at any step, it goes on where it stopped when it is run again; run again when all is done, it
/// changes nothing and says so.
#[derive(Debug, Args)]
pub struct DeployArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Run the roles without asking first whether the wires are as planned
    #[arg(long)]
    pub no_verify_network: bool,
    /// Leave out the health checks at the end
    #[arg(long)]
    pub no_health: bool,
    /// For the kernel of the installation ramdisk, for example `wright.debug`
    #[arg(long = "kernel-argument", value_name = "WORD")]
    pub kernel_arguments: Vec<String>,
}

/// The deployment that a change of the cloud ends with: of all nodes.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Playbook that maps groups to roles
    #[arg(long, value_name = "FILE", default_value = "roles/site.yml")]
    pub playbook: PathBuf,
    /// Run the roles without asking first whether the wires are as planned
    #[arg(long)]
    pub no_verify_network: bool,
    /// Leave out the health checks at the end
    #[arg(long)]
    pub no_health: bool,
}

impl ChangeArgs {
    /// It as a deployment.
    pub fn deploy(&self) -> DeployArgs {
        DeployArgs {
            selection: SelectionArgs {
                playbook: self.playbook.clone(),
                limit: None,
                tags: Vec::new(),
                skip_tags: Vec::new(),
                start_at_task: None,
            },
            no_verify_network: self.no_verify_network,
            no_health: self.no_health,
            kernel_arguments: Vec::new(),
        }
    }
}
