//! The lab's switch, where the inventory has bonds or VLANs: Open vSwitch in user space, which needs nothing of the kernel
//! and speaks LACP, as a bridge of the kernel does not. Each network that lies on it is a VLAN; the deployment host's
//! addresses are on an interface of each. It does not know what a network is for.
//!
//! ```text
//! <run>/switch/{ovs-db,ovs-vswitchd}.log    what its daemons say
//! <run>/switch/db.sock                      `ovs-vsctl --db=unix:...` shows the ports
//! <run>/switch/ovs-vswitchd.ctl             `ovs-appctl -t ... lacp/show` shows the bonds
//! ```
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    daemon::Daemon,
    error::{At, LabError},
    names, network, openvswitch,
    spec::{LabSpec, Plug, SwitchPort},
};

const DATABASE: &str = "ovs-db";
const VSWITCHD: &str = "ovs-vswitchd";
/// Their programs, as the kernel shows them.
pub(crate) const PROGRAMS: [&str; 2] = ["ovsdb-server", "ovs-vswitchd"];

/// How the switch is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwitchStatus {
    /// Its name in Open vSwitch.
    pub bridge: String,
    pub is_on: bool,
    /// Where its daemons' sockets and logs are.
    pub folder: PathBuf,
}

/// The switch of a lab.
pub(crate) struct Switch<'a> {
    spec: &'a LabSpec,
    folder: PathBuf,
}

impl<'a> Switch<'a> {
    /// The switch of `spec`, if it has one; `run` is the lab's folder of what is gone when the host restarts.
    pub fn of(spec: &'a LabSpec, run: &Path) -> Option<Self> {
        let folder = run.join("switch");
        spec.has_switch().then_some(Self { spec, folder })
    }

    pub fn status(&self) -> SwitchStatus {
        SwitchStatus {
            bridge: names::switch(&self.spec.env),
            is_on: self.daemons().iter().all(Daemon::is_running),
            folder: self.folder.clone(),
        }
    }

    /// Processes that are on record.
    pub fn pids(&self) -> Vec<i32> {
        let records = self.daemons().into_iter();
        records
            .filter_map(|daemon| Some(daemon.record()?.pid))
            .collect()
    }

    /// Starts what does not run and makes every port and address. The taps of machines must be there.
    ///
    /// # Errors
    /// When a daemon does not start, or refuses a port.
    pub fn up(&self) -> Result<(), LabError> {
        let folder = &self.folder;
        fs::create_dir_all(folder).at("make", folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .at("set the mode of", folder)?;
        openvswitch::prepare_database(&self.database(), Path::new(openvswitch::SCHEMA))?;
        for daemon in self.daemons() {
            if !daemon.is_running() {
                daemon.start()?;
            }
        }
        // Answered when the switch has done it: its interfaces are there then.
        network::run(openvswitch::vsctl(&self.socket()).args(commands(self.spec)))?;
        network::batch(&self.spec.env, &address_lines(self.spec))?;
        let wires = self.spec.wires.iter().filter(|wire| wire.vlan.is_some());
        for wire in wires {
            let interface = names::bridge(&self.spec.env, &wire.network);
            openvswitch::fill_in_checksums(&self.spec.env, &interface)?;
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a process does not end.
    pub fn end(&self) -> Result<(), LabError> {
        for daemon in self.daemons().iter().rev() {
            if let Some(record) = daemon.record() {
                record.end(daemon.name)?;
            }
        }
        Ok(())
    }

    fn database(&self) -> PathBuf {
        self.folder.join("conf.db")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("db.sock")
    }

    fn daemons(&self) -> [Daemon; 2] {
        let option = |prefix: &str, path: PathBuf| {
            let mut option = OsString::from(prefix);
            option.push(path);
            option
        };
        let daemon = |name: &'static str, program, remote: OsString, more: Option<PathBuf>| {
            let file = |end: &str| self.folder.join(format!("{name}.{end}"));
            let mut arguments = vec![
                "--detach".into(),
                option("--pidfile=", file("pid")),
                option("--log-file=", file("log")),
                option("--unixctl=", file("ctl")),
                remote,
            ];
            arguments.extend(more.map(OsString::from));
            Daemon {
                name,
                env: self.spec.env.clone(),
                program,
                arguments,
                variables: vec![("OVS_RUNDIR", self.folder.clone())],
                pid_file: file("pid"),
                log: file("log"),
                run: self.folder.clone(),
            }
        };
        let serves = option("--remote=punix:", self.socket());
        [
            daemon(DATABASE, "ovsdb-server", serves, Some(self.database())),
            daemon(
                VSWITCHD,
                "ovs-vswitchd",
                option("unix:", self.socket()),
                None,
            ),
        ]
    }
}

/// Words for one call of `ovs-vsctl`, by which the switch has every port. What is there stays; a bond keeps its partner.
fn commands(spec: &LabSpec) -> Vec<String> {
    let switch = names::switch(&spec.env);
    let mut commands = vec![
        format!("--may-exist add-br {switch}"),
        format!("set Bridge {switch} datapath_type=netdev"),
    ];
    for wire in &spec.wires {
        let Some(vlan) = wire.vlan else { continue };
        let name = names::bridge(&spec.env, &wire.network);
        commands.push(format!("--may-exist add-port {switch} {name}"));
        commands.push(format!("set Port {name} tag={vlan}"));
        commands.push(format!(
            "set Interface {name} type=internal mtu_request={}",
            wire.mtu
        ));
    }
    for machine in &spec.machines {
        let mut bonds: Vec<(&str, &SwitchPort, Vec<String>)> = Vec::new();
        for nic in &machine.nics {
            let Plug::Switch(port) = &nic.plug else {
                continue;
            };
            let tap = names::tap(&spec.env, &machine.name, &nic.name);
            let Some(bond) = &port.bond else {
                commands.push(format!("--may-exist add-port {switch} {tap}"));
                commands.push(format!("set Port {tap} {}", vlans(port)));
                continue;
            };
            match bonds.iter_mut().find(|(name, ..)| name == bond) {
                Some((_, _, taps)) => taps.push(tap),
                None => bonds.push((bond, port, vec![tap])),
            }
        }
        for (bond, port, taps) in bonds {
            let name = match taps.as_slice() {
                // Open vSwitch wants two for a bond, and speaks LACP on one, too.
                [tap] => {
                    commands.push(format!("--may-exist add-port {switch} {tap}"));
                    tap.clone()
                }
                _ => {
                    let name = names::tap(&spec.env, &machine.name, bond);
                    let members = taps.join(" ");
                    commands.push(format!("--may-exist add-bond {switch} {name} {members}"));
                    name
                }
            };
            // Firmware speaks no LACP: until a node does, one member works alone.
            commands.push(format!(
                "set Port {name} lacp=active bond_mode=balance-tcp other_config:lacp-time=fast \
                 other_config:lacp-fallback-ab=true {}",
                vlans(port)
            ));
        }
    }
    commands
        .join(" -- ")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The columns of a port that say which frames pass, and with which tag.
fn vlans(port: &SwitchPort) -> String {
    let tagged: Vec<String> = port.tagged.iter().map(u16::to_string).collect();
    let trunks = tagged.join(",");
    match port.untagged {
        // Without any, a trunk would be one of all VLANs.
        Some(vlan) if port.tagged.is_empty() => format!("vlan_mode=access tag={vlan}"),
        Some(vlan) => format!("vlan_mode=native-untagged tag={vlan} trunks={trunks}"),
        None => format!("vlan_mode=trunk trunks={trunks}"),
    }
}

/// Lines for `ip -batch` that give the deployment host its addresses; the interfaces come and go with the switch.
fn address_lines(spec: &LabSpec) -> Vec<String> {
    let mut lines = Vec::new();
    for wire in spec.wires.iter().filter(|wire| wire.vlan.is_some()) {
        let interface = names::bridge(&spec.env, &wire.network);
        lines.push(format!("link set {interface} up"));
        for (address, prefix) in &wire.host_addresses {
            lines.push(format!(
                "address replace {address}/{prefix} dev {interface}"
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::tests::trunk_lab;

    #[test]
    fn every_card_on_the_switch_has_a_port() {
        let words = commands(&trunk_lab()).join(" ").replace(" -- ", "\n");
        insta::assert_snapshot!(words);
    }

    #[test]
    fn the_deployment_host_has_an_address_on_each_vlan() {
        insta::assert_snapshot!(address_lines(&trunk_lab()).join("\n"), @r"
        link set wl-lab-mgmt up
        address replace 10.99.1.1/24 dev wl-lab-mgmt
        link set wl-lab-storage up
        address replace 10.99.2.1/24 dev wl-lab-storage
        ");
    }

    #[test]
    fn a_lab_of_bridges_has_no_switch() {
        let spec = crate::emulator::tests::small_lab();
        assert!(Switch::of(&spec, Path::new("/run/x")).is_none());
    }
}
