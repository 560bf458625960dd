//! What Open vSwitch and OVN are told: databases, the chassis, the external bridge and its address.
use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{HostSpec, Paths};
use crate::{
    error::LabError,
    network::{self, run},
};

/// What provider networks of the `app` side are called.
const PHYSICAL_NETWORK: &str = "physnet-app";
const EXTERNAL_BRIDGE: &str = "br-ext";
const INTEGRATION_BRIDGE: &str = "br-int";
/// How long ovn-controller may take to make its bridge, on a machine that is very busy.
const BRIDGE_SECONDS: u64 = 120;
const POLL: Duration = Duration::from_millis(50);

/// Makes the database if there is none, and brings an older one to the schema of the installed version.
pub(super) fn prepare_database(file: &Path, schema: &Path) -> Result<(), LabError> {
    let tool = |verb: &str| {
        let mut command = Command::new("ovsdb-tool");
        command.arg(verb).arg(file).arg(schema);
        command
    };
    if !file.exists() {
        return run(&mut tool("create")).map(drop);
    }
    match run(&mut tool("needs-conversion"))?.as_str() {
        "no" => Ok(()),
        _ => run(&mut tool("convert")).map(drop),
    }
}

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
    let mut command = vsctl(paths);
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
    // A switch in user space sees packets before any card fills in checksums: else ping works and TCP does not.
    run(network::inside(&spec.env, "ethtool").args(["-K", EXTERNAL_BRIDGE, "tx", "off"])).map(drop)
}

/// Guests are plugged into a bridge that ovn-controller makes.
pub(super) fn await_integration_bridge(paths: &Paths) -> Result<(), LabError> {
    let begun = Instant::now();
    loop {
        let found = run(vsctl(paths).args(["br-exists", INTEGRATION_BRIDGE]));
        if found.is_ok() || begun.elapsed() > Duration::from_secs(BRIDGE_SECONDS) {
            return found.map(drop);
        }
        thread::sleep(POLL);
    }
}

fn vsctl(paths: &Paths) -> Command {
    let mut command = Command::new("ovs-vsctl");
    command
        .arg(format!("--db=unix:{}", paths.ovsdb().display()))
        .arg("--timeout=60");
    command
}
