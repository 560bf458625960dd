//! Failure budgets: how many nodes may fail before the others stop, too.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::hosts::HostSpec;
use crate::parse::{Play, Role};

/// A role's budget for one group of nodes, or a play's for its batch.
#[derive(Debug)]
pub struct Budget {
    /// What messages call the nodes it counts: `compute nodes in hypervisor`.
    what: String,
    of: usize,
    allowed: usize,
    /// A failure within the budget is no failure of the run.
    tolerates: bool,
    failed: Mutex<BTreeSet<String>>,
}

impl Budget {
    fn new(what: String, of: usize, allowed: usize, tolerates: bool) -> Arc<Self> {
        Arc::new(Budget {
            what,
            of,
            allowed,
            tolerates,
            failed: Mutex::default(),
        })
    }

    /// Notes that a node has failed.
    pub fn fail(&self, node: &str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.insert(node.to_owned());
    }

    /// Why nobody is to go on, once more nodes have failed than may.
    pub fn spent(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        (failed.len() > self.allowed).then(|| {
            format!(
                "{} of {} {} failed, and {} may",
                failed.len(),
                self.of,
                self.what,
                self.allowed
            )
        })
    }

    /// Whether a failure that it counts is one that the run can bear.
    pub fn tolerates(&self) -> bool {
        self.tolerates && self.spent().is_none()
    }
}

/// Budgets that vertices share, by what they count.
#[derive(Default)]
pub(super) struct Budgets {
    roles: BTreeMap<(usize, usize, String), Arc<Budget>>,
    batches: BTreeMap<(usize, Option<String>), Arc<Budget>>,
}

impl Budgets {
    /// Those of a play's batch.
    pub fn of_play(&mut self, number: usize, play: &Play, batch: &[String]) -> Vec<Arc<Budget>> {
        let allowed = match (play.max_fail_percentage, play.any_errors_fatal) {
            (_, true) => 0,
            (Some(percent), false) => share(batch.len(), percent),
            (None, false) => return Vec::new(),
        };
        let key = (number, batch.first().cloned());
        let made = || {
            let what = format!("nodes in {}", play.name);
            Budget::new(what, batch.len(), allowed, false)
        };
        vec![self.batches.entry(key).or_insert_with(made).clone()]
    }

    /// Those of a role that count this node.
    pub fn of_role(
        &mut self,
        play: usize,
        place: usize,
        role: &Role,
        host: &HostSpec,
        nodes: &[&HostSpec],
    ) -> Vec<Arc<Budget>> {
        let mut out = Vec::new();
        for (group, allowance) in &role.graph.budget {
            if !is_member(host, group) {
                continue;
            }
            let made = || {
                let of = members(group, nodes).len();
                let what = format!("{group} nodes in {}", role.name);
                Budget::new(what, of, allowance.of(of), true)
            };
            let key = (play, place, group.clone());
            out.push(self.roles.entry(key).or_insert_with(made).clone());
        }
        out
    }
}

fn is_member(host: &HostSpec, group: &str) -> bool {
    group == "all" || host.groups.iter().any(|name| name == group)
}

/// The nodes of a group.
pub(super) fn members<'a>(group: &str, nodes: &[&'a HostSpec]) -> Vec<&'a str> {
    nodes
        .iter()
        .filter(|host| is_member(host, group))
        .map(|host| host.name.as_str())
        .collect()
}

/// This many per cent of a number, rounded down.
pub(super) fn share(of: usize, percent: u8) -> usize {
    of * usize::from(percent) / 100
}
