//! What a module is given to work with, and how it fails.
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_protocol::task::{Diff, TaskResult};
use serde_json::{Map, Value};

use crate::attributes::account_of;

/// A diff of longer texts is no help to a reader and a burden to the wire.
const DIFF_BYTES_MAX: usize = 256 << 10;

/// One task's surroundings.
pub struct Context<'a> {
    /// `/` on a node; all paths of arguments are below it.
    pub root: PathBuf,
    /// Say what would change and change nothing.
    pub check: bool,
    /// Give before and after texts.
    pub diff: bool,
    /// Added to the environment of every program that is run.
    pub environment: Vec<(String, String)>,
    /// When the task's time is over.
    pub deadline: Instant,
    /// Set from outside to stop the task.
    pub cancel: &'a AtomicBool,
    /// Receives output of long commands as it comes.
    pub output: &'a mut dyn FnMut(&str),
}

impl Context<'_> {
    /// A path of an argument as this process has to open it; `~` and `~name` are home folders.
    pub fn path(&self, path: &str) -> PathBuf {
        let path = &*self.expand(path);
        if self.root == Path::new("/") {
            PathBuf::from(path)
        } else {
            self.root.join(path.trim_start_matches('/'))
        }
    }

    /// The path without `~`: the home folder of the task's user, or of the account that is named.
    pub fn expand<'p>(&self, path: &'p str) -> Cow<'p, str> {
        let Some(rest) = path.strip_prefix('~') else {
            return path.into();
        };
        let (name, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let home = if name.is_empty() {
            let own = self.environment.iter().rev().find(|(key, _)| key == "HOME");
            own.map(|(_, home)| home.clone())
                .or_else(|| std::env::var("HOME").ok())
                .or_else(|| Some("/root".to_owned()))
        } else {
            let table = std::fs::read_to_string(self.root.join("etc/passwd")).unwrap_or_default();
            account_of(&table, name).map(|account| account.home)
        };
        match home {
            Some(home) => format!("{}{below}", home.trim_end_matches('/')).into(),
            None => path.into(),
        }
    }

    /// Whether modules work on the running system, rather than on a folder.
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// An error when the task was cancelled or its time is over.
    pub fn go_on(&self) -> Result<(), Fault> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(Fault::Cancelled)
        } else if Instant::now() >= self.deadline {
            Err(Fault::TimedOut)
        } else {
            Ok(())
        }
    }

    /// Sleeps in pieces short enough to notice a cancel.
    pub fn sleep(&self, duration: Duration) -> Result<(), Fault> {
        let end = Instant::now() + duration;
        loop {
            self.go_on()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// The diff entry of a change, when diffs are wanted.
    pub fn diff_of(&self, header: &str, before: &str, after: &str) -> Vec<Diff> {
        if !self.diff || before == after {
            return Vec::new();
        }
        let short = |text: &str| {
            if text.len() > DIFF_BYTES_MAX {
                format!("({} bytes)", text.len())
            } else {
                text.to_owned()
            }
        };
        vec![Diff {
            header: header.to_owned(),
            before: short(before),
            after: short(after),
        }]
    }
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Message(String),
    /// A message together with the module's own fields (`rc`, `stdout`, ...).
    #[error("{msg}")]
    WithData {
        msg: String,
        data: Map<String, Value>,
    },
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("the task was cancelled")]
    Cancelled,
    #[error("the task took longer than its timeout")]
    TimedOut,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Fault::Message(message.into())
    }

    /// For `map_err`: says what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Fault {
        let what = what.into();
        move |source| Fault::Io { what, source }
    }

    pub fn into_result(self) -> TaskResult {
        let msg = self.to_string();
        let data = match self {
            Fault::WithData { data, .. } => data,
            _ => Map::new(),
        };
        TaskResult {
            failed: true,
            msg,
            data,
            ..TaskResult::default()
        }
    }
}

/// A result that only says whether something changed.
pub fn changed(changed: bool) -> TaskResult {
    TaskResult {
        changed,
        ..TaskResult::default()
    }
}

/// Adds a field to a result.
pub trait With {
    fn with(self, key: &str, value: impl Into<Value>) -> Self;
}

impl With for TaskResult {
    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;

    #[test]
    fn home_folders_are_found() {
        let bench = Bench::new();
        bench.write("/etc/passwd", "nova:x:900:900::/var/lib/nova:/bin/sh\n");
        bench.context(|context| {
            context.environment.push(("HOME".into(), "/home/me".into()));
            for (path, full) in [
                ("~/x", "/home/me/x"),
                ("~", "/home/me"),
                ("~nova/.ssh", "/var/lib/nova/.ssh"),
                ("~nobody/x", "~nobody/x"),
                ("/a/~", "/a/~"),
            ] {
                assert_eq!(context.expand(path), full);
            }
        });
    }
}
