//! What must hold before a lab is made: programs, rights, memory, disk. Everything that is missing is told at
//! once; nothing was changed.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use inventory::Firmware;
use nix::sys::statvfs::statvfs;

use crate::{
    emulator::{OVMF_CODE, OVMF_VARIABLES},
    machine::{MachineKind, Unit},
    spec::LabSpec,
};

/// Programs and files, with their Debian packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("ipmi_sim", "openipmi"),
    ("nsenter", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ssh", "openssh-client"),
];
/// What a lab of containers calls instead of the emulator.
const CONTAINER_PROGRAMS: &[(&str, &str)] = &[
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("ipmi_sim", "openipmi"),
    ("nsenter", "util-linux"),
    ("ssh", "openssh-client"),
    ("systemd-nspawn", "systemd-container"),
    ("zstd", "zstd"),
];
const ROMS: &[(&str, &str)] = &[
    ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"),
    ("/usr/lib/ipxe/ipxe.efi", "ipxe"),
];
/// What the switch of bonds and VLANs is.
const SWITCH_PROGRAMS: &[(&str, &str)] = &[
    ("ethtool", "ethtool"),
    ("ovs-vsctl", "openvswitch-switch"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("ovsdb-server", "openvswitch-switch"),
    ("ovsdb-tool", "openvswitch-switch"),
];
const OVMF: &[(&str, &str)] = &[(OVMF_CODE, "ovmf"), (OVMF_VARIABLES, "ovmf")];

/// QEMU itself beside the machine's memory and the translation cache.
const EMULATOR_MIB: u64 = 150;
/// What a controller takes in a container, with database and message broker: it has no memory of its own.
const CONTAINER_MIB: u64 = 800;
/// What an installed and deployed node has written to its sparse disk.
const NODE_DISK_GIB: u64 = 3;
const GIB: u64 = 1 << 30;

/// What a lab takes of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    pub memory_mib: u64,
    pub disk_bytes: u64,
}

impl Needs {
    /// Of the machines that `is_on` and `has_disk` do not name.
    pub(crate) fn of(
        spec: &LabSpec,
        kind: MachineKind,
        is_on: impl Fn(&str) -> bool,
        has_disk: impl Fn(&str) -> bool,
    ) -> Self {
        let off = spec.machines.iter().filter(|machine| !is_on(&machine.name));
        let memory = off.map(|m| match kind {
            MachineKind::Emulated(_) => {
                u64::from(m.memory_mib) + u64::from(m.translation_cache_mib) + EMULATOR_MIB
            }
            MachineKind::Container => CONTAINER_MIB,
        });
        let blank = spec
            .machines
            .iter()
            .filter(|machine| !has_disk(&machine.name));
        let disk = blank.map(|machine| u64::from(machine.disk_gib).min(NODE_DISK_GIB) * GIB);
        Self {
            memory_mib: memory.sum(),
            disk_bytes: disk.sum(),
        }
    }
}

type Needed<'a> = &'a (&'static str, &'static str);

/// Those of `programs` and `files`, each with its package, that this host lacks.
pub(crate) fn missing<'a>(
    programs: impl Iterator<Item = Needed<'a>>,
    files: impl Iterator<Item = Needed<'a>>,
) -> Vec<(String, &'static str)> {
    missing_in(&search_path(), programs, files)
}

fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // A plain user's PATH lacks these on Debian.
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    folders
}

fn missing_in<'a>(
    folders: &[PathBuf],
    programs: impl Iterator<Item = Needed<'a>>,
    files: impl Iterator<Item = Needed<'a>>,
) -> Vec<(String, &'static str)> {
    let programs =
        programs.filter(|(name, _)| !folders.iter().any(|folder| folder.join(name).is_file()));
    let files = files.filter(|(file, _)| !Path::new(file).is_file());
    programs
        .chain(files)
        .map(|(name, package)| ((*name).to_owned(), *package))
        .collect()
}

/// What this host has to offer.
#[derive(Debug)]
struct Offer {
    is_root: bool,
    /// Folders that programs are looked for in.
    path: Vec<PathBuf>,
    /// `None`: not known, and not a reason to refuse.
    memory_mib: Option<u64>,
    disk_bytes: Option<u64>,
}

impl Offer {
    /// This host, with the lab's files in `folder`.
    fn this(folder: &Path) -> Self {
        Self {
            is_root: nix::unistd::geteuid().is_root(),
            path: search_path(),
            memory_mib: available_memory_mib(),
            disk_bytes: free_bytes(folder),
        }
    }

    /// Programs and files that a lab of `spec` calls and this host lacks, with their Debian packages.
    fn lacks(&self, spec: &LabSpec, kind: MachineKind) -> Vec<(String, &'static str)> {
        if kind == MachineKind::Container {
            return missing_in(&self.path, CONTAINER_PROGRAMS.iter(), [].iter());
        }
        let uefi = spec
            .machines
            .iter()
            .any(|machine| machine.firmware != Firmware::Bios);
        let files = ROMS.iter().chain(OVMF.iter().filter(|_| uefi));
        let switch = SWITCH_PROGRAMS.iter().filter(|_| spec.has_switch());
        missing_in(&self.path, PROGRAMS.iter().chain(switch), files)
    }

    /// See [`shortfalls`].
    fn shortfalls(
        &self,
        spec: &LabSpec,
        kind: MachineKind,
        needs: Needs,
        folder: &Path,
    ) -> Vec<String> {
        let mut found = Vec::new();
        if !self.is_root {
            found.push(
                "root's rights are needed: network namespaces and bridges are made (run it with sudo)"
                    .to_owned(),
            );
        }
        if kind == MachineKind::Container && spec.has_switch() {
            found.push(
                "the inventory has bonds or VLANs, which containers have not: leave `--containers` out"
                    .to_owned(),
            );
        }
        // `mount -o` takes these as the ends of a folder's name.
        let is_parted = folder.to_string_lossy().contains([',', ':', '\\']);
        if kind == MachineKind::Container && is_parted {
            found.push(format!(
                "{} has `,`, `:` or `\\` in its name, which containers' roots cannot lie below: `--state-dir` takes another \
                 folder",
                folder.display()
            ));
        }
        found.extend(install_line(&self.lacks(spec, kind)));
        if let Some(available) = self
            .memory_mib
            .filter(|available| *available < needs.memory_mib)
        {
            found.push(format!(
                "the machines need {} MiB of memory and {available} MiB are available: lower `lab: memory_mib` of some, \
                 or end other programs",
                needs.memory_mib
            ));
        }
        if let Some(free) = self.disk_bytes.filter(|free| *free < needs.disk_bytes) {
            found.push(format!(
                "the disks need about {} GiB and {} has {} GiB free: `--state-dir` takes another folder",
                needs.disk_bytes / GIB,
                folder.display(),
                free / GIB
            ));
        }
        found
    }
}

/// How to get what is missing; `None` when nothing is.
pub(crate) fn install_line(missing: &[(String, &str)]) -> Option<String> {
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "missing: {}; install them with `apt-get install {}`",
            names.join(", "),
            packages.into_iter().collect::<Vec<_>>().join(" ")
        )
    })
}

/// Everything that stands in the way of a lab of `spec` with its files in `folder`, one sentence each.
pub(crate) fn shortfalls(
    spec: &LabSpec,
    kind: MachineKind,
    needs: Needs,
    folder: &Path,
) -> Vec<String> {
    Offer::this(folder).shortfalls(spec, kind, needs, folder)
}

fn available_memory_mib() -> Option<u64> {
    parse_available(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// Free bytes where `folder` is or will be; `None` when that cannot be told.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    let found = statvfs(existing).ok()?;
    Some(found.blocks_available() * found.fragment_size())
}

/// [`Needs`] with what is there already left out.
pub(crate) fn needs(spec: &LabSpec, kind: MachineKind, machines: &[Unit<'_>]) -> Needs {
    let find = |name: &str| machines.iter().find(|unit| unit.machine.name == name);
    Needs::of(
        spec,
        kind,
        |name| find(name).is_some_and(|machine| machine.record().is_some()),
        |name| find(name).is_some_and(Unit::has_disk),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::Accelerator;
    use crate::emulator::tests::{small_lab, trunk_lab};

    const EMULATED: MachineKind = MachineKind::Emulated(Accelerator::Emulation);

    #[test]
    fn what_is_there_already_is_not_needed_again() {
        let all = Needs::of(&small_lab(), EMULATED, |_| false, |_| false);
        assert_eq!(
            all,
            Needs {
                memory_mib: 1024 + 128 + 150 + 1024 + 256 + 150,
                disk_bytes: 6 * GIB
            }
        );
        let rest = Needs::of(&small_lab(), EMULATED, |name| name == "node-1", |_| true);
        assert_eq!(
            rest,
            Needs {
                memory_mib: 1024 + 256 + 150,
                disk_bytes: 0
            }
        );
    }

    #[test]
    fn every_shortfall_is_told_at_once() {
        let needs = Needs {
            memory_mib: 2732,
            disk_bytes: 6 * GIB,
        };
        let poor = Offer {
            is_root: false,
            path: Vec::new(),
            memory_mib: Some(2731),
            disk_bytes: Some(6 * GIB - 1),
        };
        let mut spec = small_lab();
        // Whether ROMs and OVMF are installed is this host's matter.
        spec.machines.pop();
        let told = poor.shortfalls(&spec, EMULATED, needs, Path::new("/state"));
        let told: Vec<String> = told
            .iter()
            .map(|text| {
                ROMS.iter().fold(text.clone(), |text, (file, package)| {
                    text.replace(&format!(", {file}"), "")
                        .replace(&format!(" {package}"), "")
                })
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        root's rights are needed: network namespaces and bridges are made (run it with sudo)
        missing: ip, ipmi_sim, nsenter, qemu-system-x86_64, ssh; install them with `apt-get install iproute2 openipmi openssh-client qemu-system-x86 util-linux`
        the machines need 2732 MiB of memory and 2731 MiB are available: lower `lab: memory_mib` of some, or end other programs
        the disks need about 6 GiB and /state has 5 GiB free: `--state-dir` takes another folder
        ");
        let rich = Offer {
            is_root: true,
            memory_mib: Some(2732),
            disk_bytes: None,
            ..Offer::this(Path::new("/"))
        };
        let told = rich.shortfalls(&spec, EMULATED, needs, Path::new("/state"));
        assert!(
            told.iter().all(|text| text.starts_with("missing: ")),
            "{told:?}"
        );
    }

    #[test]
    fn containers_want_no_emulator_and_a_plain_folder() {
        let bare = Offer {
            is_root: true,
            path: Vec::new(),
            memory_mib: Some(1599),
            disk_bytes: None,
        };
        let needs = Needs::of(&small_lab(), MachineKind::Container, |_| false, |_| true);
        let folder = Path::new("/state:old");
        let told = bare.shortfalls(&small_lab(), MachineKind::Container, needs, folder);
        insta::assert_snapshot!(told.join("\n"), @r"
        /state:old has `,`, `:` or `\` in its name, which containers' roots cannot lie below: `--state-dir` takes another folder
        missing: ethtool, ip, ipmi_sim, nsenter, ssh, systemd-nspawn, zstd; install them with `apt-get install ethtool iproute2 openipmi openssh-client systemd-container util-linux zstd`
        the machines need 1600 MiB of memory and 1599 MiB are available: lower `lab: memory_mib` of some, or end other programs
        ");
    }

    #[test]
    fn bonds_and_vlans_want_a_switch_and_no_containers() {
        let bare = Offer {
            is_root: true,
            path: Vec::new(),
            memory_mib: None,
            disk_bytes: None,
        };
        let needs = Needs {
            memory_mib: 0,
            disk_bytes: 0,
        };
        let mut spec = trunk_lab();
        let lacks: Vec<String> = bare
            .lacks(&spec, EMULATED)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(lacks.contains(&"ovs-vswitchd".to_owned()), "{lacks:?}");
        spec.machines.clear();
        let told = bare.shortfalls(&spec, MachineKind::Container, needs, Path::new("/state"));
        assert!(told[0].contains("bonds or VLANs"), "{told:?}");
    }

    #[test]
    fn available_memory_is_read() {
        assert_eq!(
            parse_available("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n"),
            Some(2048)
        );
    }
}
