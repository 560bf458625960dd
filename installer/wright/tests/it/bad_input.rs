//! What stands in the way of a lab is told at once, before anything is made.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::run::shipped;

/// Whoever may do nothing; so on every Debian.
const NOBODY: u32 = 65534;

#[test]
fn rights_programs_memory_and_the_agent_are_all_told_and_nothing_is_made() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // By a program of its own: a concurrent fork might hold a copy open that this process writes.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_wright"))
        .arg(shipped("lab").join("networks.yml"))
        .arg(place.path())
        .status();
    assert!(copied.unwrap().success());
    fs::create_dir(path("inventory")).unwrap();
    fs::rename(path("networks.yml"), path("inventory/networks.yml")).unwrap();
    let macs = "macs: {e0: '52:54:00:00:00:01', e1: '52:54:00:00:00:02', e2: '52:54:00:00:00:03'}";
    let host = format!(
        "{macs}, nics: {{e0: [pxe], e1: [mgmt], e2: [app]}}, bmc: false, lab: {{memory_mib: 1000000}}"
    );
    fs::write(
        path("inventory/hosts.yml"),
        format!("controller: {{hosts: {{node-1: {{{host}}}}}}}\n"),
    )
    .unwrap();
    let mut wright = Command::new(path("wright"));
    wright
        .args(["lab", "up", "--inventory"])
        .arg(path("inventory"))
        .arg("--state-dir")
        .arg(path("state"))
        .arg("--cache-dir")
        .arg(path("cache"))
        .current_dir(place.path())
        .env_clear()
        .env("PATH", path("empty"));
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        wright.uid(NOBODY).gid(NOBODY);
    }
    let output = wright.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in [
        "the lab cannot be made here:",
        "- root's rights are needed",
        "qemu-system-x86_64",
        "install them with `apt-get install",
        "MiB of memory and",
        "- there is no agent at",
        "hint: `cargo xtask lab` installs what is missing and builds; nothing was changed",
    ] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
    for made in ["state", "cache"] {
        assert!(!Path::new(&path(made)).exists(), "{made} was made");
    }
}
