//! The server as a process that the guard starts itself: what tests use, and a trial on a machine without systemd.
//! It outlives the guard, and the next guard finds it by its recorded pid and start time.

use super::{UnitState, Units, reason};
use crate::config::ProcessConfig;
use crate::core::data::Position;
use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::process::Stdio;
use tokio::process::Command;

/// Of the server's output that is looked through for a reason.
const TAIL: u64 = 16 * 1024;

/// A server without systemd.
pub struct ProcessUnits {
    config: ProcessConfig,
}

impl ProcessUnits {
    /// As `[process]` says.
    pub fn new(config: ProcessConfig) -> Self {
        Self { config }
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(&self.config.pid_file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        (started_at(pid).as_deref() == Some(started)).then(|| Pid::from_raw(pid))
    }

    fn launch(&self, new_cluster: bool, position: Option<Position>) -> std::io::Result<()> {
        let Some((program, arguments)) = self.config.command.split_first() else {
            return Ok(());
        };
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.config.output)?;
        let mut command = Command::new(program);
        command.args(arguments);
        if new_cluster {
            command.arg("--wsrep-new-cluster");
        }
        if let Some(position) = position {
            command.arg(format!("--wsrep-start-position={position}"));
        }
        // A group of its own: what ends the guard does not end it.
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Some(started) = started_at(pid)
        {
            std::fs::write(&self.config.pid_file, format!("{pid} {started}\n"))?;
        }
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }
}

/// When a process began, in ticks since the machine did; `None` when there is none or only its corpse.
fn started_at(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; after it come the state (field 3) and field 22.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_owned))?
}

#[async_trait]
impl Units for ProcessUnits {
    async fn state(&self) -> Result<UnitState, String> {
        // Whether it has come up is told by its socket.
        Ok(match self.pid() {
            Some(_) => UnitState::Changing,
            None => UnitState::Stopped,
        })
    }

    async fn start(&self, new_cluster: bool, position: Option<Position>) -> Result<(), String> {
        self.launch(new_cluster, position)
            .map_err(|error| format!("cannot start the server: {error}"))
    }

    async fn stop(&self) -> Result<(), String> {
        match self.pid() {
            None => Ok(()),
            Some(pid) => kill(pid, Signal::SIGTERM).map_err(|error| format!("kill {pid}: {error}")),
        }
    }

    async fn last_lines(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.config.output)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut tail = Vec::new();
            file.take(TAIL).read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => reason(&String::from_utf8_lossy(&tail)),
            Err(error) => format!("`{}`: {error}", self.config.output.display()),
        }
    }
}
