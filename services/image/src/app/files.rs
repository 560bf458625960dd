//! The data of images as files: written aside, named only when whole.
//!
//! What comes is written, and both digests are made of it, on threads of their own at the same time: an upload is as fast as
//! the slowest of the three, and holds up nobody else's requests. Does not know the images' rows.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use md5::Md5;
use sha2::{Digest, Sha512};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// How long an upload may pause.
const IDLE: Duration = Duration::from_secs(120);
/// Pieces on their way to one thread: what an upload holds in memory.
const IN_FLIGHT: usize = 32;
/// So much is written between two times at which the disk is told to begin with it: the last wait is then short.
const WRITE_BEHIND: u64 = 64 << 20;

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

impl Written {
    /// Where it lies until it is kept.
    pub fn path(&self) -> &Path {
        &self.part.path
    }
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

/// A thread that takes the pieces of a stream one after the other.
struct Sink<T> {
    pieces: mpsc::Sender<Bytes>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Sink<T> {
    fn new(work: impl FnOnce(mpsc::Receiver<Bytes>) -> T + Send + 'static) -> Self {
        let (pieces, come) = mpsc::channel(IN_FLIGHT);
        let thread = tokio::task::spawn_blocking(move || work(come));
        Sink { pieces, thread }
    }

    /// What it made of all pieces.
    async fn end(self) -> io::Result<T> {
        drop(self.pieces);
        self.thread.await.map_err(io::Error::other)
    }
}

fn digest<D: Digest + Send + 'static>() -> Sink<String> {
    Sink::new(|mut come| {
        let mut digest = D::new();
        while let Some(piece) = come.blocking_recv() {
            digest.update(&piece);
        }
        hex::encode(digest.finalize())
    })
}

/// Writes until the stream ends; the file is durable then.
fn write(mut file: fs::File, mut come: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut waiting = 0;
    while let Some(piece) = come.blocking_recv() {
        file.write_all(&piece)?;
        waiting += piece.len() as u64;
        if waiting >= WRITE_BEHIND {
            begin_to_write(&file);
            waiting = 0;
        }
    }
    file.sync_all()
}

/// Lets the kernel begin to write what it holds of a file, without waiting for it.
fn begin_to_write(file: &fs::File) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open as long as `file` is borrowed; nothing else is passed. A refusal costs only time.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
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
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let unique = uuid::Uuid::new_v4().simple();
        let path = self
            .folder
            .join(format!("{id}.{unique}.part-{}", self.host));
        let part = Part { path, kept: false };
        let file = fs::File::create(&part.path)?;
        let disk = Sink::new(move |come| write(file, come));
        let (md5, sha512) = (digest::<Md5>(), digest::<Sha512>());
        let mut size = 0u64;
        let mut seen = Vec::new();
        let mut asked = false;
        loop {
            let piece = match tokio::time::timeout(IDLE, stream.next()).await {
                Err(_) => return Err(UploadError::CutOff(format!("nothing came for {IDLE:?}"))),
                Ok(Some(Err(error))) => return Err(UploadError::CutOff(error.to_string())),
                Ok(None) => break,
                Ok(Some(Ok(piece))) => piece,
            };
            size += piece.len() as u64;
            if size > max_bytes {
                return Err(UploadError::TooLarge(max_bytes));
            }
            if !asked {
                seen.extend_from_slice(&piece);
                if seen.len() >= head_size {
                    seen.truncate(head_size);
                    head(&seen).map_err(UploadError::Refused)?;
                    asked = true;
                    seen = Vec::new();
                }
            }
            let sent = futures::try_join!(
                md5.pieces.send(piece.clone()),
                sha512.pieces.send(piece.clone()),
                disk.pieces.send(piece),
            );
            if sent.is_err() {
                // A thread has ended before its stream: the disk's, with the reason.
                disk.end().await??;
                return Err(io::Error::other("the thread that writes has ended").into());
            }
        }
        if !asked {
            head(&seen).map_err(UploadError::Refused)?;
        }
        disk.end().await??;
        Ok(Written {
            size,
            md5: md5.end().await?,
            sha512: sha512.end().await?,
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
