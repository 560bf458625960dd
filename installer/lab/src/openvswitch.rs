//! What whoever runs Open vSwitch in user space has to do: its database, its command line, checksums.
use std::{path::Path, process::Command};

use crate::{
    error::LabError,
    network::{self, run},
};

pub(crate) const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Makes the database if there is none, and brings an older one to the schema of the installed version.
///
/// # Errors
/// When `ovsdb-tool` fails.
pub(crate) fn prepare_database(file: &Path, schema: &Path) -> Result<(), LabError> {
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

/// `ovs-vsctl` for the database that answers at `socket`.
pub(crate) fn vsctl(socket: &Path) -> Command {
    let mut command = Command::new("ovs-vsctl");
    command
        .arg(format!("--db=unix:{}", socket.display()))
        .arg("--timeout=60");
    command
}

/// A switch in user space sees frames before any card fills in checksums: else ping works and TCP does not.
///
/// # Errors
/// When `ethtool` fails.
pub(crate) fn fill_in_checksums(env: &str, interface: &str) -> Result<(), LabError> {
    run(network::inside(env, "ethtool").args(["-K", interface, "tx", "off"])).map(drop)
}
