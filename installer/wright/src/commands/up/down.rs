//! `wright down`: ends a running `wright up`, or what one that was killed has left.

use super::{LOCK, below, environment, state_error};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use state::{EnvironmentFolder, EnvironmentLock};
use std::time::Duration;

/// A stop lets requests and work finish, for at most a minute, and guests shut down, for at most another.
const PATIENCE: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(100);

/// `wright down`: ends a running `wright up` and waits until it has finished.
pub async fn run(settings: &Settings, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let (name, root) = environment(settings);
    let Some(folder) = EnvironmentFolder::existing(root, name) else {
        printer.say("nothing runs: this environment was never started");
        return Ok(ExitStatus::Done);
    };
    let holder = match EnvironmentLock::try_acquire(&folder, LOCK) {
        Ok(_lock) => {
            let stopped = below::stop_left_behind(&folder, printer).await?;
            printer.say(if stopped { "stopped" } else { "nothing runs" });
            return Ok(ExitStatus::Done);
        }
        Err(state::StateError::Locked { holder, .. }) => holder,
        Err(error) => return Err(state_error(error)),
    };
    // `up (pid 123, start time 456)`
    let number = |after: &str| -> Option<u64> {
        let rest = holder.split_once(after)?.1;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let unclear = || CommandError::failed(format!("cannot tell which process runs: `{holder}`"));
    let pid = number("pid ")
        .and_then(|pid| i32::try_from(pid).ok())
        .ok_or_else(unclear)?;
    // Pid and start time together name a process for good.
    if number("start time ") != u32::try_from(pid).ok().and_then(state::lock::start_time) {
        return Err(unclear());
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .map_err(|error| CommandError::failed(format!("cannot stop process {pid}: {error}")))?;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if EnvironmentLock::try_acquire(&folder, LOCK).is_ok() {
            printer.say("stopped");
            return Ok(ExitStatus::Done);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(CommandError::failed(format!("process {pid} does not end")))
}
