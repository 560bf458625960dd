//! The local server as it is found: its socket first, then its unit, then its files. Reads; changes only
//! `safe_to_bootstrap`. Decides nothing.

use crate::config::Config;
use crate::core::data::{Data, FromFiles, Grastate, from_files, judge, recovered};
use crate::core::report::{Running, Server};
use crate::sql::{Connection, SqlError};
use crate::status::{self, STATUS, VARIABLES};
use crate::units::{UnitState, Units, last, run};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// For one statement; both together are shorter than a state stays fresh.
const STATEMENT: Duration = Duration::from_millis(800);

/// Looks at the local server.
pub struct Local {
    config: Arc<Config>,
    units: Arc<dyn Units>,
    connection: Option<Connection>,
    /// Of the data's files when the data were read: they were changed by hand if they differ.
    stamp: Option<Stamp>,
}

/// What tells one state of the data's files from another.
type Stamp = [Option<(u64, i64, i64, u64)>; 2];

impl Local {
    /// For the server that the configuration names.
    pub fn new(config: Arc<Config>, units: Arc<dyn Units>) -> Self {
        Self {
            config,
            units,
            connection: None,
            stamp: None,
        }
    }

    /// Looks. A server that is stopped has no `data` yet: see [`Local::read_data`].
    pub async fn look(&mut self) -> Server {
        let silent = match self.ask().await {
            Ok(Some(running)) => return Server::Running(running),
            Ok(None) => "runs without Galera".to_owned(),
            Err(SqlError::Server { code, message }) => {
                format!("runs, but answers: {code} {message}")
            }
            Err(SqlError::Timeout(_)) => "runs, but does not answer".to_owned(),
            Err(_) => String::new(),
        };
        // Nothing that can be asked. Whether there is a server is for the service manager to say.
        match self.units.state().await {
            _ if !silent.is_empty() => Server::Busy { what: silent },
            Ok(UnitState::Stopped) => Server::Stopped { data: None },
            Ok(UnitState::Changing) => Server::Busy {
                what: "is starting or stopping".to_owned(),
            },
            Ok(UnitState::Running) => Server::Busy {
                what: "runs, but does not answer yet".to_owned(),
            },
            Err(why) => Server::Busy {
                what: format!("is in an unknown state: {why}"),
            },
        }
    }

    async fn ask(&mut self) -> Result<Option<Running>, SqlError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.config.socket, &self.config.user, STATEMENT).await?,
        };
        let state = connection.query(STATUS, STATEMENT).await?;
        let variables = connection.query(VARIABLES, STATEMENT).await?;
        // Kept only after a whole answer: the next one must not get what was meant for this one.
        self.connection = Some(connection);
        Ok(status::running(state, variables))
    }

    /// Makes the running server's component Primary.
    pub async fn pc_bootstrap(&mut self) -> Result<(), SqlError> {
        let mut connection =
            Connection::open(&self.config.socket, &self.config.user, STATEMENT).await?;
        connection
            .query(
                "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=true'",
                Duration::from_secs(5),
            )
            .await?;
        Ok(())
    }

    /// Reads what a stopped server's data are worth; with InnoDB's recovery, where the files alone do not say.
    pub async fn read_data(&mut self) -> Result<Data, String> {
        let stamp = self.stamp_now();
        let grastate = self.grastate()?;
        let has_tablespace = self.config.data_dir.join("ibdata1").exists();
        let data = match from_files(grastate, has_tablespace) {
            FromFiles::Known(data) => data,
            FromFiles::AskServer => {
                let log = self.config.data_dir.join("tc.log");
                match drop_unbegun(&log) {
                    Ok(true) => tracing::warn!("{}: removed, it was never begun", log.display()),
                    Ok(false) => {}
                    Err(error) => return Err(format!("`{}`: {error}", log.display())),
                }
                let output = run(&self.config.recover, self.config.recover_time).await?;
                let found = recovered(&output).ok_or_else(|| {
                    format!(
                        "`{}` names no position: {}",
                        self.config.recover.join(" "),
                        last(&output, 3)
                    )
                })?;
                judge(grastate, found)
            }
        };
        self.stamp = Some(stamp);
        Ok(data)
    }

    /// Whether somebody changed the data's files since they were read.
    pub fn files_changed(&self) -> bool {
        self.stamp.is_some_and(|stamp| stamp != self.stamp_now())
    }

    /// InnoDB's recovery writes to its files, so of them only their being there counts.
    fn stamp_now(&self) -> Stamp {
        let of = |name: &str, whole: bool| {
            let data = std::fs::metadata(self.config.data_dir.join(name)).ok()?;
            Some(if whole {
                (data.ino(), data.mtime(), data.mtime_nsec(), data.len())
            } else {
                (data.ino(), 0, 0, 0)
            })
        };
        [of("grastate.dat", true), of("ibdata1", false)]
    }

    /// What cannot be read as a saved state counts as none that Galera stands for: the node never begins with it.
    fn grastate(&self) -> Result<Option<Grastate>, String> {
        let path = self.config.data_dir.join("grastate.dat");
        let text = read(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        Ok(text.map(|text| {
            Grastate::parse(&text).unwrap_or_else(|error| {
                tracing::warn!("{}: {error}: its data do not count", path.display());
                Grastate::DISOWNED
            })
        }))
    }

    /// Tells Galera that the cluster may begin here. Without a saved state there is nothing that it would mind.
    pub fn make_safe(&self) -> Result<(), String> {
        let path = self.config.data_dir.join("grastate.dat");
        make_safe(&path).map_err(|error| format!("`{}`: {error}", path.display()))
    }
}

/// Removes the server's log of transactions over several engines where a full disk has left it made and not begun: all zeros.
/// There is nothing in it, and the server does not start with it. Whether it was removed.
fn drop_unbegun(path: &Path) -> std::io::Result<bool> {
    // It has 24 KiB.
    const LARGEST: u64 = 1 << 20;
    let is_small = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_file() && metadata.len() <= LARGEST,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let is_unbegun = is_small && std::fs::read(path)?.iter().all(|byte| *byte == 0);
    if is_unbegun {
        std::fs::remove_file(path)?;
    }
    Ok(is_unbegun)
}

fn read(path: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Beside it, whole, then in its place: a loss of power leaves the old file or the new one. The folder is the server's,
/// who is not root: nothing is written through a link that it made, and only what is a saved state is copied.
fn make_safe(path: &Path) -> std::io::Result<()> {
    let Some(text) = read(path)? else {
        return Ok(());
    };
    // Galera, too, takes what it cannot read for nothing at all.
    if text.trim().is_empty() || Grastate::parse(&text).is_err() {
        return Ok(());
    }
    let old = std::fs::symlink_metadata(path)?;
    let beside = path.with_extension("dat.wright");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::File::create_new(&beside)?;
    file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o777))?;
    fchown(&file, Some(old.uid()), Some(old.gid()))?;
    file.write_all(Grastate::made_safe(&text).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_saved_state_is_exchanged_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grastate.dat");
        make_safe(&path).unwrap();
        assert!(!path.exists(), "nothing is made up");
        let text = "version: 2.1\nuuid: 0dae1307-1606-11e4-aa94-5255b1455aa0\nseqno: -1\nsafe_to_bootstrap: 0\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        make_safe(&path).unwrap();
        let state = Grastate::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(state.safe_to_bootstrap);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_a_log_that_was_never_begun_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tc.log");
        assert!(!drop_unbegun(&path).unwrap(), "there is none");
        std::fs::write(&path, [0xfe, 0x23, 0x05, 0x74, 2, 0, 0, 0]).unwrap();
        assert!(!drop_unbegun(&path).unwrap());
        assert!(path.exists());
        for length in [0, 20480] {
            std::fs::write(&path, vec![0; length]).unwrap();
            assert!(drop_unbegun(&path).unwrap());
            assert!(!path.exists());
        }
    }
}
