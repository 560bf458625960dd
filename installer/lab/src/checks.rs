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
    machine::Emulated,
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
const ROMS: &[(&str, &str)] = &[
    ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"),
    ("/usr/lib/ipxe/ipxe.efi", "ipxe"),
];
const OVMF: &[(&str, &str)] = &[(OVMF_CODE, "ovmf"), (OVMF_VARIABLES, "ovmf")];

/// QEMU itself beside the machine's memory and the translation cache.
const EMULATOR_MIB: u64 = 150;
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
        is_on: impl Fn(&str) -> bool,
        has_disk: impl Fn(&str) -> bool,
    ) -> Self {
        let off = spec.machines.iter().filter(|machine| !is_on(&machine.name));
        let memory = off
            .map(|m| u64::from(m.memory_mib) + u64::from(m.translation_cache_mib) + EMULATOR_MIB);
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

/// Programs and files that a lab of `spec` calls and this host lacks, with their Debian packages.
pub fn missing_programs(spec: &LabSpec) -> Vec<(String, &'static str)> {
    let uefi = spec
        .machines
        .iter()
        .any(|machine| machine.firmware != Firmware::Bios);
    let files = ROMS.iter().chain(OVMF.iter().filter(|_| uefi));
    missing(PROGRAMS.iter(), files)
}

type Needed<'a> = &'a (&'static str, &'static str);

/// Those of `programs` and `files`, each with its package, that this host lacks.
pub(crate) fn missing<'a>(
    programs: impl Iterator<Item = Needed<'a>>,
    files: impl Iterator<Item = Needed<'a>>,
) -> Vec<(String, &'static str)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    let programs =
        programs.filter(|(name, _)| !folders.iter().any(|folder| folder.join(name).is_file()));
    let files = files.filter(|(file, _)| !Path::new(file).is_file());
    programs
        .chain(files)
        .map(|(name, package)| ((*name).to_owned(), *package))
        .collect()
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
pub fn shortfalls(spec: &LabSpec, needs: Needs, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        found.push(
            "root's rights are needed: network namespaces and bridges are made (run it with sudo)"
                .to_owned(),
        );
    }
    found.extend(install_line(&missing_programs(spec)));
    if let Some(available) =
        available_memory_mib().filter(|available| *available < needs.memory_mib)
    {
        found.push(format!(
            "the machines need {} MiB of memory and {available} MiB are available: lower `lab: memory_mib` of some, \
             or end other programs",
            needs.memory_mib
        ));
    }
    if let Some(free) = free_bytes(folder).filter(|free| *free < needs.disk_bytes) {
        found.push(format!(
            "the disks need about {} GiB and {} has {} GiB free: `--state-dir` takes another folder",
            needs.disk_bytes / GIB,
            folder.display(),
            free / GIB
        ));
    }
    found
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
pub(crate) fn needs(spec: &LabSpec, machines: &[Emulated<'_>]) -> Needs {
    let find = |name: &str| {
        machines
            .iter()
            .find(|emulated| emulated.machine.name == name)
    };
    Needs::of(
        spec,
        |name| find(name).is_some_and(|machine| machine.record().is_some()),
        |name| find(name).is_some_and(Emulated::has_disk),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::tests::small_lab;

    #[test]
    fn what_is_there_already_is_not_needed_again() {
        let all = Needs::of(&small_lab(), |_| false, |_| false);
        assert_eq!(
            all,
            Needs {
                memory_mib: 1024 + 128 + 150 + 1024 + 256 + 150,
                disk_bytes: 6 * GIB
            }
        );
        let rest = Needs::of(&small_lab(), |name| name == "node-1", |_| true);
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
            memory_mib: u64::MAX,
            disk_bytes: u64::MAX,
        };
        let told = shortfalls(&small_lab(), needs, Path::new("/no/such/folder"));
        assert!(
            told.iter().any(|t| t.contains("MiB of memory"))
                && told.iter().any(|t| t.contains("GiB free")),
            "{told:?}"
        );
    }

    #[test]
    fn available_memory_is_read() {
        assert_eq!(
            parse_available("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n"),
            Some(2048)
        );
    }
}
