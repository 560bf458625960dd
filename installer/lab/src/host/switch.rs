//! What Open vSwitch and OVN are told: databases, the chassis, the external bridge and its address.
use std::{
    thread,
    time::{Duration, Instant},
};

use super::{HostSpec, Paths};
use crate::{
    error::LabError,
    network::{self, run},
    openvswitch,
};

/// What provider networks of the `app` side are called.
const PHYSICAL_NETWORK: &str = "physnet-app";
const EXTERNAL_BRIDGE: &str = "br-ext";
const INTEGRATION_BRIDGE: &str = "br-int";
/// How long ovn-controller may take to make its bridge, on a machine that is very busy.
const BRIDGE_SECONDS: u64 = 120;
const POLL: Duration = Duration::from_millis(50);

/// Joins the chassis to OVN, and makes the external bridge. Written before the switch runs, which then finds it all.
pub(super) fn configure(spec: &HostSpec, paths: &Paths) -> Result<(), LabError> {
    let southbound = format!("unix:{}", paths.run.join("sb.sock").display());
    let settings = [
        ("system-id", spec.env.as_str()),
        ("hostname", &spec.name),
        ("ovn-remote", &southbound),
        ("ovn-encap-type", "geneve"),
        // There is no other chassis.
        ("ovn-encap-ip", "127.0.0.1"),
        ("ovn-bridge-datapath-type", "netdev"),
        (
            "ovn-bridge-mappings",
            &format!("{PHYSICAL_NETWORK}:{EXTERNAL_BRIDGE}"),
        ),
        ("ovn-cms-options", "enable-chassis-as-gw"),
    ];
    let mut command = openvswitch::vsctl(&paths.ovsdb());
    command.args(["--no-wait", "init", "--", "set", "Open_vSwitch", "."]);
    for (name, value) in settings {
        command.arg(format!("external_ids:{name}=\"{value}\""));
    }
    command.args(["--", "--may-exist", "add-br", EXTERNAL_BRIDGE]);
    command.args([
        "--",
        "set",
        "Bridge",
        EXTERNAL_BRIDGE,
        "datapath_type=netdev",
    ]);
    run(&mut command).map(drop)
}

/// Gives the namespace its address on the external bridge, whose device comes and goes with the switch.
pub(super) fn address(spec: &HostSpec) -> Result<(), LabError> {
    let (gateway, prefix) = spec.gateway;
    let lines = [
        format!("link set {EXTERNAL_BRIDGE} up"),
        format!("address replace {gateway}/{prefix} dev {EXTERNAL_BRIDGE}"),
    ];
    network::batch(&spec.env, &lines)?;
    openvswitch::fill_in_checksums(&spec.env, EXTERNAL_BRIDGE)
}

/// Guests are plugged into a bridge that ovn-controller makes.
pub(super) fn await_integration_bridge(paths: &Paths) -> Result<(), LabError> {
    let begun = Instant::now();
    loop {
        let found = run(openvswitch::vsctl(&paths.ovsdb()).args(["br-exists", INTEGRATION_BRIDGE]));
        if found.is_ok() || begun.elapsed() > Duration::from_secs(BRIDGE_SECONDS) {
            return found.map(drop);
        }
        thread::sleep(POLL);
    }
}
