//! Processes that outlive the command that started them: recorded by pid and start time, so that a number that
//! the kernel gave to somebody else is never taken for ours.
use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::error::{At, LabError};

/// How long a process may take to end by itself before it is killed.
const TERM_SECONDS: u64 = 10;
/// How long the kernel may take to be rid of a killed one.
const KILL_SECONDS: u64 = 30;
const POLL: Duration = Duration::from_millis(20);

/// A process and when it started, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub pid: i32,
    pub start: u64,
}

impl Record {
    /// The record of a process that runs now; `None` if it does not.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (!stat.is_dead).then_some(Self {
            pid,
            start: stat.start,
        })
    }

    /// The record in `file`, if there is one and its process runs.
    pub fn running(file: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        (Self::of(record.pid)? == record).then_some(record)
    }

    pub fn save(&self, file: &Path) -> Result<(), LabError> {
        let text = serde_json::to_vec(self)
            .map_err(io::Error::from)
            .at("write", file)?;
        fs::write(file, text).at("write", file)
    }

    fn runs(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Seconds of CPU that it has used.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let stat = Stat::read(self.pid).filter(|stat| stat.start == self.start)?;
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .unwrap_or(100);
        #[allow(clippy::cast_precision_loss)]
        Some(stat.cpu_ticks as f64 / ticks as f64)
    }

    /// Ends the process and waits until it is gone.
    ///
    /// # Errors
    /// When it stays although it was killed.
    pub fn end(&self, what: &str) -> Result<(), LabError> {
        for (signal, seconds) in [
            (Signal::SIGTERM, TERM_SECONDS),
            (Signal::SIGKILL, KILL_SECONDS),
        ] {
            if !self.runs() {
                return Ok(());
            }
            // It may end by itself in this very moment; then there is nothing to signal.
            let _ = kill(Pid::from_raw(self.pid), signal);
            let begun = Instant::now();
            while self.runs() && begun.elapsed() < Duration::from_secs(seconds) {
                thread::sleep(POLL);
            }
        }
        match self.runs() {
            true => Err(LabError::Unkillable {
                what: what.into(),
                pid: self.pid,
            }),
            false => Ok(()),
        }
    }
}

/// What /proc/PID/stat tells, proc(5).
struct Stat {
    is_dead: bool,
    cpu_ticks: u64,
    start: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field, the program's name, may hold blanks and parentheses: counting begins behind it.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // proc(5) counts from 1 and this list begins with field 3.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            is_dead: matches!(*fields.first()?, "Z" | "X"),
            cpu_ticks: number(14)? + number(15)?,
            start: number(22)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 4242 1 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            (stat.is_dead, stat.cpu_ticks, stat.start),
            (false, 300, 4242)
        );
    }

    #[test]
    fn a_process_is_ended_and_its_number_is_not_taken_for_it() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let record = Record::of(i32::try_from(child.id()).unwrap()).unwrap();
        let other = Record {
            start: record.start + 1,
            ..record
        };
        other.end("another process").unwrap();
        assert!(record.runs(), "a process with another start time was ended");
        record.end("sleep").unwrap();
        assert!(!record.runs());
        child.wait().unwrap();
    }
}
