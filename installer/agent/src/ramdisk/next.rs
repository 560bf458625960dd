//! The way from the ramdisk into the installed system.
//!
//! switch_root keeps the running kernel, kexec loads the image's, reboot takes the firmware's path.
use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};

use super::console::say;
use super::{InstallError, nic, tool};

/// What the image's boot loader passes, when the image does not say it in this file.
const CMDLINE_FILE: &str = "etc/kernel/cmdline";
const CMDLINE_DEFAULT: &str = "root=LABEL=root ro console=ttyS0 quiet net.ifnames=0";

/// Becomes the installed system's first process. Returns only on failure.
pub fn switch_root(root: &Path, nic_name: &str) -> Result<Infallible, InstallError> {
    let fault =
        |what: &str, source: nix::Error| InstallError::io("next", what.to_owned(), source.into());
    nic::take_down(nic_name);
    // Said while /proc, which has the time, is still in its place.
    say("next", "switch_root");
    let _ = umount2(&root.join("dev"), MntFlags::MNT_DETACH);
    for folder in ["dev", "sys", "proc", "run"] {
        let from = Path::new("/").join(folder);
        mount(
            Some(&from),
            &root.join(folder),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
        .map_err(|source| fault(&format!("move /{folder} to the new root"), source))?;
    }
    // busybox's switch_root also frees the ramdisk's memory.
    let arguments = [
        c"switch_root".to_owned(),
        c_string(root)?,
        c"/sbin/init".to_owned(),
    ];
    nix::unistd::execv(c"/bin/switch_root", &arguments)
        .map_err(|source| fault("run switch_root", source))
}

/// Starts the image's own kernel. Returns only on failure.
pub fn kexec(root: &Path, nic_name: &str) -> Result<Infallible, InstallError> {
    let cmdline = fs::read_to_string(root.join(CMDLINE_FILE))
        .map_or(CMDLINE_DEFAULT.to_owned(), |text| text.trim().to_owned());
    let boot = root.join("boot");
    let kernel =
        newest(&boot, "vmlinuz").ok_or_else(|| InstallError::NoKernel { file: "vmlinuz" })?;
    let initrd =
        newest(&boot, "initrd.img").ok_or_else(|| InstallError::NoKernel { file: "initrd.img" })?;
    let mut load = Command::new("kexec");
    load.arg("-l")
        .arg(kernel)
        .arg(format!("--initrd={}", initrd.display()))
        .arg(format!("--command-line={cmdline}"));
    tool::run("next", &mut load, "", 0)?;
    unmount(root);
    nic::take_down(nic_name);
    say("next", "kexec");
    match reboot(RebootMode::RB_KEXEC) {
        Ok(never) => Ok(never),
        Err(source) => Err(InstallError::io(
            "next",
            "start the loaded kernel".into(),
            source.into(),
        )),
    }
}

/// Resets the machine: the firmware boots the disk. Returns only on failure.
pub fn restart(root: &Path) -> Result<Infallible, InstallError> {
    unmount(root);
    say("next", "reboot");
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => Ok(never),
        Err(source) => Err(InstallError::io("next", "reboot".into(), source.into())),
    }
}

/// Takes the new root away again; it is no error if it is not there.
pub fn unmount(root: &Path) {
    let _ = umount2(&root.join("dev"), MntFlags::MNT_DETACH);
    if let Err(error) = umount2(root, MntFlags::empty())
        && error != nix::Error::EINVAL
        && error != nix::Error::ENOENT
    {
        say(
            "next",
            format_args!("{} was not unmounted: {error}", root.display()),
        );
    }
    nix::unistd::sync();
}

/// `<folder>/<name>` if it is there and a link that leads somewhere, else the last `<name>-*` by name.
fn newest(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    let plain = folder.join(name);
    if let Ok(target) = fs::read_link(&plain) {
        // A link such as /boot/vmlinuz-6.1 is absolute inside the image, not here.
        let inside = folder.join(target.file_name()?);
        return inside.exists().then_some(inside);
    }
    if plain.exists() {
        return Some(plain);
    }
    let mut versions: Vec<_> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    versions.retain(|path| {
        path.file_name()
            .is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}-")))
    });
    versions.sort();
    versions.pop()
}

fn c_string(path: &Path) -> Result<CString, InstallError> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|error| {
        InstallError::io("next", "name the new root".into(), io::Error::other(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_the_image_is_found_by_link_or_by_version() {
        let folder = tempfile::tempdir().unwrap();
        let boot = folder.path();
        assert_eq!(newest(boot, "vmlinuz"), None);
        fs::write(boot.join("vmlinuz-6.1.0-1"), "").unwrap();
        fs::write(boot.join("vmlinuz-6.1.0-2"), "").unwrap();
        assert_eq!(newest(boot, "vmlinuz"), Some(boot.join("vmlinuz-6.1.0-2")));
        std::os::unix::fs::symlink("/boot/vmlinuz-6.1.0-1", boot.join("vmlinuz")).unwrap();
        assert_eq!(newest(boot, "vmlinuz"), Some(boot.join("vmlinuz-6.1.0-1")));
    }
}
