//! The guest image: Debian's cloud kernel with a busybox system in its initial ramdisk, as a small qcow2 that
//! BIOS and UEFI boot. It takes host name, keys, addresses and user data from a config drive or from the
//! metadata service, as an image with cloud-init would; what it does is in `files/guest-*`.
use std::{collections::BTreeSet, fs, path::Path, process::Command};

use super::{
    command::run,
    disk,
    error::{At, ImageError},
    initramfs::Archive,
    kernel::Kernel,
    slim,
    source::PackageSource,
    tree,
};

/// The image's name in its cache folder.
pub(super) const FILE_NAME: &str = "guest.qcow2";
/// What an image for quick experiments may weigh.
const BYTES_MAX: u64 = 40 << 20;

const BOOT: &str = include_str!("files/guest-boot.sh");
const JSON: &str = include_str!("files/guest-json.awk");
const DHCP: &str = include_str!("files/guest-dhcp.sh");
const INITTAB: &str = include_str!("files/guest-inittab");
/// Part of the cache key: what the image is made from beside packages.
pub(super) const CONTENT_KEY: &str = concat!(
    "1",
    include_str!("files/guest-boot.sh"),
    include_str!("files/guest-json.awk"),
    include_str!("files/guest-dhcp.sh"),
    include_str!("files/guest-inittab")
);

/// Loaded at once: disk, NIC, random numbers, a config drive's file systems, the power button.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio-rng",
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "button",
    "evdev",
];
/// Loaded when no config drive was found on a virtio disk: probing IDE takes seconds.
const CDROM_MODULES: &[&str] = &["ata_piix", "virtio_scsi", "sr_mod"];
/// Quick rather than hardened: the image is for trying things. `tsc=unstable` spares a calibration that
/// fails in nested guests.
const KERNEL_ARGUMENTS: &[&str] = &["mitigations=off", "tsc=unstable"];
const SSH_PACKAGE: &str = "dropbear-bin";
const SSH_PROGRAMS: &[&str] = &["/usr/sbin/dropbear", "/usr/bin/dropbearkey"];

/// Builds the image into `folder`.
///
/// # Errors
/// When packages, tools or modules are missing, or the image is too big.
pub(super) fn build(
    base: &Path,
    source: &PackageSource,
    folder: &Path,
    log: &Path,
) -> Result<(), ImageError> {
    let packages = folder.join("packages");
    tree::with_packages(
        base,
        source,
        &BTreeSet::from([SSH_PACKAGE.to_owned()]),
        &packages,
        log,
    )?;
    let kernel = Kernel::of(&packages)?;
    let boot = folder.join("tree/boot");
    fs::create_dir_all(boot.join("grub")).at("make", &boot)?;
    archive(&packages, &kernel, log)?.write(&boot.join("initrd.img"))?;
    fs::copy(
        &kernel.image,
        boot.join(format!("vmlinuz-{}", kernel.release)),
    )
    .at("copy", &kernel.image)?;
    let arguments: Vec<String> = KERNEL_ARGUMENTS
        .iter()
        .map(|word| word.to_string())
        .collect();
    fs::write(
        boot.join("grub/grub.cfg"),
        slim::grub_menu(&kernel.release, &arguments),
    )
    .at("write", &boot)?;

    let tree = folder.join("tree");
    let raw = folder.join("disk.img");
    let used = disk::used_bytes(&tree)?;
    disk::write(&tree, &raw, used + used / 8 + (8 << 20), log)?;
    let image = folder.join(FILE_NAME);
    run(
        Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .arg(&raw)
            .arg(&image),
        log,
    )?;
    let bytes = fs::metadata(&image).at("read", &image)?.len();
    if bytes > BYTES_MAX {
        return Err(ImageError::TooBig {
            needed: bytes,
            allowed: BYTES_MAX,
        });
    }
    fs::remove_file(&raw).at("remove", &raw)?;
    fs::remove_dir_all(&packages).at("remove", &packages)?;
    fs::remove_dir_all(&tree).at("remove", &tree)
}

fn archive(packages: &Path, kernel: &Kernel, log: &Path) -> Result<Archive, ImageError> {
    let mut archive = Archive::with_busybox(packages, log)?;
    archive.programs(packages, SSH_PROGRAMS, log)?;
    archive.modules(kernel.modules(MODULES, log)?);
    let first: BTreeSet<String> = kernel
        .modules(MODULES, log)?
        .into_iter()
        .map(|module| module.name)
        .collect();
    let mut later = kernel.modules(CDROM_MODULES, log)?;
    later.retain(|module| !first.contains(&module.name));
    let order: String = later
        .iter()
        .map(|module| format!("{}\n", module.name))
        .collect();
    archive.file("lib/modules/order.cdrom", 0o644, order);
    for module in later {
        archive.file(
            &format!("lib/modules/{}.ko", module.name),
            0o644,
            module.bytes,
        );
    }
    archive.link("init", "bin/busybox");
    archive.file("etc/inittab", 0o644, INITTAB);
    archive.file("etc/guest/boot", 0o755, BOOT);
    archive.file("etc/guest/json.awk", 0o644, JSON);
    archive.file("etc/guest/dhcp", 0o755, DHCP);
    archive.file("etc/passwd", 0o644, "root:*:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, "root:x:0:\n");
    archive.file("etc/shells", 0o644, "/bin/sh\n");
    archive.file(
        "etc/nsswitch.conf",
        0o644,
        "passwd: files\ngroup: files\nhosts: files dns\n",
    );
    archive.file("etc/hosts", 0o644, "127.0.0.1 localhost\n");
    archive.file(
        "etc/acpi/PWRF/00000080",
        0o755,
        "#!/bin/sh\nexec poweroff\n",
    );
    archive.folder("etc/dropbear");
    archive.folder("root/.ssh");
    Ok(archive)
}
