//! The plan file: what a run would do, saved, to be carried out as it stands or not at all.
//!
//! ```text
//! check run ─► events ─► Foresight ─► PlanFile ─► JSON, text
//! apply run ─► events ─► Comparison with the PlanFile ─► what came out as planned, and what did not
//! ```
//!
//! Pure: it knows no nodes, no files and no clock. Who makes a plan says what world it was made in, and who carries it
//! out says what the world is now.
use std::collections::BTreeMap;
use std::path::PathBuf;

use agent_protocol::task::Diff;
use diagnostics::{Diagnostic, Diagnostics};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Failure, Status, TaskDone};

mod comparison;
mod text;

pub use comparison::{Came, Comparison, Difference, Resolved};
pub use text::{by_node, diff_lines};

/// The first field of every plan file.
pub const FORMAT: &str = "wright-plan/1";

/// A plan as it is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    pub format: String,
    pub env: String,
    /// RFC 3339.
    pub made_at: String,
    #[serde(flatten)]
    pub world: World,
    #[serde(flatten)]
    pub selection: Selection,
    /// Nodes that were not asked and whose facts come from an earlier run, with the time (RFC 3339).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub old_facts: BTreeMap<String, String>,
    /// By node, then in the order in which a run would come to them.
    pub entries: Vec<Entry>,
    /// Why the plan is not whole; such a plan cannot be carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Failure>,
}

/// What a plan was made from. A plan is worth nothing once any of this is another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    pub inventory_sha256: String,
    /// Of the playbook and everything beside its roles.
    pub roles_sha256: String,
    pub state_generation: i64,
}

/// Which part of the playbook is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    pub playbook: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at_task: Option<String>,
}

impl Selection {
    /// The whole playbook, on all nodes.
    pub fn is_everything(&self) -> bool {
        self.limit.is_none()
            && self.tags.is_empty()
            && self.skip_tags.is_empty()
            && self.start_at_task.is_none()
    }
}

/// One task on one node; of a loop, one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub node: String,
    pub role: String,
    pub task: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handler: bool,
    /// `roles/x/tasks/main.yml:3:3`.
    pub place: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Diff>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict")]
pub enum Verdict {
    #[serde(rename = "change")]
    Change,
    #[serde(rename = "no change")]
    NoChange,
    #[serde(rename = "unknown")]
    Unknown { until: String, reason: String },
}

/// How many entries are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub change: usize,
    pub no_change: usize,
    pub unknown: usize,
}

/// Gathers a plan's entries from what a check run tells.
#[derive(Debug, Default)]
pub struct Foresight {
    entries: BTreeMap<String, Vec<Entry>>,
    faults: Vec<Failure>,
}

impl Foresight {
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::TaskDone(done) => {
                if let Some(entry) = entry(done) {
                    self.entries
                        .entry(done.node.clone())
                        .or_default()
                        .push(entry);
                }
            }
            Event::NodeFailed {
                node,
                role,
                task,
                msg,
            } => self.faults.push(Failure {
                node: node.clone(),
                role: role.clone(),
                task: task.clone(),
                msg: msg.clone(),
                tolerated: false,
            }),
            _ => {}
        }
    }

    /// Entries by node, and what kept the plan from being whole.
    pub fn finish(mut self) -> (Vec<Entry>, Vec<Failure>) {
        self.faults
            .sort_by(|a, b| (&a.node, &a.task).cmp(&(&b.node, &b.task)));
        (self.entries.into_values().flatten().collect(), self.faults)
    }
}

/// What the plan says of a task that was checked; nothing of one that failed, which is a fault of the plan.
fn entry(done: &TaskDone) -> Option<Entry> {
    let (verdict, diff) = match &done.status {
        Status::Changed => (Verdict::Change, done.diff.clone()),
        Status::Unknown { until, reason } => {
            let (until, reason) = (until.clone(), reason.clone());
            (Verdict::Unknown { until, reason }, Vec::new())
        }
        Status::Ok | Status::Skipped | Status::Ignored => (Verdict::NoChange, Vec::new()),
        Status::Failed => return None,
    };
    Some(Entry {
        node: done.node.clone(),
        role: done.role.clone(),
        task: done.task.clone(),
        item: done.item.clone(),
        handler: done.handler,
        place: done.place.clone(),
        verdict,
        diff,
    })
}

impl PlanFile {
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.entries {
            match entry.verdict {
                Verdict::Change => counts.change += 1,
                Verdict::NoChange => counts.no_change += 1,
                Verdict::Unknown { .. } => counts.unknown += 1,
            }
        }
        counts
    }

    /// Reads a saved plan; `name` is what messages call the file.
    ///
    /// # Errors
    /// When it is no plan, or one of another version.
    pub fn parse(name: &str, text: &str) -> Result<Self, Diagnostics> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let no_plan = |reason: String| {
            Diagnostic::error(format!("`{name}` is no plan: {reason}")).expected(format!(
                "a file that `wright plan -o FILE` wrote ({FORMAT})"
            ))
        };
        let head: Head = serde_json::from_str(text).map_err(|error| no_plan(error.to_string()))?;
        if head.format != FORMAT {
            return Err(no_plan(format!("its format is `{}`", head.format)).into());
        }
        Ok(serde_json::from_str(text).map_err(|error| no_plan(error.to_string()))?)
    }

    /// Every reason why the plan cannot be carried out in the world as it is now.
    pub fn stale(&self, env: &str, now: &World) -> Diagnostics {
        let mut out = Diagnostics::new();
        let mut fault = |text: String| {
            out.push(Diagnostic::error(text).hint("make a new plan: `wright plan -o FILE`"));
        };
        if self.env != env {
            fault(format!(
                "the plan is for environment `{}`, not for `{env}`",
                self.env
            ));
        }
        let then = &self.world;
        if then.inventory_sha256 != now.inventory_sha256 {
            fault("the inventory has changed since the plan was made".to_owned());
        }
        if then.roles_sha256 != now.roles_sha256 {
            fault("the playbook or its roles have changed since the plan was made".to_owned());
        }
        if then.state_generation != now.state_generation {
            fault(format!(
                "nodes were worked on since the plan was made (generation {}, now {})",
                then.state_generation, now.state_generation
            ));
        }
        if !self.faults.is_empty() {
            fault(format!(
                "the plan is not whole: {} failed while it was made",
                counted(self.faults.len(), "task")
            ));
        }
        out
    }
}

pub(crate) fn counted(count: usize, word: &str) -> String {
    match (count, word) {
        (1, word) => format!("1 {word}"),
        (count, word) => format!("{count} {word}s"),
    }
}

#[cfg(test)]
mod tests;
