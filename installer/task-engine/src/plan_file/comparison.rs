//! What became of a plan when it was carried out.
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::{Entry, PlanFile, Verdict, counted};
use crate::event::{Event, Status, TaskDone};

/// How an entry came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    Changed,
    /// It was as wanted, or its condition did not hold.
    Unchanged,
    Failed,
    /// A failure before it, or a condition, kept the run from coming to it.
    NotRun,
}

/// A task of which the plan could not say what it does, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    pub node: String,
    pub role: String,
    pub task: String,
    pub item: Option<String>,
    pub came: Came,
}

/// A task that did something else than the plan says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub node: String,
    pub role: String,
    pub task: String,
    pub item: Option<String>,
    /// `None`: the plan does not have it.
    pub planned: Option<&'static str>,
    pub came: Came,
}

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Entries that came out as the plan says.
    pub as_planned: usize,
    /// The entries that were unknown, by node.
    pub unknown: Vec<Resolved>,
    pub different: Vec<Difference>,
}

/// Where a task stands, whatever its title or its label were rendered to.
type Place = (String, String, bool);

/// Entries of one place on one node that nothing has been told of yet.
struct Open<'a> {
    entries: Vec<Option<&'a Entry>>,
}

impl Comparison {
    /// Compares a plan with what its run told. `events` are those of one run, in any order between nodes.
    pub fn of<'a>(plan: &PlanFile, events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut open: BTreeMap<Place, Open<'_>> = BTreeMap::new();
        for entry in &plan.entries {
            let place = (entry.node.clone(), entry.place.clone(), entry.handler);
            let of_place = open.entry(place).or_insert(Open {
                entries: Vec::new(),
            });
            of_place.entries.push(Some(entry));
        }
        let mut out = Comparison::default();
        // The last entry of a place that was unknown answers for rounds that the plan could not count.
        let mut last_unknown: HashMap<Place, &Entry> = HashMap::new();
        for event in events {
            let Event::TaskDone(done) = event else {
                continue;
            };
            let place = (done.node.clone(), done.place.clone(), done.handler);
            let entry = open.get_mut(&place).and_then(|open| open.take(done));
            if let Some(entry) = entry
                && matches!(entry.verdict, Verdict::Unknown { .. })
            {
                last_unknown.insert(place.clone(), entry);
            }
            let entry = entry.or_else(|| last_unknown.get(&place).copied());
            out.note(entry, done);
        }
        for entry in open.into_values().flat_map(|open| open.entries).flatten() {
            match entry.verdict {
                Verdict::Change => out.different.push(Difference {
                    node: entry.node.clone(),
                    role: entry.role.clone(),
                    task: entry.task.clone(),
                    item: entry.item.clone(),
                    planned: Some("change"),
                    came: Came::NotRun,
                }),
                Verdict::Unknown { .. } => out.unknown.push(Resolved {
                    node: entry.node.clone(),
                    role: entry.role.clone(),
                    task: entry.task.clone(),
                    item: entry.item.clone(),
                    came: Came::NotRun,
                }),
                // That nothing was to be done, and nothing was.
                Verdict::NoChange => out.as_planned += 1,
            }
        }
        out.unknown.sort_by(|a, b| a.node.cmp(&b.node));
        out.different.sort_by(|a, b| a.node.cmp(&b.node));
        out
    }

    fn note(&mut self, entry: Option<&Entry>, done: &TaskDone) {
        let came = match done.status {
            Status::Changed => Came::Changed,
            Status::Failed => Came::Failed,
            Status::Ok | Status::Skipped | Status::Ignored | Status::Unknown { .. } => {
                Came::Unchanged
            }
        };
        let planned = match entry.map(|entry| &entry.verdict) {
            Some(Verdict::Unknown { .. }) => {
                self.unknown.push(Resolved {
                    node: done.node.clone(),
                    role: done.role.clone(),
                    task: done.task.clone(),
                    item: done.item.clone(),
                    came,
                });
                return;
            }
            Some(Verdict::Change) => Some("change"),
            Some(Verdict::NoChange) => Some("no change"),
            None => None,
        };
        match (planned, came) {
            (Some("change"), Came::Changed) | (Some("no change") | None, Came::Unchanged) => {
                self.as_planned += 1;
            }
            _ => self.different.push(Difference {
                node: done.node.clone(),
                role: done.role.clone(),
                task: done.task.clone(),
                item: done.item.clone(),
                planned,
                came,
            }),
        }
    }

    pub fn is_as_planned(&self) -> bool {
        self.different.is_empty()
    }
}

impl<'a> Open<'a> {
    /// The entry of the same round, or the next one that is left.
    fn take(&mut self, done: &TaskDone) -> Option<&'a Entry> {
        let same = |entry: &Option<&Entry>| entry.is_some_and(|entry| entry.item == done.item);
        let at = self
            .entries
            .iter()
            .position(same)
            .or_else(|| self.entries.iter().position(Option::is_some))?;
        self.entries[at].take()
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let label = |item: &Option<String>| {
            item.as_ref()
                .map(|item| format!(" [{item}]"))
                .unwrap_or_default()
        };
        writeln!(f, "{} as planned", counted(self.as_planned, "task"))?;
        if !self.unknown.is_empty() {
            writeln!(f, "Unknown in the plan:")?;
        }
        for one in &self.unknown {
            let (node, role, task) = (&one.node, &one.role, &one.task);
            writeln!(
                f,
                "  {node}  {:9}  {role}: {task}{}",
                word(one.came),
                label(&one.item)
            )?;
        }
        if !self.different.is_empty() {
            writeln!(f, "Other than planned:")?;
        }
        for one in &self.different {
            let (node, role, task) = (&one.node, &one.role, &one.task);
            let planned = one.planned.unwrap_or("not in the plan");
            writeln!(
                f,
                "  {node}  {:9}  {role}: {task}{} (planned: {planned})",
                word(one.came),
                label(&one.item)
            )?;
        }
        Ok(())
    }
}

fn word(came: Came) -> &'static str {
    match came {
        Came::Changed => "changed",
        Came::Unchanged => "unchanged",
        Came::Failed => "FAILED",
        Came::NotRun => "not run",
    }
}
