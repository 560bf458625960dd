//! A control group for each container. `systemd-nspawn` makes a container's groups in the group of who starts it, by the same names for
//! each; systemds that share them remove each other's, and a unit then fails for the lack of its own.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::error::{At, LabError};

/// Where systemd keeps units: the named hierarchy of version 1, version 2 beside it, version 2 alone (cgroups(7)).
const HIERARCHIES: [&str; 3] = [
    "/sys/fs/cgroup/systemd",
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup",
];

/// The files that take a process into the groups `name`, which are made.
///
/// # Errors
/// When the kernel makes no group.
pub(crate) fn make(name: &str) -> Result<Vec<PathBuf>, LabError> {
    let groups = folders(name);
    for group in &groups {
        fs::create_dir_all(group).at("make", group)?;
    }
    Ok(groups.iter().map(|group| group.join(PROCESSES)).collect())
}

/// Removes the groups `name` and all below; those that still hold a process stay, and are used again.
pub(crate) fn remove(name: &str) {
    for group in folders(name) {
        let _ = remove_below(&group);
    }
}

const PROCESSES: &str = "cgroup.procs";

fn folders(name: &str) -> Vec<PathBuf> {
    let hierarchies = HIERARCHIES.iter().map(Path::new);
    hierarchies
        .filter(|hierarchy| hierarchy.join(PROCESSES).exists())
        .map(|hierarchy| hierarchy.join(name))
        .collect()
}

/// The files in a group are the kernel's and go with it.
fn remove_below(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
