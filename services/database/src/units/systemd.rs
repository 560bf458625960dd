//! The server as a unit of systemd, by `systemctl` and `journalctl`.

use super::{UnitState, Units, reason, run};
use crate::core::data::Position;
use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest that `systemctl` may take; it only queues jobs.
const LIMIT: Duration = Duration::from_secs(5);

/// MariaDB's unit.
///
/// Its `ExecStart` puts `$_WSREP_NEW_CLUSTER` into the server's arguments and finds the start position itself, with
/// `galera_recovery`. The variable comes from a file that a drop-in of ours names (`EnvironmentFile=-...`), which is
/// there for one start only: `systemctl set-environment` would give it to every unit, and leave it there if the
/// guard died in between.
pub struct SystemdUnits {
    unit: String,
    environment: PathBuf,
}

impl SystemdUnits {
    /// For a unit, without `.service`.
    pub fn new(unit: &str) -> Self {
        Self {
            unit: format!("{unit}.service"),
            environment: "/run/wright-database/mariadb.env".into(),
        }
    }

    async fn systemctl(&self, words: &[&str]) -> Result<String, String> {
        let command: Vec<String> = ["systemctl"]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .chain([self.unit.clone()])
            .collect();
        run(&command, LIMIT).await
    }
}

#[async_trait]
impl Units for SystemdUnits {
    async fn state(&self) -> Result<UnitState, String> {
        let shown = self
            .systemctl(&["show", "--property=LoadState,ActiveState,Job"])
            .await?;
        let state = parse(&shown)?;
        if state == UnitState::Running {
            // It was read when the server was started.
            forget(&self.environment)?;
        }
        Ok(state)
    }

    async fn start(&self, new_cluster: bool, _: Option<Position>) -> Result<(), String> {
        forget(&self.environment)?;
        if new_cluster {
            let write = || {
                if let Some(folder) = self.environment.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                std::fs::write(
                    &self.environment,
                    "_WSREP_NEW_CLUSTER=--wsrep-new-cluster\n",
                )
            };
            write().map_err(|e| format!("`{}`: {e}", self.environment.display()))?;
        }
        // A unit that failed too often would not be started; how often is the guard's to say.
        let _ = self.systemctl(&["reset-failed"]).await;
        self.systemctl(&["start", "--no-block"]).await.map(drop)
    }

    async fn stop(&self) -> Result<(), String> {
        self.systemctl(&["stop", "--no-block"]).await.map(drop)
    }

    async fn last_lines(&self) -> String {
        let command = ["journalctl", "-n", "30", "-o", "cat", "--no-pager", "-u"]
            .map(str::to_owned)
            .into_iter()
            .chain([self.unit.clone()])
            .collect::<Vec<_>>();
        match run(&command, LIMIT).await {
            Ok(lines) => reason(&lines),
            Err(error) => error,
        }
    }
}

fn forget(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove `{}`: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// `systemctl show`: `Key=value` lines; `Job` is missing or 0 without one.
fn parse(shown: &str) -> Result<UnitState, String> {
    let get = |key: &str| {
        shown
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    match get("LoadState") {
        Some("loaded") => {}
        Some(other) => return Err(format!("systemd knows no such unit: LoadState={other}")),
        None => return Err("`systemctl show` said nothing".to_owned()),
    }
    if get("Job").is_some_and(|job| !job.is_empty() && job != "0") {
        return Ok(UnitState::Changing);
    }
    match get("ActiveState") {
        Some("active" | "reloading") => Ok(UnitState::Running),
        Some("inactive" | "failed") => Ok(UnitState::Stopped),
        Some("activating" | "deactivating" | "maintenance" | "refreshing") => {
            Ok(UnitState::Changing)
        }
        other => Err(format!("ActiveState={}", other.unwrap_or("?"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemctl_shows() {
        let stopped = "LoadState=loaded\nActiveState=failed\n";
        assert_eq!(parse(stopped), Ok(UnitState::Stopped));
        // Queued, and not begun.
        assert_eq!(
            parse(&format!("{stopped}Job=812\n")),
            Ok(UnitState::Changing)
        );
        assert_eq!(
            parse("LoadState=loaded\nActiveState=active\nJob=0\n"),
            Ok(UnitState::Running)
        );
        assert!(parse("LoadState=not-found\nActiveState=inactive\n").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn tells_the_errors_rather_than_what_came_after() {
        let lines = "a [Note] x\nb [ERROR] WSREP: states diverged\nc [Note] done\n";
        assert_eq!(reason(lines), "b [ERROR] WSREP: states diverged");
        assert_eq!(reason("x\ny\n"), "x | y");
    }
}
