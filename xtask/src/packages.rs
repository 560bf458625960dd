//! Debian packages that a chore needs: which are missing, and their installation with apt.
//! It knows package names and `dpkg`; it does not know what the chore does with them.
use crate::cargo;
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, IsTerminal, Write},
    process::Command,
};

/// What labs, emulated or of containers, and the builders of images call.
pub const LAB: &[&str] = &[
    "busybox-static",
    "e2fsprogs",
    "ethtool",
    "fdisk",
    "genisoimage",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "iproute2",
    "ipmitool",
    "ipxe",
    "ipxe-qemu",
    "mmdebstrap",
    "mtools",
    "openipmi",
    "openssh-client",
    "openvswitch-switch",
    "ovmf",
    "qemu-system-x86",
    "qemu-utils",
    "systemd-container",
    "xz-utils",
    "zstd",
];

/// What the tests call beside all of the lab: the daemons that tests start for themselves, and their tools.
pub const TEST: &[&str] = &[
    "iputils-ping",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "mariadb-server",
    "openssh-server",
    "openssl",
    "ovn-central",
    "ovn-host",
    "parted",
    "postgresql",
    "python3-venv",
    "rabbitmq-server",
    "swift-account",
    "swift-container",
    "swift-object",
    "swift-proxy",
    "unzip",
];

/// What `tests/vagrant/run` calls beside them.
pub const VAGRANT: &[&str] = &["dnsmasq-base", "vagrant", "vagrant-libvirt"];

/// `qemu-img` must write what the emulator reads: this package has to come in the version of that one.
const SAME_VERSION: (&str, &str) = ("qemu-utils", "qemu-system-x86");

/// Lists what is missing of `wanted` and installs it; asks first unless `yes`.
pub fn install_missing(wanted: &[&str], yes: bool) -> Result<()> {
    let installed = installed_versions()?;
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|name| !installed.contains_key(*name))
        .collect();
    if missing.is_empty() && !qemu_versions_differ(&installed) {
        return Ok(());
    }
    println!(
        "Debian packages to install: {}",
        if missing.is_empty() {
            SAME_VERSION.0.into()
        } else {
            missing.join(" ")
        }
    );
    if !yes && !confirmed()? {
        bail!(
            "not installed; install them with `apt-get install {}`, or run again with --yes",
            missing.join(" ")
        );
    }
    apt(&["update", "-qq"])?;
    let versions = archive_versions(&[SAME_VERSION.0, SAME_VERSION.1])?;
    let installs = specifications(&missing, &installed, &versions);
    let mut args = vec![
        "install",
        "--yes",
        "-qq",
        "--no-install-recommends",
        "--allow-downgrades",
    ];
    args.extend(installs.iter().map(String::as_str));
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = match is_root() {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.args(["--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
            sudo
        }
    };
    // A mirror that stumbles and another apt that is at work are no reason to give up.
    let patience = ["-oAcquire::Retries=3", "-oDPkg::Lock::Timeout=300"];
    cargo::check(
        command
            .args(patience)
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Whether this process may do what root may.
pub fn is_root() -> bool {
    // The real program's word, so that no system call binding is needed here.
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

fn confirmed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("cannot ask without a terminal; run again with --yes to install them");
    }
    print!("Install them now? [y/N] ");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Installed packages and their versions.
fn installed_versions() -> Result<BTreeMap<String, String>> {
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat=${db:Status-Status} ${Package} ${Version}\\n",
        ])
        .output()
        .context("cannot run `dpkg-query`: `cargo xtask` installs packages on Debian only")?;
    Ok(parse_installed(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_installed(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("installed"), Some(name), Some(version)) => {
                    Some((name.into(), version.into()))
                }
                _ => None,
            }
        })
        .collect()
}

/// Versions that the archive offers for each name.
fn archive_versions(names: &[&str]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new("apt-cache")
        .arg("madison")
        .args(names)
        .output()
        .context("cannot run `apt-cache`")?;
    Ok(parse_madison(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_madison(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('|').map(str::trim);
        if let (Some(name), Some(version)) = (fields.next(), fields.next()) {
            versions
                .entry(name.into())
                .or_default()
                .insert(version.into());
        }
    }
    versions
}

fn qemu_versions_differ(installed: &BTreeMap<String, String>) -> bool {
    match (installed.get(SAME_VERSION.0), installed.get(SAME_VERSION.1)) {
        (Some(tools), Some(emulator)) => tools != emulator,
        _ => false,
    }
}

/// What to hand to `apt-get install`: the names, and the two of QEMU pinned to one version when
/// apt left alone would leave them apart (one installed from a backport, the other from stable).
fn specifications(
    missing: &[&str],
    installed: &BTreeMap<String, String>,
    archive: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let (tools, emulator) = SAME_VERSION;
    let touches_qemu = missing
        .iter()
        .any(|name| *name == tools || *name == emulator)
        || qemu_versions_differ(installed);
    let offered = |name: &str| archive.get(name).cloned().unwrap_or_default();
    let common: Vec<String> = offered(tools)
        .intersection(&offered(emulator))
        .cloned()
        .collect();
    let present = installed
        .get(tools)
        .into_iter()
        .chain(installed.get(emulator));
    // A version that is there already and that both have is kept; else the newest that both have.
    let kept = present
        .into_iter()
        .find(|version| common.contains(version))
        .cloned();
    let pinned = kept.or_else(|| {
        common
            .into_iter()
            .reduce(|a, b| if newer(&b, &a) { b } else { a })
    });
    let mut wanted: Vec<String> = missing
        .iter()
        .filter(|n| **n != tools && **n != emulator)
        .map(|n| n.to_string())
        .collect();
    if touches_qemu {
        for name in [tools, emulator] {
            wanted.push(
                pinned
                    .as_ref()
                    .map_or(name.to_string(), |version| format!("{name}={version}")),
            );
        }
    }
    wanted
}

/// Debian's own order of versions.
fn newer(a: &str, b: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", a, "gt", b])
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.iter().map(|v| v.to_string()).collect()))
            .collect()
    }

    #[test]
    fn only_installed_packages_count() {
        let found =
            parse_installed("installed zstd 1.5\nconfig-files mtools 4\nnot-installed x \n");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("zstd".to_string(), "1.5".to_string())]
        );
    }

    #[test]
    fn a_backport_of_the_tools_is_brought_back_to_the_emulators_version() {
        let installed = BTreeMap::from([("qemu-utils".to_string(), "10.0~bpo12".to_string())]);
        let archive = versions(&[("qemu-utils", &["7.2"]), ("qemu-system-x86", &["7.2"])]);
        let wanted = specifications(&["qemu-system-x86", "zstd"], &installed, &archive);
        assert_eq!(wanted, ["zstd", "qemu-utils=7.2", "qemu-system-x86=7.2"]);
    }

    #[test]
    fn qemu_is_left_alone_when_both_are_there_in_one_version() {
        let installed = BTreeMap::from(
            ["qemu-utils", "qemu-system-x86"].map(|n| (n.to_string(), "7.2".to_string())),
        );
        let archive = versions(&[
            ("qemu-utils", &["7.2", "8.0"]),
            ("qemu-system-x86", &["7.2", "8.0"]),
        ]);
        assert_eq!(specifications(&["zstd"], &installed, &archive), ["zstd"]);
    }

    #[test]
    fn madison_lines_are_read() {
        let found = parse_madison(
            " qemu-utils | 1:7.2 | http://deb.debian.org/debian bookworm/main amd64 Packages\n",
        );
        assert_eq!(found, versions(&[("qemu-utils", &["1:7.2"])]));
    }
}
