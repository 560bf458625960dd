//! One writer per environment: a lock file that says who holds it.
//!
//! The lock itself is the kernel's (`flock`), so it ends with its holder however that dies and no stale lock is
//! ever left. The file's content, process id and start time, is there to be read by people and by messages.
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::{EnvironmentFolder, StateError};

/// How long a holder may take to let go. A process that was killed has its files until the kernel has closed them, which on a
/// busy machine is not at once; who starts again then should not be refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Held until dropped.
#[derive(Debug)]
pub struct EnvironmentLock {
    _file: Flock<File>,
}

impl EnvironmentLock {
    /// Takes the lock of `purpose` (for example `deploy`), or says within seconds who has it. Blocks the thread meanwhile.
    ///
    /// # Errors
    /// [`StateError::Locked`] naming the holder, or the file's error.
    pub fn acquire(folder: &EnvironmentFolder, purpose: &str) -> Result<Self, StateError> {
        let began = Instant::now();
        loop {
            match Self::try_acquire(folder, purpose) {
                Err(StateError::Locked { .. }) if began.elapsed() < PATIENCE => sleep(PAUSE),
                done => return done,
            }
        }
    }

    /// Takes the lock, or says at once who has it.
    ///
    /// # Errors
    /// As [`EnvironmentLock::acquire`].
    pub fn try_acquire(folder: &EnvironmentFolder, purpose: &str) -> Result<Self, StateError> {
        let path = folder.lock(purpose);
        // Never truncated on opening: the content belongs to whoever holds the lock.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(StateError::file(&path))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    known => known.to_owned(),
                };
                return Err(StateError::Locked {
                    environment: folder.environment().to_owned(),
                    holder,
                });
            }
            Err((_, errno)) => return Err(StateError::file(path)(errno.into())),
        };
        let pid = std::process::id();
        let started =
            start_time(pid).map_or_else(String::new, |ticks| format!(", start time {ticks}"));
        let line = format!("{purpose} (pid {pid}{started})\n");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(line.as_bytes()))
            .map_err(StateError::file(&path))?;
        Ok(Self { _file: file })
    }
}

/// Start time of a process in clock ticks since boot (field 22 of `/proc/<pid>/stat`); with the process id it
/// names a process for good, as ids are used again.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the command's name, may hold blanks and parentheses: count from its end.
    let after_name = stat.get(stat.rfind(')')? + 1..)?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it_and_gets_it_afterwards() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
        let first = EnvironmentLock::acquire(&folder, "deploy").unwrap();
        let told = EnvironmentLock::try_acquire(&folder, "deploy")
            .unwrap_err()
            .to_string();
        assert!(
            told.contains(&format!("deploy (pid {}", std::process::id())),
            "{told}"
        );
        EnvironmentLock::acquire(&folder, "lab").unwrap();
        drop(first);
        EnvironmentLock::acquire(&folder, "deploy").unwrap();
    }

    #[test]
    fn a_holder_that_lets_go_late_is_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
        let dying = EnvironmentLock::acquire(&folder, "deploy").unwrap();
        let dies = std::thread::spawn(move || {
            sleep(PAUSE * 4);
            drop(dying);
        });
        EnvironmentLock::acquire(&folder, "deploy").unwrap();
        dies.join().unwrap();
    }

    #[test]
    fn processes_have_start_times() {
        assert!(start_time(std::process::id()).unwrap() > 0);
        assert_eq!(start_time(u32::MAX), None);
    }
}
