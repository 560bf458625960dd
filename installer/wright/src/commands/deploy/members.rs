//! Which nodes are the running cloud's, and what may become of them: a deployment changes that only when it was asked to, by
//! `wright node add`, `remove` and `replace`. Pure; what the state says comes in, refusals and rounds go out.
use crate::environment::Environment;
use crate::error::CommandError;
use diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use network_plan::NodePlan;
use state::NodeRecord;
use std::collections::{BTreeSet, HashMap};
use task_engine::plan_file::Selection;
use task_engine::{HostSpec, RunReport};

/// Fewer can lose none.
const CONTROLLERS_LEAST: usize = 3;
/// Tasks after which a node knows of the others and lets them in, and that disturb nothing.
const PEERS: &str = "peers";

/// What a deployment does to the cloud's membership.
#[derive(Debug, Default, Clone)]
pub struct Change {
    /// Come to it, or come back as another machine.
    pub joining: Vec<String>,
    /// Have left it, and may be in the inventory still.
    pub leaving: Vec<String>,
}

/// The cloud as inventory and state have it.
pub struct Cloud<'a> {
    environment: &'a Environment,
    records: HashMap<&'a str, &'a NodeRecord>,
}

impl<'a> Cloud<'a> {
    pub fn new(environment: &'a Environment, records: &'a [NodeRecord]) -> Self {
        let named = records.iter().map(|record| (record.name.as_str(), record));
        Self {
            environment,
            records: named.collect(),
        }
    }

    /// What the state knows of a node.
    pub fn record(&self, name: &str) -> Option<&'a NodeRecord> {
        self.records.get(name).copied()
    }

    pub fn has_joined(&self, name: &str) -> bool {
        self.record(name)
            .is_some_and(|record| record.joined_at.is_some())
    }

    /// The controllers of the running cloud that the inventory has, in its order.
    pub fn controllers(&self) -> Vec<&'a NodePlan> {
        let nodes = self.environment.plan.nodes.values();
        nodes
            .filter(|node| node.in_group("controller") && self.has_joined(&node.name))
            .collect()
    }

    /// The machine of a node is another one than the state knows: its old and its new boot card.
    fn other_machine(&self, node: &NodePlan) -> Option<(String, String)> {
        let was = self.record(&node.name)?.boot_mac.clone()?.to_lowercase();
        let is = node.boot_mac?.to_string().to_lowercase();
        (was != is).then_some((was, is))
    }

    fn find(&self, name: &str) -> Result<&'a NodePlan, CommandError> {
        let nodes = &self.environment.plan.nodes;
        nodes.get(name).ok_or_else(|| {
            let failed =
                CommandError::failed(format!("there is no node `{name}` in the inventory"));
            match did_you_mean(name, nodes.keys().map(String::as_str)) {
                Some(near) => failed.hint(format!("did you mean `{near}`?")),
                None => failed.hint("a node is removed first, and taken out of the inventory then"),
            }
        })
    }

    fn named(&self, names: &[String]) -> Result<Vec<&'a NodePlan>, CommandError> {
        let once: BTreeSet<&String> = names.iter().collect();
        once.into_iter().map(|name| self.find(name)).collect()
    }

    fn must_run(&self) -> Result<(), CommandError> {
        match self.controllers().is_empty() {
            true => Err(CommandError::failed("there is no cloud yet that runs")
                .hint("`wright deploy` makes it, of all nodes of the inventory")),
            false => Ok(()),
        }
    }

    /// Nodes that are to come to the running cloud.
    pub fn adding(&self, names: &[String]) -> Result<Vec<&'a NodePlan>, CommandError> {
        self.must_run()?;
        let nodes = self.named(names)?;
        for node in &nodes {
            if self.has_joined(&node.name) && self.other_machine(node).is_some() {
                return Err(CommandError::failed(format!(
                    "`{}` is one of the cloud's, and the inventory has another machine for it",
                    node.name
                ))
                .hint(format!("`wright node replace {}`", node.name)));
            }
        }
        let before = self.controllers().len();
        let new = nodes
            .iter()
            .filter(|node| node.in_group("controller") && !self.has_joined(&node.name));
        let after = before + new.count();
        if after > before {
            if before == 1 {
                return Err(CommandError::failed(
                    "the cloud has one controller: its database and its OVN are no clusters that others could join",
                )
                .hint("make an environment of three controllers, and move to it"));
            }
            refuse_even(after, "add one more with it, or one less")?;
        }
        Ok(nodes)
    }

    /// Nodes that are to leave it.
    pub fn removing(&self, names: &[String]) -> Result<Vec<&'a NodePlan>, CommandError> {
        let nodes = self.named(names)?;
        let gone = nodes
            .iter()
            .filter(|node| node.in_group("controller"))
            .count();
        if gone == 0 {
            return Ok(nodes);
        }
        let left = self.controllers();
        let left = left
            .iter()
            .filter(|node| !nodes.iter().any(|gone| gone.name == node.name))
            .count();
        if left < CONTROLLERS_LEAST {
            return Err(CommandError::failed(format!(
                "{left} controllers would be left, and a cloud of several keeps {CONTROLLERS_LEAST} or more: fewer can lose none"
            ))
            .hint("`wright node replace` gives a dead one's place to another machine; `wright node add` makes more first"));
        }
        refuse_even(left, "remove one more with it, or add one first")?;
        Ok(nodes)
    }

    /// Nodes whose places other machines take. `same_machine`: the machines stay and are installed anew.
    pub fn replacing(
        &self,
        names: &[String],
        same_machine: bool,
    ) -> Result<Vec<&'a NodePlan>, CommandError> {
        let nodes = self.named(names)?;
        let is_named = |node: &NodePlan| nodes.iter().any(|named| named.name == node.name);
        if nodes.iter().any(|node| node.in_group("controller")) {
            let all = self.environment.plan.nodes.values();
            if all.filter(|node| node.in_group("controller")).count() == 1 {
                return Err(CommandError::failed(
                    "it is the only controller: with its machine all that the cloud knows is gone",
                )
                .hint("docs/backup.md says how a cloud is brought back on a new machine"));
            }
            let left = self.controllers();
            let left = left.iter().filter(|node| !is_named(node)).count();
            // Of those that were forgotten already only the names are left.
            let named = nodes.iter().filter(|node| node.in_group("controller"));
            let all = left + named.count();
            if left * 2 <= all {
                return Err(CommandError::failed(format!(
                    "{left} of {all} controllers would be left, and that is no majority"
                ))
                .hint("replace one after the other"));
            }
        }
        self.must_run()?;
        for node in &nodes {
            if self.has_joined(&node.name) && self.other_machine(node).is_none() && !same_machine {
                let card = node.boot_mac.map(|mac| mac.to_string()).unwrap_or_default();
                return Err(CommandError::failed(format!(
                    "the inventory has the same machine for `{}` as before, with the boot card {card}",
                    node.name
                ))
                .hint(format!(
                    "write the new machine's addresses into its `macs`; or, with `--same-machine`, this one is installed anew. \
                     If it is the new one already and its replacement broke off, `wright node add {}` goes on",
                    node.name
                )));
            }
        }
        Ok(nodes)
    }
}

fn refuse_even(count: usize, hint: &str) -> Result<(), CommandError> {
    match count.is_multiple_of(2) {
        false => Ok(()),
        true => Err(CommandError::failed(format!(
            "{count} controllers would not bear more losses than {}: their number stays odd",
            count - 1
        ))
        .hint(hint)),
    }
}

/// Refuses what would change the cloud's membership without having been asked for it.
///
/// # Errors
/// Every node that is new, gone, or another machine, with its place in the inventory.
pub fn check(
    environment: &Environment,
    records: &[NodeRecord],
    change: &Change,
) -> Result<(), CommandError> {
    let cloud = Cloud::new(environment, records);
    let mut faults = Diagnostics::new();
    let runs = !cloud.controllers().is_empty();
    let is_asked = |name: &str| {
        let asked = change.joining.iter().chain(&change.leaving);
        asked.into_iter().any(|asked| asked == name)
    };
    for node in environment.plan.nodes.values() {
        let name = &node.name;
        let mut fault = |text: String, hint: String| {
            let fault = Diagnostic::error(text).hint(hint);
            faults.push(match environment.inventory.hosts.get(name) {
                Some(host) => fault.at(&host.span),
                None => fault,
            });
        };
        if is_asked(name) {
            continue;
        }
        if !cloud.has_joined(name) {
            if runs && node.in_group("controller") {
                fault(
                    format!("the controller `{name}` is new to a cloud that runs"),
                    format!("`wright node add {name}`"),
                );
            }
        } else if let Some((was, is)) = cloud.other_machine(node) {
            fault(
                format!("`{name}` is another machine: its boot card is {is} and was {was}"),
                format!("`wright node replace {name}`, or write the old address back"),
            );
        }
    }
    let gone = records
        .iter()
        .filter(|record| record.joined_at.is_some())
        .filter(|record| !environment.plan.nodes.contains_key(&record.name))
        .filter(|record| !is_asked(&record.name));
    for record in gone {
        let name = &record.name;
        let fault =
            format!("`{name}` is one of the running cloud's, and the inventory has it no more");
        faults.push(Diagnostic::error(fault).hint(format!(
            "write it back, then `wright node remove {name}`: that takes it out of everything first"
        )));
    }
    faults.into_result(()).map_err(CommandError::from)
}

/// Who has become one of the cloud's by a run of the roles: nobody unless all that was chosen came through, and in a new cloud
/// nobody before all controllers have.
pub fn deployed(hosts: &[HostSpec], selection: &Selection, report: &RunReport) -> Vec<String> {
    let is_part = !selection.tags.is_empty()
        || !selection.skip_tags.is_empty()
        || selection.start_at_task.is_some();
    if is_part || !report.failures.is_empty() {
        return Vec::new();
    }
    let chosen = match &selection.limit {
        None => hosts.iter().collect(),
        Some(limit) => task_engine::select(hosts, limit).0,
    };
    let members = hosts
        .first()
        .and_then(|host| host.shared.get("wright")?.get("members")?.as_array());
    let runs = members.is_some_and(|members| !members.is_empty());
    let is_chosen = |host: &HostSpec| chosen.iter().any(|chosen| chosen.name == host.name);
    let mut controllers = hosts
        .iter()
        .filter(|host| host.groups.iter().any(|group| group == "controller"));
    if !runs && !controllers.all(is_chosen) {
        return Vec::new();
    }
    chosen.iter().map(|host| host.name.clone()).collect()
}

/// What is run before all nodes are brought in line: so that those that come find the others' doors open, and that of the
/// controllers that stay never two begin anew at the same time.
pub fn rounds(
    whole: &Selection,
    joining: &[&NodePlan],
    staying: &[&NodePlan],
    is_known: bool,
) -> Vec<Selection> {
    let part = |limit: String, tags: &[&str]| Selection {
        limit: Some(limit),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..whole.clone()
    };
    let names: Vec<&str> = joining.iter().map(|node| node.name.as_str()).collect();
    let mut rounds = Vec::new();
    if !names.is_empty() {
        if !is_known {
            rounds.push(part(format!("all:!{}", names.join(":!")), &[PEERS]));
        }
        rounds.push(part(names.join(":"), &[]));
    }
    rounds.extend(staying.iter().map(|node| part(node.name.clone(), &[])));
    rounds
}

#[cfg(test)]
mod tests;
