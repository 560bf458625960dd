//! A disk image that BIOS and UEFI boot, made from a tree without loop devices or root's block layer: DOS
//! label, EFI system partition, ext4 root filled by `mke2fs -d`, GRUB in the gap before the first partition.
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

use super::{
    command::{output, run},
    error::{At, ImageError},
};

const SECTOR: u64 = 512;
/// The EFI system partition begins at 1 MiB, as every partition tool has it; GRUB's core lies before it.
const ESP_START: u64 = 2048;
const ESP_SECTORS: u64 = 65_536;
const ROOT_START: u64 = ESP_START + ESP_SECTORS;
/// Number of the root partition.
pub(super) const ROOT_PARTITION: u32 = 2;

/// Built into GRUB's core: find the root file system and go on with its grub.cfg.
pub(super) const GRUB_EMBEDDED: &str = "search --label root --set=root\nset prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n";
const GRUB_MODULES: &[&str] = &[
    "part_msdos",
    "ext2",
    "search",
    "search_label",
    "linux",
    "serial",
    "terminal",
    "normal",
    "configfile",
    "boot",
    "echo",
    "reboot",
];
const GRUB_FOLDER: &str = "/usr/lib/grub";

/// Writes `tree` as disk image `image` whose root file system has `root_bytes`. Returns the disk's size.
///
/// # Errors
/// When a tool fails, for example because the tree does not fit.
pub(super) fn write(
    tree: &Path,
    image: &Path,
    root_bytes: u64,
    log: &Path,
) -> Result<u64, ImageError> {
    let root_kib = root_bytes.div_ceil(1024 * 1024) * 1024;
    let bytes = ROOT_START * SECTOR + root_kib * 1024;
    let file = File::create(image).at("create", image)?;
    file.set_len(bytes).at("enlarge", image)?;
    drop(file);
    partition(image, log)?;
    let mut mke2fs = Command::new("nice");
    mke2fs.args([
        "-n", "10", "mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "0",
    ]);
    // GRUB 2.06 reads neither of these two features.
    mke2fs.args(["-O", "^metadata_csum_seed,^orphan_file", "-E"]);
    mke2fs.arg(format!(
        "offset={},lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0",
        ROOT_START * SECTOR
    ));
    run(
        mke2fs
            .arg("-d")
            .arg(tree)
            .arg(image)
            .arg(format!("{root_kib}k")),
        log,
    )?;
    boot_loaders(image, log)?;
    Ok(bytes)
}

fn partition(image: &Path, log: &Path) -> Result<(), ImageError> {
    let script = format!(
        "label: dos\nlabel-id: 0x57524947\nstart={ESP_START}, size={ESP_SECTORS}, type=ef\nstart={ROOT_START}, type=83, bootable\n"
    );
    let path = image.with_extension("sfdisk");
    fs::write(&path, script).at("write", &path)?;
    // sfdisk reads its script from standard input only.
    let script = File::open(&path).at("open", &path)?;
    let messages = File::options()
        .create(true)
        .append(true)
        .open(log)
        .at("open log", log)?;
    let mut sfdisk = Command::new("sfdisk");
    sfdisk
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(image)
        .stdin(script);
    sfdisk.stdout(Stdio::null()).stderr(messages);
    let status = sfdisk.status().at("run", Path::new("sfdisk"))?;
    fs::remove_file(&path).at("remove", &path)?;
    if !status.success() {
        return Err(ImageError::Command {
            command: "sfdisk".into(),
            status,
            log: log.into(),
            tail: String::new(),
        });
    }
    Ok(())
}

/// GRUB for UEFI into the EFI system partition, GRUB for BIOS into the boot sector and the gap behind it.
fn boot_loaders(image: &Path, log: &Path) -> Result<(), ImageError> {
    let embedded = image.with_extension("grub");
    fs::write(&embedded, GRUB_EMBEDDED).at("write", &embedded)?;
    let efi = image.with_extension("efi");
    grub_image("x86_64-efi", &["fat"], &embedded, &efi, log)?;
    let partition = {
        let mut word = image.as_os_str().to_owned();
        word.push("@@1M");
        word
    };
    let sectors = ESP_SECTORS.to_string();
    run(
        Command::new("mformat")
            .arg("-i")
            .arg(&partition)
            .args(["-T", &sectors, "-h", "64", "-s", "32", "-v", "ESP", "::"]),
        log,
    )?;
    run(
        Command::new("mmd")
            .arg("-i")
            .arg(&partition)
            .args(["::/EFI", "::/EFI/BOOT"]),
        log,
    )?;
    run(
        Command::new("mcopy")
            .arg("-i")
            .arg(&partition)
            .arg(&efi)
            .arg("::/EFI/BOOT/BOOTX64.EFI"),
        log,
    )?;

    let core = image.with_extension("core");
    grub_image("i386-pc", &["biosdisk"], &embedded, &core, log)?;
    let boot = Path::new(GRUB_FOLDER).join("i386-pc/boot.img");
    let boot_sector = fs::read(&boot).at("read", &boot)?;
    let core_bytes = fs::read(&core).at("read", &core)?;
    let gap = (ESP_START - 1) * SECTOR;
    if core_bytes.len() as u64 > gap {
        return Err(ImageError::TooBig {
            needed: core_bytes.len() as u64,
            allowed: gap,
        });
    }
    let disk = File::options().write(true).open(image).at("open", image)?;
    // Bytes 440 to 511 are the disk's id and the partition table. boot.img loads what begins at sector 1,
    // and core.img's own list of blocks says so too, so nothing has to be patched.
    let code = boot_sector.get(..440).unwrap_or(&boot_sector);
    disk.write_all_at(code, 0).at("write", image)?;
    disk.write_all_at(&core_bytes, SECTOR).at("write", image)?;
    for path in [&embedded, &efi, &core] {
        fs::remove_file(path).at("remove", path)?;
    }
    Ok(())
}

fn grub_image(
    platform: &str,
    extra: &[&str],
    embedded: &Path,
    out: &Path,
    log: &Path,
) -> Result<(), ImageError> {
    let folder = Path::new(GRUB_FOLDER).join(platform);
    let mut command = Command::new("grub-mkimage");
    command
        .arg("--format")
        .arg(platform)
        .arg("--directory")
        .arg(folder)
        .args(["--prefix", "/boot/grub"]);
    command
        .arg("--config")
        .arg(embedded)
        .arg("--output")
        .arg(out)
        .args(GRUB_MODULES)
        .args(extra);
    run(&mut command, log)
}

/// Bytes that the files below `tree` take on disk.
///
/// # Errors
/// When a folder cannot be read.
pub(super) fn used_bytes(tree: &Path) -> Result<u64, ImageError> {
    let mut bytes = 0;
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let entry = entry.at("read", &folder)?;
            let found = entry.path().symlink_metadata().at("read", &entry.path())?;
            bytes += found.blocks() * SECTOR;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

/// Compresses `image` to `packed`; zero runs cost next to nothing. At level 6, which spares every node 7 % of what it
/// receives and hashes for half a second here; from 9 on it takes seconds to gain less.
///
/// # Errors
/// When zstd fails.
pub(super) fn compress(image: &Path, packed: &Path, log: &Path) -> Result<(), ImageError> {
    let mut command = Command::new("nice");
    command.args(["-n", "10", "zstd", "-q", "-f", "-T2", "-6"]);
    output(command.arg(image).arg("-o").arg(packed), log).map(drop)
}

/// SHA-256 of a file, lower-case hex, and the file's size.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn sha256(path: &Path) -> Result<(String, u64), ImageError> {
    let read = || -> io::Result<(String, u64)> {
        let mut file = File::open(path)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => digest.update(buffer.get(..n).unwrap_or_default()),
            }
        }
        Ok((hex::encode(digest.finalize()), file.seek(SeekFrom::End(0))?))
    };
    read().at("read", path)
}

/// Writes a small file so that it is there whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let partial = path.with_extension("partial");
    let write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().at("write", path)
}
