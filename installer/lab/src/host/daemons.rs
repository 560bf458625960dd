//! The daemons of a host, in the order in which they start, and their settings. Pure.
use std::{ffi::OsString, path::PathBuf};

use super::Paths;
use crate::{daemon::Daemon, openvswitch};

pub(super) const SWITCH_DATABASE: &str = "ovs-db";
pub(super) const SWITCH: &str = "ovs-vswitchd";
pub(super) const CONTROLLER: &str = "ovn-controller";
const NORTHBOUND: &str = "ovn-nb";
const SOUTHBOUND: &str = "ovn-sb";
const NORTHD: &str = "ovn-northd";
const LIBVIRTD: &str = "libvirtd";

/// All of them, in order.
pub(super) const NAMES: [&str; 7] = [
    NORTHBOUND,
    SOUTHBOUND,
    NORTHD,
    SWITCH_DATABASE,
    SWITCH,
    CONTROLLER,
    LIBVIRTD,
];

/// Their programs, as the kernel shows them.
pub(super) const PROGRAMS: [&str; 5] = [
    "ovsdb-server",
    "ovn-northd",
    "ovs-vswitchd",
    "ovn-controller",
    "libvirtd",
];

/// Guests' emulators are root's, without its capabilities and in libvirt's sandbox: the environment's folder is
/// closed to everybody else.
pub(super) const QEMU_SETTINGS: &str = "\
user = \"root\"
group = \"root\"
dynamic_ownership = 0
remember_owner = 0
security_driver = \"none\"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = \"file\"
";

pub(super) const LIBVIRTD_SETTINGS: &str = "\
unix_sock_rw_perms = \"0700\"
unix_sock_ro_perms = \"0700\"
auth_unix_rw = \"none\"
auth_unix_ro = \"none\"
log_outputs = \"3:file:/var/log/libvirt/libvirtd.log\"
";

/// Binds our folders over libvirt's; the mounts end with the daemon and its guests, so none is ever left behind.
/// Arguments: run, state, logs.
const LIBVIRTD_SCRIPT: &str = "set -e; \
    mount --bind \"$2/etc\" /etc/libvirt; mount --bind \"$2/lib\" /var/lib/libvirt; \
    mount --bind \"$2/cache\" /var/cache/libvirt; mount --bind \"$3\" /var/log/libvirt; mount --bind \"$1\" /run; \
    exec libvirtd --daemon --pid-file /run/libvirtd.pid";

/// The database that a daemon serves, and its schema.
pub(super) fn database(daemon: &str, paths: &Paths) -> Option<(PathBuf, PathBuf)> {
    let schema = |path: &str| PathBuf::from("/usr/share").join(path);
    match daemon {
        NORTHBOUND => Some((
            paths.state.join("ovn-nb.db"),
            schema("ovn/ovn-nb.ovsschema"),
        )),
        SOUTHBOUND => Some((
            paths.state.join("ovn-sb.db"),
            schema("ovn/ovn-sb.ovsschema"),
        )),
        // Not kept: what it describes are wires, which are gone when the machine restarts.
        SWITCH_DATABASE => Some((paths.run.join("conf.db"), openvswitch::SCHEMA.into())),
        _ => None,
    }
}

/// Every daemon, in the order of [`NAMES`].
pub(super) fn all(env: &str, paths: &Paths) -> Vec<Daemon> {
    NAMES.map(|name| one(name, env, paths)).into()
}

fn one(name: &'static str, env: &str, paths: &Paths) -> Daemon {
    let option = |name: &str, value: PathBuf| {
        let mut option = OsString::from(format!("--{name}="));
        option.push(value);
        option
    };
    let remote = |prefix: &str, path: PathBuf| {
        let mut remote = OsString::from(prefix);
        remote.push(path);
        remote
    };
    let run = &paths.run;
    let mut pid_file = run.join(format!("{name}.pid"));
    let mut log = paths.logs.join(format!("{name}.log"));
    let background = [
        OsString::from("--detach"),
        option("pidfile", pid_file.clone()),
        option("log-file", log.clone()),
    ];
    let control = option("unixctl", run.join(format!("{name}.ctl")));
    let serve = |socket: PathBuf| -> Vec<OsString> {
        let database = database(name, paths).map(|(file, _)| file);
        let mut arguments = background.to_vec();
        arguments.push(control.clone());
        arguments.push(remote("--remote=punix:", socket));
        arguments.extend(database.map(OsString::from));
        arguments
    };
    let with_background = |more: Vec<OsString>| [background.to_vec(), more].concat();
    let (program, arguments) = match name {
        NORTHBOUND => ("ovsdb-server", serve(run.join("nb.sock"))),
        SOUTHBOUND => ("ovsdb-server", serve(run.join("sb.sock"))),
        SWITCH_DATABASE => ("ovsdb-server", serve(paths.ovsdb())),
        NORTHD => (
            "ovn-northd",
            with_background(vec![
                control,
                remote("--ovnnb-db=unix:", run.join("nb.sock")),
                remote("--ovnsb-db=unix:", run.join("sb.sock")),
            ]),
        ),
        SWITCH => (
            "ovs-vswitchd",
            with_background(vec![control, remote("unix:", paths.ovsdb())]),
        ),
        CONTROLLER => (
            "ovn-controller",
            with_background(vec![remote("unix:", paths.ovsdb())]),
        ),
        _ => {
            pid_file = paths.slash_run().join("libvirtd.pid");
            log = paths.logs.join("libvirt/libvirtd.log");
            let words = [
                "--mount",
                "--propagation=private",
                "--",
                "sh",
                "-c",
                LIBVIRTD_SCRIPT,
                "sh",
            ];
            let folders = [
                paths.slash_run(),
                paths.state.join("libvirt"),
                paths.logs.join("libvirt"),
            ];
            let words = words.map(OsString::from).into_iter();
            (
                "unshare",
                words.chain(folders.map(OsString::from)).collect(),
            )
        }
    };
    Daemon {
        name,
        env: env.to_owned(),
        program,
        arguments,
        variables: match name {
            // It sees our folder as `/run`, and so do the tools of Open vSwitch that it calls.
            LIBVIRTD => Vec::new(),
            _ => vec![
                ("OVS_RUNDIR", paths.slash_run().join("openvswitch")),
                ("OVN_RUNDIR", paths.slash_run().join("ovn")),
            ],
        },
        pid_file,
        log,
        run: run.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn every_daemon_has_its_own_files() {
        let paths = Paths {
            state: "/var/lib/wright/one-machine/host".into(),
            logs: "/var/lib/wright/one-machine/logs".into(),
            run: "/run/wright-up/one-machine".into(),
        };
        let mut text = String::new();
        for daemon in all("one-machine", &paths) {
            let arguments: Vec<_> = daemon
                .arguments
                .iter()
                .map(|argument| argument.to_string_lossy())
                .collect();
            let _ = writeln!(
                text,
                "{}: {}\n  {}\n  with {:?}\n  pid {}\n  log {}",
                daemon.name,
                daemon.program,
                arguments.join("\n  "),
                daemon.variables,
                daemon.pid_file.display(),
                daemon.log.display()
            );
        }
        insta::assert_snapshot!(text);
    }
}
