//! One stream into a file of a backup, and out of it again: compressed with zstd, counted, and hashed as it lies on the
//! disk. A piece at a time; a file that did not become whole is removed.
use crate::BackupError;
use crate::manifest::{Kind, Part};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Twice as fast as the usual 3 and hardly larger: the controllers wait for it.
const LEVEL: i32 = 1;

/// Writes the stream to a new file of mode 0600 in `folder`, on the disk when this returns.
pub fn pack(
    folder: &Path,
    name: &str,
    kind: Kind,
    stream: &mut dyn Read,
) -> Result<Part, BackupError> {
    let path = folder.join(name);
    let written = write(&path, stream);
    if written.is_err() {
        // The first failure is the one to tell.
        let _ = std::fs::remove_file(&path);
    }
    let (raw_bytes, hashed) = written.map_err(BackupError::file(&path))?;
    Ok(Part {
        file: name.to_owned(),
        kind,
        bytes: hashed.bytes,
        sha256: hex::encode(hashed.hash.finalize()),
        raw_bytes,
    })
}

fn write(path: &Path, stream: &mut dyn Read) -> io::Result<(u64, Hashed<File>)> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let hashed = Hashed {
        inner: file,
        hash: Sha256::new(),
        bytes: 0,
    };
    let mut encoder = zstd::Encoder::new(hashed, LEVEL)?;
    encoder.include_checksum(true)?;
    let raw_bytes = io::copy(stream, &mut encoder)?;
    let hashed = encoder.finish()?;
    hashed.inner.sync_all()?;
    Ok((raw_bytes, hashed))
}

/// Writes what was packed to `sink`. Only what [`check`] has found to be whole should be given to anybody.
pub fn unpack(folder: &Path, part: &Part, sink: &mut dyn Write) -> Result<(), BackupError> {
    let path = folder.join(&part.file);
    let file = File::open(&path).map_err(BackupError::file(&path))?;
    zstd::Decoder::new(BufReader::new(file))
        .and_then(|mut decoder| io::copy(&mut decoder, sink))
        .map_err(BackupError::file(&path))?;
    Ok(())
}

/// Whether the file is as it was written.
///
/// # Errors
/// [`BackupError::Damaged`] with what is wrong.
pub fn check(id: &str, folder: &Path, part: &Part) -> Result<(), BackupError> {
    let damaged = |reason: String| BackupError::Damaged {
        id: id.to_owned(),
        reason,
    };
    let path = folder.join(&part.file);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(format!("`{}` is missing", part.file)));
        }
        Err(error) => return Err(BackupError::file(&path)(error)),
    };
    let mut hashed = Hashed {
        inner: io::sink(),
        hash: Sha256::new(),
        bytes: 0,
    };
    io::copy(&mut file, &mut hashed).map_err(BackupError::file(&path))?;
    if hashed.bytes != part.bytes || hex::encode(hashed.hash.finalize()) != part.sha256 {
        return Err(damaged(format!("`{}` is not as it was written", part.file)));
    }
    Ok(())
}

struct Hashed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(piece)?;
        self.hash.update(&piece[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_packed_comes_out_again_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"insert into servers\n".repeat(10_000);
        let part = pack(folder.path(), "a.zst", Kind::Physical, &mut &text[..]).unwrap();
        assert_eq!(part.raw_bytes, text.len() as u64);
        assert!(part.bytes < part.raw_bytes / 10);
        let path = folder.path().join("a.zst");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        check("b", folder.path(), &part).unwrap();
        let mut out = Vec::new();
        unpack(folder.path(), &part, &mut out).unwrap();
        assert_eq!(out, text);

        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        insta::assert_snapshot!(check("b", folder.path(), &part).unwrap_err(), @"backup `b` is damaged or was altered: `a.zst` is not as it was written. Take another one");
        std::fs::remove_file(&path).unwrap();
        insta::assert_snapshot!(check("b", folder.path(), &part).unwrap_err(), @"backup `b` is damaged or was altered: `a.zst` is missing. Take another one");
    }

    #[test]
    fn a_stream_that_breaks_leaves_nothing_half() {
        struct Breaks(usize);
        impl Read for Breaks {
            fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                self.0 -= 1;
                Ok(piece.len())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(pack(folder.path(), "a.zst", Kind::Physical, &mut Breaks(3)).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
