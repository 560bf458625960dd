//! Arguments of `wright node`.

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
    /// Take a compute node out of the running cloud
    ///
    /// It must have no servers; its machine may be lost. Afterwards take it out of the inventory and deploy.
    Remove {
        /// Name of the node in the inventory
        node: String,
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
