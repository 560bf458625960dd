//! The target disk: which one, emptying it, telling the kernel of its partitions, wiping it.
//!
//! It knows block devices, not images: what is written to them, and when, is `stream`'s matter.
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use agent_protocol::enrol::Disk;

use super::console::say;
use super::stream::{self, BLOCK_BYTES};

/// What is zeroed at both ends of a disk so that no partition table is left: a GPT has one at each end.
const WIPED_BYTES: u64 = 1 << 20;

// linux/fs.h: BLKDISCARD and BLKZEROOUT take { start, length } in bytes; BLKGETSIZE64 gives bytes.
nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
nix::ioctl_write_ptr_bad!(blkzeroout, nix::request_code_none!(0x12, 127), [u64; 2]);
nix::ioctl_none!(blkrrpart, 0x12, 95);
// linux/blkpg.h
nix::ioctl_write_ptr_bad!(blkpg, nix::request_code_none!(0x12, 105), BlkpgArgument);
nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);

/// `BLKPG_ADD_PARTITION`.
const ADD_PARTITION: libc::c_int = 1;

#[repr(C)]
pub struct BlkpgArgument {
    op: libc::c_int,
    flags: libc::c_int,
    data_length: libc::c_int,
    data: *const BlkpgPartition,
}

#[repr(C)]
pub struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// A partition as a table has it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    pub start: u64,
    pub length: u64,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChoiceError {
    #[error("the orders name disk `{wanted}`, this machine has {have}")]
    Absent { wanted: String, have: String },
    #[error("no disk holds the image's {bytes} bytes; this machine has {have}")]
    TooSmall { bytes: u64, have: String },
}

/// The ordered disk, or the smallest that holds the image (the big ones are for storage).
pub fn choose<'a>(
    disks: &'a [Disk],
    wanted: Option<&str>,
    image_bytes: u64,
) -> Result<&'a Disk, ChoiceError> {
    let have = || match disks {
        [] => "no disk at all".to_owned(),
        _ => disks
            .iter()
            .map(|disk| format!("{} of {} bytes", disk.name, disk.size_bytes))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let fits = |disk: &&Disk| disk.size_bytes >= image_bytes;
    match wanted {
        Some(wanted) => disks
            .iter()
            .find(|disk| disk.name == wanted)
            .ok_or_else(|| ChoiceError::Absent {
                wanted: wanted.to_owned(),
                have: have(),
            })
            .and_then(|disk| {
                Some(disk)
                    .filter(fits)
                    .ok_or_else(|| ChoiceError::TooSmall {
                        bytes: image_bytes,
                        have: have(),
                    })
            }),
        None => disks
            .iter()
            .filter(fits)
            .min_by_key(|disk| disk.size_bytes)
            .ok_or_else(|| ChoiceError::TooSmall {
                bytes: image_bytes,
                have: have(),
            }),
    }
}

pub fn device(disk: &str) -> PathBuf {
    Path::new("/dev").join(disk)
}

/// Device of a partition: `vda2`, but `nvme0n1p2` where the disk's name ends in a digit.
pub fn partition(disk: &str, number: u32) -> PathBuf {
    let between = if disk.ends_with(|c: char| c.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    device(&format!("{disk}{between}{number}"))
}

pub fn open(device: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(device)
}

/// Writes an image past the kernel's page cache, which would copy every byte and keep it where nobody reads it again.
pub struct Uncached<'a> {
    disk: &'a File,
    /// None where the device does not allow it.
    direct: Option<File>,
}

impl<'a> Uncached<'a> {
    /// `disk` is `device`, open.
    pub fn new(disk: &'a File, device: &Path) -> Self {
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(device);
        Self {
            disk,
            direct: direct.ok(),
        }
    }
}

impl stream::Target for Uncached<'_> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // open(2), O_DIRECT: address, length and offset are multiples of the sector size. The end of an image may not be.
        let is_whole = bytes.as_ptr().align_offset(BLOCK_BYTES) == 0
            && bytes.len().is_multiple_of(BLOCK_BYTES)
            && offset.is_multiple_of(BLOCK_BYTES as u64);
        let direct = self.direct.as_ref().filter(|_| is_whole);
        FileExt::write_all_at(direct.unwrap_or(self.disk), bytes, offset)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_all()
    }
}

/// Frees the whole disk and, where the disk can do it cheaply, makes the image's range read as zeros.
/// Returns whether zeros need not be written.
///
/// A discard alone promises nothing about what is read afterwards (virtio 1.2 §5.2.6.2, SATA without
/// RZAT), so that holes would show old data; "write zeroes" does promise it.
pub fn empty(disk: &File, name: &str, image_bytes: u64) -> io::Result<bool> {
    let size = size(disk)?;
    // SAFETY: the descriptor is an open block device and the range is two u64, as linux/fs.h says.
    let discarded = unsafe { blkdiscard(disk.as_raw_fd(), &[0, size]) };
    wipe(disk)?;
    // The kernel forgets the partitions that a used disk had. A plain file has none.
    let _ = reread_partitions(disk);
    let offload =
        fs::read_to_string(format!("/sys/block/{name}/queue/write_zeroes_max_bytes")).ok();
    let offload =
        offload.is_some_and(|bytes| bytes.trim().parse::<u64>().is_ok_and(|bytes| bytes > 0));
    // The kernel wants whole sectors, 4096 bytes is a multiple of every sector size.
    let range = [0, image_bytes.next_multiple_of(4096).min(size)];
    // SAFETY: as above.
    let zeroed = offload && unsafe { blkzeroout(disk.as_raw_fd(), &range) }.is_ok();
    say(
        "discard",
        format_args!(
            "{name}: {} bytes, discarded: {}, reads as zeros: {zeroed}",
            size,
            discarded.is_ok()
        ),
    );
    Ok(zeroed)
}

/// Destroys every partition table, so that neither firmware nor kernel finds anything to boot.
pub fn wipe(disk: &File) -> io::Result<()> {
    let size = size(disk)?;
    let zeros = vec![0; WIPED_BYTES.min(size) as usize];
    disk.write_all_at(&zeros, 0)?;
    disk.write_all_at(&zeros, size - zeros.len() as u64)?;
    disk.sync_all()
}

/// Tells the kernel of a partition that no table on the disk has yet: the table is written last.
pub fn add_partition(disk: &File, partition: &Partition) -> io::Result<()> {
    let number = |value: u64| i64::try_from(value).map_err(io::Error::other);
    let data = BlkpgPartition {
        start: number(partition.start)?,
        length: number(partition.length)?,
        number: i32::try_from(partition.number).map_err(io::Error::other)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        op: ADD_PARTITION,
        flags: 0,
        data_length: size_of::<BlkpgPartition>() as libc::c_int,
        data: &raw const data,
    };
    // SAFETY: the descriptor is open; the argument points to a whole partition that outlives the call.
    unsafe { blkpg(disk.as_raw_fd(), &raw const argument) }
        .map(drop)
        .map_err(io::Error::from)
}

/// Makes the kernel read the partition table again. A plain file has none to read.
pub fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument; the descriptor is open.
    unsafe { blkrrpart(disk.as_raw_fd()) }
        .map(drop)
        .map_err(io::Error::from)
}

/// Size in bytes of a block device, or of a plain file.
pub fn size(disk: &File) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the kernel writes one u64 to the address given.
    match unsafe { blkgetsize64(disk.as_raw_fd(), &mut bytes) } {
        Ok(_) => Ok(bytes),
        Err(nix::Error::ENOTTY) => Ok(disk.metadata()?.len()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks() -> Vec<Disk> {
        [("sda", 4000), ("nvme0n1", 1000), ("vda", 500)]
            .map(|(name, size_bytes)| Disk {
                name: name.into(),
                size_bytes,
                rotational: false,
                serial: None,
                model: None,
            })
            .into()
    }

    #[test]
    fn the_smallest_disk_that_holds_the_image_is_taken() {
        assert_eq!(choose(&disks(), None, 800).unwrap().name, "nvme0n1");
        assert_eq!(choose(&disks(), Some("sda"), 800).unwrap().name, "sda");
    }

    #[test]
    fn a_disk_that_does_not_fit_is_refused_by_name() {
        assert_eq!(
            choose(&[], None, 1).unwrap_err().to_string(),
            "no disk holds the image's 1 bytes; this machine has no disk at all"
        );
        assert_eq!(
            choose(&disks(), Some("sdb"), 1).unwrap_err().to_string(),
            "the orders name disk `sdb`, this machine has sda of 4000 bytes, nvme0n1 of 1000 bytes, vda of 500 bytes"
        );
        assert!(matches!(
            choose(&disks(), Some("vda"), 800),
            Err(ChoiceError::TooSmall { .. })
        ));
    }

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        assert_eq!(partition("vda", 2), Path::new("/dev/vda2"));
        assert_eq!(partition("nvme0n1", 2), Path::new("/dev/nvme0n1p2"));
    }

    #[test]
    fn what_passes_the_cache_by_and_what_does_not_is_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("disk");
        let disk = File::create(&device).unwrap();
        let blocks = [[7; BLOCK_BYTES]; 3];
        let boundary = blocks.as_flattened().as_ptr().align_offset(BLOCK_BYTES);
        let target = Uncached::new(&disk, &device);
        let bytes = &blocks.as_flattened()[boundary..];
        stream::Target::write_all_at(&target, &bytes[..BLOCK_BYTES], 0).unwrap();
        stream::Target::write_all_at(&target, &bytes[..10], BLOCK_BYTES as u64).unwrap();
        stream::Target::sync_all(&target).unwrap();
        assert_eq!(fs::read(&device).unwrap(), bytes[..BLOCK_BYTES + 10]);
    }

    #[test]
    fn a_wiped_disk_has_zeros_at_both_ends() {
        let file = tempfile::tempfile().unwrap();
        let size = 3 * WIPED_BYTES;
        file.write_all_at(&vec![7; size as usize], 0).unwrap();
        wipe(&file).unwrap();
        let mut bytes = vec![1; size as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let third = WIPED_BYTES as usize;
        assert!(
            bytes[..third]
                .iter()
                .chain(&bytes[2 * third..])
                .all(|byte| *byte == 0)
        );
        assert!(bytes[third..2 * third].iter().all(|byte| *byte == 7));
    }
}
