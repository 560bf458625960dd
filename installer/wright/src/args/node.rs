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
}
