//! From a tree of packages to a node's system: what identifies a machine is taken out, what costs time at
//! boot or makes no sense on a node is masked, and network, SSH and the agent are enabled.
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::{
    command::{chrooted, run},
    error::{At, ImageError},
    kernel::Kernel,
    tree::{clear, names},
};

/// The agent's unit, enabled in every image; the ramdisk copies the agent itself.
const AGENT_UNIT: &str = include_str!("../../../agent/systemd/wright-agent.service");

/// Part of every image's cache key: raise the number when this file changes what is in an image.
pub(super) const CONTENT_KEY: &str = concat!(
    "4",
    include_str!("../../../agent/systemd/wright-agent.service")
);

/// Masked, since under emulation each costs tenths of a second to seconds at boot, or acts on its own
/// (updates, kexec instead of a reboot, networking by another tool).
const MASKED_UNITS: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "blk-availability.service",
    "dbus-org.freedesktop.hostname1.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "kexec-load.service",
    "kexec.service",
    "libvirt-guests.service",
    "lvm2-lvmpolld.socket",
    "lvm2-monitor.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "networking.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-fsck-root.service",
    "systemd-network-generator.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-sysusers.service",
    "systemd-update-utmp-runlevel.service",
];

/// Masked, too: programs that systemd runs at every boot and every reload, to look for a disk layout, a kernel argument
/// or a file that no node has. What an operator may write by hand (fstab, crypttab, rc.local, init.d) is still read.
const MASKED_GENERATORS: &[&str] = &[
    "systemd-bless-boot-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-veritysetup-generator",
];

/// What packages made for one machine at installation and no second one may have: identities, keys, cookies.
const IDENTITIES: &[&str] = &[
    "etc/libvirt/qemu/networks/autostart/default.xml",
    "etc/openvswitch/conf.db",
    "etc/openvswitch/system-id.conf",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "var/lib/dbus/machine-id",
    "var/lib/openvswitch/conf.db",
    "var/lib/rabbitmq/.erlang.cookie",
    "var/lib/systemd/random-seed",
    // mmdebstrap's copy of this machine's way to fetch packages.
    "etc/apt/apt.conf.d/99mmdebstrap",
];

/// Makes `tree` the system of a node.
///
/// # Errors
/// When a file cannot be written or systemctl fails.
pub(super) fn finish(
    tree: &Path,
    kernel: &Kernel,
    kernel_arguments: &[String],
    log: &Path,
) -> Result<(), ImageError> {
    for path in IDENTITIES {
        remove(&tree.join(path))?;
    }
    for name in names(&tree.join("etc/ssh"))?
        .iter()
        .filter(|name| name.starts_with("ssh_host_"))
    {
        remove(&tree.join("etc/ssh").join(name))?;
    }
    for folder in [
        "var/cache/apt/archives",
        "var/lib/apt/lists",
        "var/log",
        "tmp",
        "var/tmp",
    ] {
        clear_files(&tree.join(folder))?;
    }
    // Empty, not absent: then systemd makes no "first boot" of it, which would enable every unit again.
    write(tree, "etc/machine-id", 0o444, "")?;
    write(tree, "etc/hostname", 0o644, "node\n")?;
    write(
        tree,
        "etc/fstab",
        0o644,
        "LABEL=root / ext4 defaults,noatime 0 0\n",
    )?;
    remove(&tree.join("etc/resolv.conf"))?;
    write(tree, "etc/resolv.conf", 0o644, "")?;
    write(
        tree,
        "etc/ssh/sshd_config.d/10-wright.conf",
        0o644,
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\n",
    )?;
    write(
        tree,
        "etc/systemd/system/wright-agent.service",
        0o644,
        AGENT_UNIT,
    )?;
    write(
        tree,
        "boot/grub/grub.cfg",
        0o644,
        &grub_menu(&kernel.release, kernel_arguments),
    )?;
    // What kexec starts the kernel with, so that it makes no difference how a node came up.
    write(
        tree,
        "etc/kernel/cmdline",
        0o644,
        &(command_line(kernel_arguments) + "\n"),
    )?;
    fs::create_dir_all(tree.join("etc/systemd/network")).at("make folder in", tree)?;
    for (folder, masked) in [
        ("etc/systemd/system", MASKED_UNITS),
        ("etc/systemd/system-generators", MASKED_GENERATORS),
    ] {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).at("make", &folder)?;
        for name in masked {
            let link = folder.join(name);
            remove(&link)?;
            symlink("/dev/null", &link).at("link", &link)?;
        }
    }
    run(
        chrooted(tree, "systemctl").args(["enable", "systemd-networkd", "ssh", "wright-agent"]),
        log,
    )
}

/// What GRUB does: no menu, our kernel, our initial ramdisk. It talks on the serial port too.
pub(super) fn grub_menu(release: &str, arguments: &[String]) -> String {
    format!(
        "set timeout=0\nserial --unit=0 --speed=115200\nterminal_output serial console\n\
         linux /boot/vmlinuz-{release} {}\n\
         initrd /boot/initrd.img\nboot\n",
        command_line(arguments)
    )
}

/// The installed kernel's command line.
fn command_line(arguments: &[String]) -> String {
    let arguments: String = arguments.iter().map(|word| format!(" {word}")).collect();
    format!("root=LABEL=root rw console=tty0 console=ttyS0,115200 quiet net.ifnames=0{arguments}")
}

fn write(tree: &Path, path: &str, mode: u32, text: &str) -> Result<(), ImageError> {
    let path = tree.join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).at("make", folder)?;
    }
    fs::write(&path, text).at("write", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("set the mode of", &path)
}

/// Removes a file or link; what is not there is no fault.
fn remove(path: &Path) -> Result<(), ImageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Removes the files in a folder and keeps its folders: daemons expect those, with their owners.
fn clear_files(folder: &Path) -> Result<(), ImageError> {
    if folder.ends_with("tmp") {
        return clear(folder);
    }
    for name in names(folder)? {
        let path = folder.join(name);
        match path.symlink_metadata().at("read", &path)?.is_dir() {
            true => clear_files(&path)?,
            false => remove(&path)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grub_boots_this_kernel_with_these_arguments() {
        insta::assert_snapshot!(grub_menu("6.1.0-1-cloud-amd64", &["mitigations=off".into()]), @r"
        set timeout=0
        serial --unit=0 --speed=115200
        terminal_output serial console
        linux /boot/vmlinuz-6.1.0-1-cloud-amd64 root=LABEL=root rw console=tty0 console=ttyS0,115200 quiet net.ifnames=0 mitigations=off
        initrd /boot/initrd.img
        boot
        ");
    }

    #[test]
    fn folders_of_logs_stay_and_logs_go() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("log/mysql")).unwrap();
        fs::write(folder.path().join("log/mysql/error.log"), "x").unwrap();
        clear_files(&folder.path().join("log")).unwrap();
        assert!(
            folder.path().join("log/mysql").is_dir()
                && !folder.path().join("log/mysql/error.log").exists()
        );
    }
}
