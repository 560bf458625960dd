//! Lets the root partition and its file system reach to the end of the disk.
//!
//! Done by `sfdisk`, `e2fsck` and `resize2fs` of the ramdisk; they know MBR, GPT and ext4 better.
use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use super::console::say;
use super::{InstallError, disk, tool};

/// Grows partition `number` of `name` and the file system in it.
pub fn root_partition(device: &File, name: &str, number: u32) -> Result<(), InstallError> {
    let node = disk::device(name);
    // ",+" keeps the start and takes all the space behind it. --no-reread and --force: the kernel's
    // view is refreshed below, by us, when nothing holds the disk.
    let mut sfdisk = Command::new("sfdisk");
    sfdisk
        .args(["-q", "--no-reread", "--force", "-N", &number.to_string()])
        .arg(&node);
    tool::run("grow", &mut sfdisk, ",+\n", 0)?;
    disk::reread_partitions(device).map_err(|source| {
        InstallError::io(
            "grow",
            format!("read the partitions of {name} again"),
            source,
        )
    })?;
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
