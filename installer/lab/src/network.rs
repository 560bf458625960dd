//! The wires: a network namespace, a bridge for each host network with the deployment host's addresses, a tap
//! for each NIC. What has to be made is worked out as lines for `ip -batch` from what is there.
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
    spec::LabSpec,
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

/// Makes the namespace and all in it that is not there yet.
///
/// # Errors
/// When `ip` fails.
pub(crate) fn create(spec: &LabSpec) -> Result<(), LabError> {
    // A file there that is no namespace was left by an `ip netns add` that did not end.
    if exists(&spec.env) && !is_alive(&spec.env) {
        delete(&spec.env)?;
    }
    if !exists(&spec.env) {
        run(Command::new("ip").args(["netns", "add", &names::namespace(&spec.env)]))?;
    }
    let listed = run(inside(&spec.env, "ip").args(["-oneline", "link", "show"]))?;
    batch(&spec.env, &commands(spec, &interfaces(&listed)))
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

/// Processes that are in the namespace.
pub(crate) fn processes(env: &str) -> Vec<i32> {
    if !exists(env) {
        return Vec::new();
    }
    let listed =
        run(Command::new("ip").args(["netns", "pids", &names::namespace(env)])).unwrap_or_default();
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

/// Lines for `ip -batch`, by which everything of `spec` exists and is up; `there` are the interfaces that do.
fn commands(spec: &LabSpec, there: &BTreeSet<String>) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for wire in &spec.wires {
        let bridge = names::bridge(&spec.env, &wire.network);
        if !there.contains(&bridge) {
            // Without spanning tree a port forwards at once; nobody can wire a loop here.
            lines.push(format!(
                "link add {bridge} mtu {} type bridge stp_state 0 forward_delay 0",
                wire.mtu
            ));
        }
        lines.push(format!("link set {bridge} mtu {} up", wire.mtu));
        for (address, prefix) in &wire.host_addresses {
            lines.push(format!("address replace {address}/{prefix} dev {bridge}"));
        }
    }
    for machine in &spec.machines {
        for nic in &machine.nics {
            let tap = names::tap(&spec.env, &machine.name, &nic.name);
            if !there.contains(&tap) {
                lines.push(format!("tuntap add dev {tap} mode tap"));
            }
            let mtu = spec
                .wires
                .iter()
                .find(|wire| wire.network == nic.network)
                .map_or(1500, |wire| wire.mtu);
            lines.push(format!(
                "link set {tap} mtu {mtu} master {} up",
                names::bridge(&spec.env, &nic.network)
            ));
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

    #[test]
    fn an_empty_namespace_gets_everything() {
        insta::assert_snapshot!(commands(&small_lab(), &BTreeSet::new()).join("\n"));
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
