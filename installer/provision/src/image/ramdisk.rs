//! The boot ramdisk: the static agent as `/init`, busybox, and the tools with which it writes and grows a disk.
use std::path::Path;

use super::{error::ImageError, initramfs::Archive, kernel::Kernel};

/// Drivers of the disk, the NIC and the random generator that a blank node may have.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "virtio_net", "virtio-rng"];
/// Called by the agent.
const PROGRAMS: &[&str] = &[
    "/sbin/sfdisk",
    "/sbin/resize2fs",
    "/sbin/e2fsck",
    "/sbin/mke2fs",
    "/sbin/kexec",
    "/sbin/blkdiscard",
];

/// Writes the ramdisk with `agent` as its first program to `path`.
///
/// # Errors
/// When the tree lacks a program or a module, or the agent cannot be read.
pub(super) fn write(
    tree: &Path,
    kernel: &Kernel,
    agent: &Path,
    path: &Path,
    log: &Path,
) -> Result<(), ImageError> {
    let mut archive = Archive::with_busybox(tree, log)?;
    archive.programs(tree, PROGRAMS, log)?;
    archive.modules(kernel.modules(MODULES, log)?);
    archive.copy(agent, "init", 0o755)?;
    archive.write(path)
}
