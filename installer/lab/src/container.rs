//! A machine that is a container: systemd as its first process, an image's root below a layer of its own, its cards one
//! end each of a veth pair in a network namespace of its own. It starts in seconds and costs no emulation; kernel, clock
//! and modules are the host's, so it has neither VLANs nor guests of its own. It comes installed: no firmware, no boot
//! over the network.
//!
//! ```text
//! machines/images/controller.img    the image's disk, unpacked
//! <run>/image-controller            its root file system, read only
//! machines/node-1/{upper,work}      what the machine has changed
//! machines/node-1/base.json         which of the images it began with
//! <run>/node-1                      both together: the machine's root
//! ```
use std::{
    fs::{self, File},
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{sys::signal::Signal, unistd::Pid};
use serde::{Deserialize, Serialize};

use crate::{
    cgroup,
    error::{At, LabError},
    names, network,
    spec::{LabSpec, Machine},
};

/// Bytes in a sector of a partition table.
const SECTOR: u64 = 512;

/// What a container's root is made from.
#[derive(Debug, Clone)]
pub struct RootImage {
    /// Name of the image; machines with the same share it.
    pub name: String,
    /// The disk image, compressed by zstd.
    pub packed: PathBuf,
    /// Lower-case hex; tells one version of an image from another.
    pub sha256: String,
    /// Number of the root partition, from 1.
    pub root_partition: u32,
}

/// The read-only root below a container's own changes.
#[derive(Debug, Serialize, Deserialize)]
struct Base {
    disk: PathBuf,
    /// Where its root file system begins, bytes.
    offset: u64,
}

/// A container and the folders that hold what is its own.
pub(crate) struct Container<'a> {
    pub env: &'a str,
    pub machine: &'a Machine,
    /// Kept: what it has changed.
    pub folder: &'a Path,
    /// Until the next start of the host: where roots are mounted.
    pub run: &'a Path,
}

impl Container<'_> {
    /// Where its root is, while it is mounted.
    pub fn root(&self) -> PathBuf {
        self.run.join(&self.machine.name)
    }

    /// Which root it began with, so that it is the same one after the host was restarted and images have changed.
    fn base_file(&self) -> PathBuf {
        self.folder.join("base.json")
    }

    /// Mounts its root, made from `image` unless there is one already.
    ///
    /// # Errors
    /// When a tool or the kernel refuses.
    pub fn mount(&self, image: &RootImage, images: &Path) -> Result<(), LabError> {
        for part in ["upper", "work"] {
            let folder = self.folder.join(part);
            fs::create_dir_all(&folder).at("make", &folder)?;
        }
        let file = self.base_file();
        if !file.exists() {
            let disk = unpack(image, images)?;
            let offset = root_offset(&disk, image)?;
            let text = serde_json::to_vec(&Base { disk, offset }).map_err(std::io::Error::from);
            let new = file.with_extension("new");
            fs::write(&new, text.at("write", &new)?).at("write", &new)?;
            fs::rename(&new, &file).at("rename", &new)?;
        }
        self.mount_again()
    }

    /// Takes its root away, and all that it has changed. It must be off.
    ///
    /// # Errors
    /// When the root is in use, or a file cannot be removed.
    pub fn wipe(&self) -> Result<(), LabError> {
        let root = self.root();
        if is_mounted(&root) {
            network::run(Command::new("umount").arg(&root))?;
        }
        for part in [self.folder.join("upper"), self.folder.join("work")] {
            match fs::remove_dir_all(&part) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).at("remove", &part);
                }
                _ => {}
            }
        }
        let base = self.base_file();
        match fs::remove_file(&base) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).at("remove", &base)
            }
            _ => Ok(()),
        }
    }

    /// Mounts the root that it has; nothing where it is mounted.
    ///
    /// # Errors
    /// When it never had one, or the kernel refuses.
    fn mount_again(&self) -> Result<(), LabError> {
        let file = self.base_file();
        let text = fs::read(&file).at("read", &file)?;
        let base: Base = serde_json::from_slice(&text)
            .map_err(std::io::Error::from)
            .at("understand", &file)?;
        let stem = base.disk.file_stem().unwrap_or_default();
        let lower = self.run.join(format!("image-{}", stem.to_string_lossy()));
        if !is_mounted(&lower) {
            fs::create_dir_all(&lower).at("make", &lower)?;
            // Without replaying its journal: nothing is written to what all share.
            let options = format!("loop,ro,noload,offset={}", base.offset);
            network::run(
                Command::new("mount")
                    .args(["-t", "ext4", "-o", &options])
                    .arg(&base.disk)
                    .arg(&lower),
            )?;
        }
        let root = self.root();
        if !is_mounted(&root) {
            fs::create_dir_all(&root).at("make", &root)?;
            let options = format!(
                "lowerdir={},upperdir={upper}/upper,workdir={upper}/work",
                lower.display(),
                upper = self.folder.display()
            );
            network::run(
                Command::new("mount")
                    .args(["-t", "overlay", "-o", &options])
                    .arg(format!("wl-{}-{}", self.env, self.machine.name))
                    .arg(&root),
            )?;
        }
        Ok(())
    }

    /// Turns it on with its cards plugged in; its console goes to `log`. Gives the pid of what holds it.
    ///
    /// # Errors
    /// When it has no root yet, or a program fails.
    pub fn start(&self, spec: &LabSpec, log: &File) -> Result<i32, LabError> {
        self.mount_again()?;
        // A namespace that was left has the addresses of the container that died in it.
        network::unplug(self.env, self.machine)?;
        network::plug(spec, self.machine)?;
        let namespace = names::machine_namespace(self.env, &self.machine.name);
        // It goes into its groups itself: those of its systemd are to be below them.
        cgroup::remove(&namespace);
        let mut command = Command::new("sh");
        command
            .args(["-ec", ENTER, "sh"])
            .args(cgroup::make(&namespace)?)
            .args(["--", "systemd-nspawn"])
            .args(["--quiet", "--register=no", "--keep-unit", "--boot"])
            .args(["--link-journal=no", "--resolv-conf=off", "--timezone=off"])
            .arg("--machine")
            .arg(format!("wl-{}-{}", self.env, self.machine.name))
            .arg("--directory")
            .arg(self.root())
            // The namespace is the machine's own: in there it may do what a machine may.
            .arg("--capability=CAP_NET_ADMIN")
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            .arg(format!("--network-namespace-path=/run/netns/{namespace}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().at("open", Path::new("the console's log"))?)
            .stderr(log.try_clone().at("open", Path::new("the console's log"))?)
            .process_group(0);
        let child = command.spawn().at("run", Path::new("systemd-nspawn"))?;
        i32::try_from(child.id()).map_err(|_| LabError::Start {
            machine: self.machine.name.clone(),
            said: "its pid is no pid".into(),
        })
    }

    /// Cuts its power: first the wires, so that no peer is told of its end, then its first process and with it all
    /// others. `holder` is what [`Container::start`] gave.
    ///
    /// # Errors
    /// When the wires cannot be pulled.
    pub fn cut(&self, holder: i32) -> Result<(), LabError> {
        network::unplug(self.env, self.machine)?;
        kill_first(holder);
        Ok(())
    }
}

/// Goes into the groups whose files are named before `--`, and becomes what comes after it.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@""#;

/// Kills the first process of what `holder` holds, and with it all others. What ended in between is what was asked for.
pub(crate) fn kill_first(holder: i32) {
    let children = fs::read_to_string(format!("/proc/{holder}/task/{holder}/children"));
    let first = children
        .unwrap_or_default()
        .split_whitespace()
        .find_map(|pid| pid.parse().ok());
    if let Some(first) = first {
        let _ = nix::sys::signal::kill(Pid::from_raw(first), Signal::SIGKILL);
    }
}

/// Unmounts everything below `run`, the newest first.
///
/// # Errors
/// When something is still in use.
pub(crate) fn unmount_all(run: &Path) -> Result<(), LabError> {
    for mounted in mounts_below(run).into_iter().rev() {
        network::run(Command::new("umount").arg(&mounted))?;
    }
    Ok(())
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The fifth field is where it is mounted, proc(5); blanks in it are written `\040`, and our paths have none.
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(PathBuf::from)
        .filter(|point| point != folder && point.starts_with(folder))
        .collect()
}

fn is_mounted(point: &Path) -> bool {
    point
        .parent()
        .is_some_and(|parent| mounts_below(parent).iter().any(|found| found == point))
}

/// The image's disk, unpacked into `images` unless it is there.
fn unpack(image: &RootImage, images: &Path) -> Result<PathBuf, LabError> {
    let digits = image.sha256.get(..12).unwrap_or(&image.sha256);
    let disk = images.join(format!("{}-{digits}.img", image.name));
    if !disk.exists() {
        fs::create_dir_all(images).at("make", images)?;
        let part = disk.with_extension("part");
        network::run(
            Command::new("zstd")
                .args(["-q", "-d", "-f", "--sparse", "-o"])
                .arg(&part)
                .arg(&image.packed),
        )?;
        fs::rename(&part, &disk).at("rename", &part)?;
    }
    Ok(disk)
}

/// Where the root partition begins in a disk with a DOS label, in bytes.
fn root_offset(disk: &Path, image: &RootImage) -> Result<u64, LabError> {
    let mut sector = [0; SECTOR as usize];
    File::open(disk)
        .and_then(|mut file| file.read_exact(&mut sector))
        .at("read", disk)?;
    partition_start(&sector, image.root_partition)
        .map(|start| start * SECTOR)
        .ok_or_else(|| LabError::Start {
            machine: image.name.clone(),
            said: format!("its image has no partition {}", image.root_partition),
        })
}

/// First sector of primary partition `number` (1 to 4) in a master boot record.
fn partition_start(record: &[u8; SECTOR as usize], number: u32) -> Option<u64> {
    const TABLE: usize = 446;
    const ENTRY: usize = 16;
    const START: usize = 8;
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    let at = TABLE + index * ENTRY + START;
    let bytes: [u8; 4] = record.get(at..at + 4)?.try_into().ok()?;
    let start = u32::from_le_bytes(bytes);
    (index < 4 && start != 0).then_some(start.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_found_by_its_number() {
        let mut record = [0; 512];
        record[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
        record[462 + 8..462 + 12].copy_from_slice(&67_584_u32.to_le_bytes());
        assert_eq!(partition_start(&record, 1), Some(2048));
        assert_eq!(partition_start(&record, 2), Some(67_584));
        for absent in [0, 3, 4, 5, u32::MAX] {
            assert_eq!(partition_start(&record, absent), None, "{absent}");
        }
    }
}
