//! The policy file of a running service: read at the start, and again when it has changed. It does not know the language.

use super::{check, evaluate::Overrides};
use crate::table::Table;
use diagnostics::{Diagnostic, Diagnostics};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often is looked whether the file has changed.
const EVERY: Duration = Duration::from_secs(1);

/// The rules that hold now.
pub struct Policies {
    path: PathBuf,
    table: Table,
    current: RwLock<Arc<Overrides>>,
    seen: Mutex<Option<Stamp>>,
}

/// By what is known that a file is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// Of the last change, of content or else: seconds and nanoseconds.
    changed: (i64, i64),
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok(Stamp {
        inode: found.ino(),
        bytes: found.len(),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

fn read(path: &Path, table: &Table) -> Result<Overrides, Diagnostics> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Diagnostics::from(Diagnostic::error(format!(
            "cannot read the policy file `{name}`: {error}"
        )))
    })?;
    check(&name, &text, table)
}

impl Policies {
    /// Reads the file for a service's rows.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(path: &Path, table: Table) -> Result<Self, Diagnostics> {
        // Before the content: a change in between is then seen as one.
        let seen = stamp(path).ok();
        let current = read(path, &table)?;
        tracing::info!(service = table.service, file = %path.display(), rules = current.len(), "policy file");
        tell(table.service, 0);
        Ok(Policies {
            path: path.to_owned(),
            table,
            current: RwLock::new(Arc::new(current)),
            seen: Mutex::new(seen),
        })
    }

    /// What holds.
    pub fn current(&self) -> Arc<Overrides> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the file if it has changed; tells whether it did.
    ///
    /// # Errors
    /// What is wrong with the new file, once; what held before goes on to hold.
    pub fn look_again(&self) -> Result<bool, Diagnostics> {
        let now = stamp(&self.path).ok();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        let new = read(&self.path, &self.table)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(true)
    }

    /// Follows the file until the service stops.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let (service, file) = (self.table.service, self.path.display().to_string());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            // A file on a disk that does not answer must not stop requests.
            let own = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || own.look_again()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    tell(service, 0);
                    tracing::info!(
                        service,
                        file,
                        rules = self.current().len(),
                        "policy file read again"
                    );
                }
                Ok(Err(faults)) => {
                    tell(service, faults.len());
                    tracing::error!(
                        service,
                        file,
                        "the policy file is wrong, and the rules stay as they were:\n{faults}"
                    );
                }
                Err(error) => tracing::error!(service, file, %error, "reading the policy file"),
            }
        }
    }
}

/// How many faults the file on the disk has: not 0 as long as older rules hold.
fn tell(service: &'static str, faults: usize) {
    let faults = u32::try_from(faults).unwrap_or(u32::MAX);
    metrics::gauge!("policy_file_faults", "service" => service).set(f64::from(faults));
}
