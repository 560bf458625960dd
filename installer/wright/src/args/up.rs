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
    /// OVN's northbound database, if it runs already; then this machine's own Open vSwitch and libvirt are used
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "ovn_southbound",
        conflicts_with = "simulate"
    )]
    pub ovn_northbound: Option<String>,
    /// OVN's southbound database, for example `unix:/run/ovn/ovnsb_db.sock`
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "ovn_northbound",
        conflicts_with = "simulate"
    )]
    pub ovn_southbound: Option<String>,
}
