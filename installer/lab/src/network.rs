//! The wires: a network namespace, a bridge for each host network with the deployment host's addresses, a tap
//! for each NIC. What has to be made is worked out as lines for `ip -batch` from what is there. What of it is the
//! switch's, `switch` knows.
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    error::{At, LabError},
    names,
    spec::{LabSpec, Machine, Nic, Plug},
};

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";

fn namespace_file(env: &str) -> PathBuf {
    Path::new(NAMESPACES).join(names::namespace(env))
}

/// `program` to be run on the lab's wires.
pub fn inside(env: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    let mut net = std::ffi::OsString::from("--net=");
    net.push(namespace_file(env));
    command.arg(net).arg("--").arg(program);
    command
}

pub(crate) fn exists(env: &str) -> bool {
    namespace_file(env).exists()
}

/// Whether the namespace is there and can be entered.
pub(crate) fn is_alive(env: &str) -> bool {
    exists(env)
        && inside(env, "true")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

/// Makes the namespace and all in it that is not there yet; with `taps` also the cards of emulated machines.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn create(spec: &LabSpec, taps: bool) -> Result<(), LabError> {
    // A file there that is no namespace was left by an `ip netns add` that did not end.
    if exists(&spec.env) && !is_alive(&spec.env) {
        delete(&spec.env)?;
    }
    if !exists(&spec.env) {
        run(Command::new("ip").args(["netns", "add", &names::namespace(&spec.env)]))?;
    }
    // The kernel sees what arrives on the switch's taps, too, and would answer there for addresses that are behind a VLAN.
    run(inside(&spec.env, "sysctl").args(["-qw", "net.ipv4.conf.all.arp_ignore=1"]))?;
    let listed = run(inside(&spec.env, "ip").args(["-oneline", "link", "show"]))?;
    let there = interfaces(&listed);
    let mut lines = wires(spec, &there);
    if taps {
        lines.extend(tap_lines(spec, &there));
    }
    batch(&spec.env, &lines)
}

/// Gives a machine that is a container a network namespace with its cards in it, plugged into the wires. Checksums are
/// worked out by the sender on all of them: a switch in user space, as containers have, passes frames on as they are.
///
/// # Errors
/// When `ip` or `ethtool` fails.
pub(crate) fn plug(spec: &LabSpec, machine: &Machine) -> Result<(), LabError> {
    let namespace = names::machine_namespace(&spec.env, &machine.name);
    run(Command::new("ip").args(["netns", "add", &namespace]))?;
    batch(&spec.env, &veth_lines(spec, machine, &namespace))?;
    run(Command::new("ip").args(["-netns", &namespace, "link", "set", "lo", "up"]))?;
    for (nic, network) in on_bridges(machine) {
        let tap = names::tap(&spec.env, &machine.name, &nic.name);
        let bridge = names::bridge(&spec.env, network);
        for end in [&tap, &bridge] {
            run(inside(&spec.env, "ethtool").args(["-K", end, "tx", "off"]))?;
        }
        let mut within = Command::new("nsenter");
        within.arg(format!("--net={NAMESPACES}/{namespace}"));
        run(within.args(["--", "ethtool", "-K", &nic.name, "tx", "off"]))?;
    }
    Ok(())
}

/// A machine's cards on bridges, with their networks.
fn on_bridges(machine: &Machine) -> impl Iterator<Item = (&Nic, &str)> {
    machine.nics.iter().filter_map(|nic| match &nic.plug {
        Plug::Bridge(network) => Some((nic, network.as_str())),
        Plug::Switch(_) => None,
    })
}

/// Lines for `ip -batch` that make a container's cards.
fn veth_lines(spec: &LabSpec, machine: &Machine, namespace: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (nic, network) in on_bridges(machine) {
        let tap = names::tap(&spec.env, &machine.name, &nic.name);
        let mtu = mtu(spec, network);
        lines.push(format!(
            "link add {tap} mtu {mtu} type veth peer name {} address {} mtu {mtu} netns {namespace}",
            nic.name, nic.mac
        ));
        let bridge = names::bridge(&spec.env, network);
        lines.push(format!("link set {tap} master {bridge} up"));
    }
    lines
}

/// Takes a container's cards and its namespace away, so that nothing of it answers any more.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn unplug(env: &str, machine: &Machine) -> Result<(), LabError> {
    let namespace = names::machine_namespace(env, &machine.name);
    if !Path::new(NAMESPACES).join(&namespace).exists() {
        return Ok(());
    }
    // The kernel takes its time with what is in a namespace that goes; cards of the same names are made at once.
    if exists(env) {
        let listed = run(inside(env, "ip").args(["-oneline", "link", "show"]))?;
        let there = interfaces(&listed);
        let taps = machine
            .nics
            .iter()
            .map(|nic| names::tap(env, &machine.name, &nic.name));
        let lines: Vec<String> = taps
            .filter(|tap| there.contains(tap))
            .map(|tap| format!("link delete {tap}"))
            .collect();
        batch(env, &lines)?;
    }
    delete_namespace(&namespace)
}

fn mtu(spec: &LabSpec, network: &str) -> u16 {
    spec.wires
        .iter()
        .find(|wire| wire.network == network)
        .map_or(1500, |wire| wire.mtu)
}

/// Removes the namespace, and with it all wires.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn delete(env: &str) -> Result<(), LabError> {
    if !exists(env) {
        return Ok(());
    }
    delete_namespace(&names::namespace(env))
}

/// # Errors
/// When `ip` fails.
pub(crate) fn delete_namespace(name: &str) -> Result<(), LabError> {
    run(Command::new("ip").args(["netns", "delete", name])).map(drop)
}

/// Names of all namespaces, also those of others.
pub(crate) fn all_namespaces() -> Vec<String> {
    let files = std::fs::read_dir(NAMESPACES)
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Processes that are in the lab's namespace.
pub(crate) fn processes(env: &str) -> Vec<i32> {
    processes_in(&names::namespace(env))
}

/// Processes of a machine that is a container.
pub(crate) fn machine_processes(env: &str, machine: &str) -> Vec<i32> {
    processes_in(&names::machine_namespace(env, machine))
}

fn processes_in(namespace: &str) -> Vec<i32> {
    if !Path::new(NAMESPACES).join(namespace).exists() {
        return Vec::new();
    }
    let listed = run(Command::new("ip").args(["netns", "pids", namespace])).unwrap_or_default();
    listed
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Names in `ip -oneline link show`: `2: wl-lab-pxe: <...` or `3: veth0@if4: <...`.
fn interfaces(listed: &str) -> BTreeSet<String> {
    let names = listed.lines().filter_map(|line| line.split(": ").nth(1));
    names
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect()
}

/// Lines for `ip -batch`, by which the wires of `spec` exist and are up; `there` are the interfaces that do.
fn wires(spec: &LabSpec, there: &BTreeSet<String>) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for wire in spec.wires.iter().filter(|wire| wire.vlan.is_none()) {
        let bridge = names::bridge(&spec.env, &wire.network);
        if !there.contains(&bridge) {
            // Without spanning tree a port forwards at once; nobody can wire a loop here.
            lines.push(format!(
                "link add {bridge} address {} mtu {} type bridge stp_state 0 forward_delay 0",
                names::bridge_address(&bridge),
                wire.mtu
            ));
        }
        lines.push(format!("link set {bridge} mtu {} up", wire.mtu));
        for (address, prefix) in &wire.host_addresses {
            lines.push(format!("address replace {address}/{prefix} dev {bridge}"));
        }
    }
    lines
}

/// The same for the cards of emulated machines.
fn tap_lines(spec: &LabSpec, there: &BTreeSet<String>) -> Vec<String> {
    let mut lines = Vec::new();
    for machine in &spec.machines {
        for nic in &machine.nics {
            let tap = names::tap(&spec.env, &machine.name, &nic.name);
            if !there.contains(&tap) {
                lines.push(format!("tuntap add dev {tap} mode tap"));
            }
            lines.push(match &nic.plug {
                Plug::Bridge(network) => format!(
                    "link set {tap} mtu {} master {} up",
                    mtu(spec, network),
                    names::bridge(&spec.env, network)
                ),
                Plug::Switch(port) => format!("link set {tap} mtu {} up", port.mtu),
            });
        }
    }
    lines
}

/// Lines for `ip -batch` in the namespace.
///
/// # Errors
/// When one fails.
pub(crate) fn batch(env: &str, lines: &[String]) -> Result<(), LabError> {
    let mut command = inside(env, "ip");
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().at("run", Path::new("ip"))?;
    if let Some(mut input) = child.stdin.take() {
        // If it ended early, its message says more than the broken pipe.
        let _ = input.write_all((lines.join("\n") + "\n").as_bytes());
    }
    let output = child.wait_with_output().at("run", Path::new("ip"))?;
    succeeded("ip -batch", &output).map(drop)
}

/// Runs a short command and gives what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, LabError> {
    let shown = format!("{command:?}").replace('"', "");
    let program = PathBuf::from(command.get_program());
    let output = command.stdin(Stdio::null()).output().at("run", &program)?;
    succeeded(&shown, &output)
}

fn succeeded(shown: &str, output: &std::process::Output) -> Result<String, LabError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(LabError::Command {
            command: shown.into(),
            said: text(&output.stderr),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::tests::small_lab;

    fn commands(spec: &LabSpec, there: &BTreeSet<String>) -> Vec<String> {
        [wires(spec, there), tap_lines(spec, there)].concat()
    }

    #[test]
    fn an_empty_namespace_gets_everything() {
        insta::assert_snapshot!(commands(&small_lab(), &BTreeSet::new()).join("\n"));
    }

    #[test]
    fn a_container_gets_cards_on_its_wires() {
        let spec = small_lab();
        let lines = veth_lines(&spec, &spec.machines[0], "wl-lab-node-1");
        insta::assert_snapshot!(lines.join("\n"), @r"
        link add wl-bo94o-1-eth0 mtu 1500 type veth peer name eth0 address 52:54:00:aa:01:00 mtu 1500 netns wl-lab-node-1
        link set wl-bo94o-1-eth0 master wl-lab-pxe up
        link add wl-g4eui-1-eth1 mtu 1500 type veth peer name eth1 address 52:54:00:aa:01:01 mtu 1500 netns wl-lab-node-1
        link set wl-g4eui-1-eth1 master wl-lab-mgmt up
        ");
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let spec = small_lab();
        let all: BTreeSet<String> = [names::bridge("lab", "pxe"), names::bridge("lab", "mgmt")]
            .into_iter()
            .chain(
                spec.machines
                    .iter()
                    .flat_map(|m| m.nics.iter().map(|n| names::tap("lab", &m.name, &n.name))),
            )
            .collect();
        let lines = commands(&spec, &all);
        assert!(
            !lines.iter().any(|line| line.contains(" add ")),
            "{lines:?}"
        );
    }

    #[test]
    fn interfaces_are_read_without_their_peers() {
        let listed = "1: lo: <LOOPBACK> mtu 65536\n7: wl-lab-pxe: <BROADCAST> mtu 1500\n8: veth0@if9: <UP>\n";
        assert_eq!(
            interfaces(listed).into_iter().collect::<Vec<_>>(),
            ["lo", "veth0", "wl-lab-pxe"]
        );
    }
}
