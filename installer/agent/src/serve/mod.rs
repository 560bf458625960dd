//! The agent on an installed node: a daemon that runs tasks, and `attach`, which joins SSH to it.
//!
//! ```text
//! controller ── SSH ── attach ── socket ── connection ──► worker ── registry ── journal
//!                                   (frames)      queue     runs one task after another
//! ```
//! A connection that drops loses only its queue: the running task goes on, its result is kept, and the
//! controller sends what it has no result for again.
pub mod attach;
pub mod child;
mod connection;
pub mod daemon;
pub mod journal;
mod registry;
mod runner;

use std::path::{Path, PathBuf};

/// Where the daemon's files lie.
#[derive(Debug, Clone)]
pub struct Paths {
    pub socket: PathBuf,
    pub journal: PathBuf,
    /// Given to a daemon that `attach` starts; `None` on a node.
    root: Option<PathBuf>,
}

impl Default for Paths {
    fn default() -> Self {
        Paths {
            socket: "/run/wright/agent.sock".into(),
            journal: "/var/lib/wright-agent/journal".into(),
            root: None,
        }
    }
}

impl Paths {
    /// Everything below one folder, for tests and for trying things out.
    pub fn below(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        Paths {
            socket: folder.join("agent.sock"),
            journal: folder.join("journal"),
            root: Some(folder.to_owned()),
        }
    }
}
