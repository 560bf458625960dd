//! The image's first MiB, with partition table and boot code, while it is kept off the disk.
//!
//! It lies at the beginning of a sparse file as long as the disk, so that `sfdisk`, which knows partition
//! tables better, can let the root partition grow there. [`stream::commit`](super::stream::commit) puts it on the disk.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::disk::Partition;
use super::stream::HEAD_BYTES;
use super::{InstallError, tool};

/// `sfdisk --json` counts in these for a plain file, whatever the disk's sectors are.
const SECTOR: u64 = 512;

/// The file is removed when this is dropped.
pub struct Head {
    path: PathBuf,
    length: usize,
}

impl Head {
    /// Keeps `bytes` as the beginning of a disk of `disk_bytes`, in a file in `folder`.
    pub fn keep(bytes: &[u8], disk_bytes: u64, folder: &Path) -> io::Result<Self> {
        let head = Head {
            // sfdisk puts the number of a partition behind this name.
            path: folder.join("wright-disk-head"),
            length: bytes.len().min(HEAD_BYTES),
        };
        let file = File::create(&head.path)?;
        file.set_len(disk_bytes)?;
        file.write_all_at(&bytes[..head.length], 0)?;
        Ok(head)
    }

    /// Lets partition `number` reach to the end of the disk; returns all partitions.
    pub fn grow(&self, number: u32) -> Result<Vec<Partition>, InstallError> {
        let mut sfdisk = Command::new("sfdisk");
        sfdisk
            .args(["--quiet", "--no-reread", "--no-tell-kernel", "--force"])
            .args(["-N", &number.to_string()])
            .arg(&self.path);
        // Keeps the start and takes all the space behind it.
        tool::run("grow", &mut sfdisk, ",+\n", 0)?;
        let text = tool::run(
            "grow",
            Command::new("sfdisk").arg("--json").arg(&self.path),
            "",
            0,
        )?;
        self.parse(&text)
            .map_err(|source| InstallError::io("grow", "read what sfdisk says".into(), source))
    }

    /// The first MiB as it is now.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        File::open(&self.path)?.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn parse(&self, text: &str) -> io::Result<Vec<Partition>> {
        let said: Said = serde_json::from_str(text)?;
        let name = self.path.to_string_lossy();
        let partition = |row: Row| {
            let number = row.node.strip_prefix(&*name)?.parse().ok()?;
            Some(Partition {
                number,
                start: row.start.checked_mul(SECTOR)?,
                length: row.size.checked_mul(SECTOR)?,
            })
        };
        said.partitiontable
            .partitions
            .into_iter()
            .map(|row| partition(row).ok_or_else(|| io::Error::other("an unknown partition")))
            .collect()
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        // It lies in memory that is given up anyway when the installed system starts.
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Deserialize)]
struct Said {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    partitions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    node: String,
    start: u64,
    size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_partition_grows_in_the_file_alone() {
        if Command::new("sfdisk").arg("--version").output().is_err() {
            return println!("skipped: `sfdisk` is missing (package fdisk)");
        }
        let folder = tempfile::tempdir().unwrap();
        let head = Head::keep(&[7; HEAD_BYTES + 1], 64 << 20, folder.path()).unwrap();
        let label = "label: dos\nstart=2048, size=2048, type=ef\nstart=4096, size=4096, type=83\n";
        tool::run("grow", Command::new("sfdisk").arg(&head.path), label, 0).unwrap();
        let partitions = head.grow(2).unwrap();
        assert_eq!(
            partitions,
            [(1, 1 << 20, 1 << 20), (2, 2 << 20, 62 << 20)].map(|(number, start, length)| {
                Partition {
                    number,
                    start,
                    length,
                }
            })
        );
        let bytes = head.bytes().unwrap();
        assert_eq!(
            (bytes.len(), bytes[0], &bytes[510..512]),
            (HEAD_BYTES, 7, &[0x55, 0xaa][..])
        );
        drop(head);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
