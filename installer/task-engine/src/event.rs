//! What a run tells while it goes on, and what it leaves behind: for progress lines, JSON output and the exit status.
use std::collections::BTreeMap;

use agent_protocol::task::Diff;
use serde::{Deserialize, Serialize};

/// How one task on one node came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// It was already as wanted.
    Ok,
    /// It was changed, or would be in check mode.
    Changed,
    Skipped,
    Failed,
    /// It failed, and `ignore_errors` says to go on.
    Ignored,
    /// Check mode only: what happens is known only after that task has run.
    Unknown {
        until: String,
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        run: String,
        check: bool,
        nodes: Vec<String>,
        roles: usize,
    },
    NodeConnected {
        node: String,
    },
    /// The connection is lost or not there yet; it is tried again.
    NodeWaiting {
        node: String,
        reason: String,
    },
    RoleStarted {
        node: String,
        role: String,
    },
    RoleDone {
        node: String,
        role: String,
    },
    TaskStarted {
        node: String,
        role: String,
        task: String,
        handler: bool,
    },
    /// A piece of a long task's output.
    Output {
        node: String,
        task: String,
        text: String,
    },
    TaskDone(TaskDone),
    NodeFailed {
        node: String,
        role: String,
        task: String,
        msg: String,
    },
    /// Roles that were not begun because of a failure elsewhere; told once for each cause and node.
    NotRun {
        node: String,
        roles: Vec<String>,
        because: String,
    },
    RunDone(RunReport),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskDone {
    pub node: String,
    pub role: String,
    pub task: String,
    /// For loops: which item.
    pub item: Option<String>,
    #[serde(flatten)]
    pub status: Status,
    /// True for handlers.
    pub handler: bool,
    /// It was done by an earlier part of this run, which was interrupted.
    pub resumed: bool,
    pub msg: String,
    pub diff: Vec<Diff>,
    pub seconds: f64,
    /// Where the task is written: `roles/x/tasks/main.yml:3:3`.
    pub place: String,
}

/// Counts of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recap {
    pub ok: usize,
    pub changed: usize,
    pub skipped: usize,
    pub failed: usize,
    pub ignored: usize,
    pub rescued: usize,
    pub unknown: usize,
    pub unreachable: bool,
    /// Roles that were not run.
    pub not_run: usize,
}

/// The run as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunReport {
    pub run: String,
    pub nodes: BTreeMap<String, Recap>,
    /// The causes, one a failed node; consequences are not repeated.
    pub failures: Vec<Failure>,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub node: String,
    pub role: String,
    pub task: String,
    pub msg: String,
    /// The role's budget bears it: the node is lost, the run is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tolerated: bool,
}

impl RunReport {
    pub fn is_success(&self) -> bool {
        self.failures.iter().all(|failure| failure.tolerated)
    }

    pub fn changed(&self) -> usize {
        self.nodes.values().map(|recap| recap.changed).sum()
    }
}
