//! The data of images as files: written aside, named only when whole.
//!
//! Does not know the images' rows.

use futures::{Stream, StreamExt};
use md5::Md5;
use sha2::{Digest, Sha512};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
};

/// How long an upload may pause.
const IDLE: Duration = Duration::from_secs(120);

/// A folder of image data.
pub struct Files {
    folder: PathBuf,
    /// Part of the names of unfinished files: controllers may share the folder.
    host: String,
}

/// What an upload gave.
pub struct Written {
    /// Bytes.
    pub size: u64,
    /// MD5, hex.
    pub md5: String,
    /// SHA-512, hex.
    pub sha512: String,
    part: Part,
}

/// An unfinished file; it goes away unless it is kept.
struct Part {
    path: PathBuf,
    kept: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why an upload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client went away or paused for too long.
    #[error("the upload was cut off: {0}")]
    CutOff(String),
    /// Larger than allowed.
    #[error("the image is larger than {0} bytes")]
    TooLarge(u64),
    /// Refused by its content.
    #[error("{0}")]
    Refused(String),
    /// Our disk.
    #[error("cannot store the image: {0}")]
    Disk(#[from] io::Error),
}

impl Files {
    /// Makes the folder, and removes what this host did not finish.
    pub fn open(folder: &Path, host: &str) -> io::Result<Files> {
        fs::create_dir_all(folder)?;
        let files = Files {
            folder: folder.to_owned(),
            host: host.replace('/', "_"),
        };
        let mark = format!(".part-{}", files.host);
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(&mark) {
                fs::remove_file(path)?;
            }
        }
        Ok(files)
    }

    /// Where these data of an image lie. Their digest is in the name, so that what an upload left that was not taken is
    /// never given for what was.
    pub fn path(&self, id: &str, sha512: &str) -> PathBuf {
        self.folder.join(name(id, sha512))
    }

    /// Where they are, if they are here: under their name, or as versions before digests in names wrote them.
    pub fn find(&self, id: &str, sha512: &str) -> Option<PathBuf> {
        let paths = [self.path(id, sha512), self.folder.join(id)];
        paths.into_iter().find(|path| path.exists())
    }

    /// Writes a stream aside. `head` sees the first bytes (up to `head_size`) once and may refuse.
    pub async fn receive<S, E>(
        &self,
        id: &str,
        mut stream: S,
        max_bytes: u64,
        head_size: usize,
        mut head: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Written, UploadError>
    where
        S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let unique = uuid::Uuid::new_v4().simple();
        let path = self
            .folder
            .join(format!("{id}.{unique}.part-{}", self.host));
        let part = Part { path, kept: false };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&part.path).await?);
        let (mut md5, mut sha512, mut size) = (Md5::new(), Sha512::new(), 0u64);
        let mut seen = Vec::new();
        let mut asked = false;
        loop {
            let chunk = match tokio::time::timeout(IDLE, stream.next()).await {
                Err(_) => return Err(UploadError::CutOff(format!("nothing came for {IDLE:?}"))),
                Ok(Some(Err(error))) => return Err(UploadError::CutOff(error.to_string())),
                Ok(None) => break,
                Ok(Some(Ok(chunk))) => chunk,
            };
            size += chunk.len() as u64;
            if size > max_bytes {
                return Err(UploadError::TooLarge(max_bytes));
            }
            if !asked {
                seen.extend_from_slice(&chunk);
                if seen.len() >= head_size {
                    seen.truncate(head_size);
                    head(&seen).map_err(UploadError::Refused)?;
                    asked = true;
                    seen = Vec::new();
                }
            }
            md5.update(&chunk);
            sha512.update(&chunk);
            file.write_all(&chunk).await?;
        }
        if !asked {
            head(&seen).map_err(UploadError::Refused)?;
        }
        file.flush().await?;
        file.into_inner().sync_all().await?;
        Ok(Written {
            size,
            md5: hex::encode(md5.finalize()),
            sha512: hex::encode(sha512.finalize()),
            part,
        })
    }

    /// Gives the data its name, durably.
    pub fn keep(&self, id: &str, written: &mut Written) -> io::Result<()> {
        fs::rename(&written.part.path, self.path(id, &written.sha512))?;
        written.part.kept = true;
        fs::File::open(&self.folder)?.sync_all()
    }

    /// The names of all data here, and when they were written.
    pub fn list(&self) -> Vec<(String, std::time::SystemTime)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                // Unfinished ones have more to their names.
                let id =
                    name.split_once('.')
                        .map_or(name.as_str(), |(id, digest)| match digest.len() {
                            DIGEST_DIGITS => id,
                            _ => "",
                        });
                uuid::Uuid::try_parse(id).ok()?;
                Some((name, entry.metadata().ok()?.modified().ok()?))
            })
            .collect()
    }

    /// Removes data by one of the names of [`Files::list`].
    pub fn remove_name(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes an image's data; none is no error.
    pub fn remove(&self, id: &str, sha512: &str) -> io::Result<()> {
        self.remove_name(&name(id, sha512))?;
        self.remove_name(id)
    }
}

/// Digits of the digest in a name: enough that no two data of one image share them.
const DIGEST_DIGITS: usize = 32;

/// The file's name of these data.
pub fn name(id: &str, sha512: &str) -> String {
    format!("{id}.{}", sha512.get(..DIGEST_DIGITS).unwrap_or(sha512))
}
