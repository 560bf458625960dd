//! How the local server is started and stopped, and its data are looked at while it is stopped. Two ways: systemd, on
//! every real node, and a process of the guard's own, for tests and machines without systemd. Knows no decision.

mod process;
mod systemd;

pub use process::ProcessUnits;
pub use systemd::SystemdUnits;

use crate::core::data::Position;
use async_trait::async_trait;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Most that is kept of a program's output.
const MOST_OUTPUT: u64 = 1 << 20;

/// What the service manager says of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    /// No process of it.
    Stopped,
    /// Between stopped and running.
    Changing,
    /// Runs.
    Running,
}

/// The service manager, as far as the guard needs one. Nothing here waits for the server.
#[async_trait]
pub trait Units: Send + Sync {
    /// The server's state.
    async fn state(&self) -> Result<UnitState, String>;
    /// Lets the server start; as the first of a cluster with `new_cluster`.
    async fn start(&self, new_cluster: bool, position: Option<Position>) -> Result<(), String>;
    /// Lets the server stop.
    async fn stop(&self) -> Result<(), String>;
    /// The server's last lines of log.
    async fn last_lines(&self) -> String;
}

/// Runs a program to its end within a time; kills it if it takes longer. Gives its outputs, one after the other.
pub(crate) async fn run(command: &[String], limit: Duration) -> Result<String, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no program is named".to_owned());
    };
    let mut child = Command::new(program)
        .args(arguments)
        // A server that is asked for its position would tell the service manager that it is this guard.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}`: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err, status) = tokio::join!(drain(stdout), drain(stderr), child.wait());
        (out + &err, status)
    };
    match tokio::time::timeout(limit, work).await {
        Err(_) => Err(format!(
            "`{program}` took longer than {} s",
            limit.as_secs()
        )),
        Ok((_, Err(error))) => Err(format!("`{program}`: {error}")),
        Ok((output, Ok(status))) if status.success() => Ok(output),
        Ok((output, Ok(status))) => Err(format!("`{program}`: {status}: {}", reason(&output))),
    }
}

/// Reads to the end, keeps the beginning.
async fn drain(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut kept = Vec::new();
    // A pipe that breaks has told what it had.
    let _ = (&mut pipe).take(MOST_OUTPUT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// The lines that say what went wrong, or else the last ones.
fn reason(lines: &str) -> String {
    let errors: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("[ERROR]") || line.contains("signal"))
        .collect();
    if errors.is_empty() {
        last(lines, 5)
    } else {
        last(&errors.join("\n"), 5)
    }
}

/// The last lines of a text, as one.
pub(crate) fn last(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}
