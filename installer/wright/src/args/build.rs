//! Arguments of `wright build`.
use clap::Subcommand;
use std::path::PathBuf;

/// What to build; what is in the cache already is only named
#[derive(Debug, Subcommand)]
pub enum BuildCommand {
    /// Build the images that the environment's nodes are installed from, and the ramdisk that installs them
    NodeImage {
        /// Only the image of this kind of node, for example `controller`; may be given several times
        #[arg(long = "role", value_name = "NAME")]
        roles: Vec<String>,
        /// Playbook that maps groups to roles
        #[arg(long, value_name = "FILE", default_value = "roles/site.yml")]
        playbook: PathBuf,
    },
    /// Build a small image for instances: Debian's kernel, busybox, config drive and metadata service
    GuestImage,
}
