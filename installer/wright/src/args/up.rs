//! Arguments of `wright up` and `wright down`.

use clap::Args;

/// Run the services on this machine.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Without hypervisor and virtual networks: servers and ports only pretend
    #[arg(long)]
    pub simulate: bool,
    /// Add this to every port of docs/ports.md, for a second cloud or for tests
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=50000))]
    pub port_offset: u16,
    /// OVN's northbound database
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "unix:/run/ovn/ovnnb_db.sock"
    )]
    pub ovn_northbound: String,
    /// OVN's southbound database
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "unix:/run/ovn/ovnsb_db.sock"
    )]
    pub ovn_southbound: String,
}
