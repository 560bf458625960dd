//! `wright-agent serve`: listens on the socket until it is told to stop.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use agent_protocol::PROTOCOL;
use agent_protocol::task::FromAgent;
use nix::sys::signal::{SigSet, Signal};
use sha2::{Digest, Sha256};

use super::journal::{Journal, JournalError};
use super::registry::Registry;
use super::{Paths, connection};

/// More controllers at once than anyone has; each costs three threads.
const CONNECTIONS_MAX: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("another agent already listens on {0}")]
    AlreadyRunning(String),
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Serves until SIGTERM or SIGINT; then the running task is waited for, and its result is in the journal.
pub fn run(paths: &Paths) -> Result<(), DaemonError> {
    // Blocked before any thread is made, so that only the waiting thread below gets them.
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    stop.add(Signal::SIGINT);
    stop.thread_block().map_err(|error| DaemonError::Io {
        what: "block signals".into(),
        source: error.into(),
    })?;

    // Locked before the journal is opened: two writers would spoil it.
    let _lock = lock(paths)?;
    let (journal, entries) = Journal::open(&paths.journal)?;
    let registry = Arc::new(Registry::new(journal, entries));
    let listener = listen(&paths.socket).map_err(|source| DaemonError::Io {
        what: format!("listen on {}", paths.socket.display()),
        source,
    })?;
    let hello = hello();
    let connections = Arc::new(AtomicUsize::new(0));
    {
        let (registry, connections) = (registry.clone(), connections.clone());
        thread::spawn(move || accept(&listener, &registry, &connections, &hello));
    }
    let _ = stop.wait();
    let _ = fs::remove_file(&paths.socket);
    registry.wait_until_idle();
    Ok(())
}

fn accept(
    listener: &UnixListener,
    registry: &Arc<Registry>,
    connections: &Arc<AtomicUsize>,
    hello: &FromAgent,
) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors: wait for some to be closed.
            thread::sleep(std::time::Duration::from_millis(100));
            continue;
        };
        if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (registry, connections, hello) = (registry.clone(), connections.clone(), hello.clone());
        thread::spawn(move || {
            if let Err(error) = connection::serve(stream, &registry, hello) {
                eprintln!("wright-agent: {error}");
            }
            connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// One daemon a journal; the kernel lets go of the lock when the process dies.
fn lock(paths: &Paths) -> Result<File, DaemonError> {
    let path = paths.journal.with_extension("lock");
    let io = |source| DaemonError::Io {
        what: format!("lock {}", path.display()),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io)?;
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    }
    let file = File::create(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(DaemonError::AlreadyRunning(
            paths.socket.display().to_string(),
        )),
        Err(fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// A socket that only root can connect to. One left by a dead daemon is replaced: the lock is ours.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("new");
    for old in [path, &temporary] {
        match fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Bound under another name, so that nobody connects before the mode is right.
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, path)?;
    Ok(listener)
}

fn hello() -> FromAgent {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default();
    FromAgent::Hello {
        protocol: PROTOCOL,
        agent_sha256: own_sha256().unwrap_or_default(),
        boot_id,
    }
}

/// SHA-256 of the running binary, in hex.
pub fn own_sha256() -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(
        &mut File::open("/proc/self/exe")?,
        &mut HashWriter(&mut digest),
    )?;
    Ok(hex::encode(digest.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a daemon answers on the socket.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}
