//! Lets the root partition and its file system reach to the end of the disk.
//!
//! Done by `sfdisk`, `e2fsck` and `resize2fs` of the ramdisk; they know MBR, GPT and ext4 better.
use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use super::console::say;
use super::head::Head;
use super::{InstallError, disk, tool};

/// Grows partition `number` in `head` and the file system in it. The kernel learns of the partitions from us:
/// no table is on the disk yet.
pub fn root_partition(
    device: &File,
    name: &str,
    head: &Head,
    number: u32,
) -> Result<(), InstallError> {
    for partition in head.grow(number)? {
        disk::add_partition(device, &partition).map_err(|source| {
            InstallError::io(
                "grow",
                format!(
                    "tell the kernel of partition {} of {name}",
                    partition.number
                ),
                source,
            )
        })?;
    }
    let partition = disk::partition(name, number);
    // Forced, because the copy on the disk was made unmounted and marked clean by the image builder;
    // a full check of it would cost more than the copying did.
    let grown = tool::run(
        "grow",
        Command::new("resize2fs").arg("-f").arg(&partition),
        "",
        0,
    );
    if let Err(error) = grown {
        say("grow", format_args!("{error}; checking the file system"));
        // Exit status 1 of e2fsck: errors were found and corrected.
        tool::run(
            "grow",
            Command::new("e2fsck").args(["-f", "-y"]).arg(&partition),
            "",
            1,
        )?;
        tool::run("grow", Command::new("resize2fs").arg(&partition), "", 0)?;
    }
    Ok(())
}

/// Mounts the root partition of the installed system, with `/dev` for the programs run inside it.
pub fn mount_root(name: &str, number: u32, target: &Path) -> Result<(), InstallError> {
    let fault =
        |what: &str, source: nix::Error| InstallError::io("seed", what.to_owned(), source.into());
    std::fs::create_dir_all(target)
        .map_err(|source| InstallError::io("seed", "make the mount point".into(), source))?;
    let partition = disk::partition(name, number);
    mount(
        Some(&partition),
        target,
        Some("ext4"),
        MsFlags::MS_NOATIME,
        None::<&str>,
    )
    .map_err(|source| fault("mount the new root", source))?;
    mount(
        Some("/dev"),
        &target.join("dev"),
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|source| fault("mount /dev in the new root", source))
}
