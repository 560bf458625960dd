//! Arguments of `wright node`.

use super::deploy::ChangeArgs;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes with their groups, addresses and states
    List,
    /// Show all that is known of a node
    Show {
        /// Name of the node in the inventory
        node: String,
    },
    /// Bring nodes of the inventory to the running cloud
    ///
    /// Installs and deploys them, and tells the nodes that run, controllers one after the other. Controllers come in
    /// pairs: their number stays odd.
    Add {
        /// Names of the nodes in the inventory
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Take nodes out of the running cloud
    ///
    /// Their machines may be lost. Compute nodes must have no servers; of the controllers an odd number of three or more
    /// stays. Afterwards take them out of the inventory.
    Remove {
        /// Names of the nodes in the inventory
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let other machines take the places of dead nodes
    ///
    /// Write the new machine's addresses into `macs` first. Name and addresses of the node stay.
    Replace {
        /// Names of the nodes in the inventory
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        /// The machine stays and is installed anew
        #[arg(long)]
        same_machine: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Trust the SSH host key of a host that was installed by others
    ///
    /// Fetches its host keys and keeps the one with this fingerprint, which you compared with what the host itself
    /// shows (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`).
    Trust {
        /// Address or name, with `:PORT` where it is not 22
        #[arg(value_name = "NODE")]
        node: String,
        /// For example `SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU`
        #[arg(long, value_name = "SHA256:...")]
        fingerprint: String,
    },
}
