//! From plays and nodes to the graph that is worked off. Pure: the same playbook and nodes give the same graph.
//!
//! A vertex is one role (or one list of tasks) on one node; its tasks run in the order in which they are written.
//! Edges:
//! - within a node: roles in the order of the plays;
//! - between nodes: only what `meta/graph.yml` of a role declares. A need becomes a gate, which opens when `any`, `all`
//!   or a share of the vertices that provide the capability are done.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use graph::{Graph, Need};

use crate::hosts::{HostSpec, select};
use crate::parse::{Item, Play, Playbook, RoleUse};

/// A vertex's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `node-1: database`
    Unit {
        node: String,
        play: usize,
        place: usize,
        label: String,
    },
    /// `any ovn-central`
    Gate { capability: String, policy: String },
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Unit { node, label, .. } => write!(f, "{node}: {label}"),
            Key::Gate { capability, policy } => write!(f, "({policy} {capability})"),
        }
    }
}

/// What a vertex stands for.
#[derive(Debug, Clone)]
pub enum Unit {
    Gate,
    Work(Arc<Work>),
}

#[derive(Debug, Clone)]
pub struct Work {
    pub node: String,
    pub label: String,
    pub play: Arc<Play>,
    pub play_number: usize,
    pub part: Part,
    /// The node's facts are read before the first task.
    pub gather_facts: bool,
}

#[derive(Debug, Clone)]
pub enum Part {
    PreTasks,
    Role(Arc<RoleUse>),
    Tasks,
    PostTasks,
}

impl Work {
    pub fn items(&self) -> &[Item] {
        match &self.part {
            Part::PreTasks => &self.play.pre_tasks,
            Part::Role(role) => &role.role.main,
            Part::Tasks => &self.play.tasks,
            Part::PostTasks => &self.play.post_tasks,
        }
    }

    /// Short and unique within the node: part of every task's id.
    pub fn id(&self) -> String {
        let part = match &self.part {
            Part::PreTasks => "pre".to_owned(),
            Part::Role(role) => role.role.name.clone(),
            Part::Tasks => "tasks".to_owned(),
            Part::PostTasks => "post".to_owned(),
        };
        format!("{}-{part}", self.play_number)
    }
}

/// Builds the graph for `chosen` nodes (all of `hosts` when `None`).
///
/// Errors: a need that nothing provides, or roles that need each other, with the path.
pub fn plan(
    playbook: &Playbook,
    hosts: &[HostSpec],
    chosen: Option<&[String]>,
) -> Result<Graph<Key, Unit>, Diagnostics> {
    let mut graph = Graph::new();
    let mut faults = Diagnostics::new();
    let mut providers: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    let mut needs: Vec<(Key, crate::parse::RoleNeed)> = Vec::new();
    let mut last: BTreeMap<String, Key> = BTreeMap::new();

    for (number, play) in playbook.plays.iter().enumerate() {
        let (nodes, _unmatched) = select(hosts, &play.hosts);
        for host in nodes
            .iter()
            .filter(|host| chosen.is_none_or(|chosen| chosen.contains(&host.name)))
        {
            let mut first = true;
            for (place, part) in parts(play).into_iter().enumerate() {
                let label = label(play, &part, place);
                let key = Key::Unit {
                    node: host.name.clone(),
                    play: number,
                    place,
                    label: label.clone(),
                };
                if let Part::Role(role) = &part {
                    for capability in &role.role.graph.provides {
                        providers
                            .entry(capability.clone())
                            .or_default()
                            .push(key.clone());
                    }
                    needs.extend(
                        role.role
                            .graph
                            .needs
                            .iter()
                            .map(|need| (key.clone(), need.clone())),
                    );
                }
                let work = Work {
                    node: host.name.clone(),
                    label,
                    play: play.clone(),
                    play_number: number,
                    part,
                    gather_facts: std::mem::take(&mut first) && play.gather_facts.unwrap_or(true),
                };
                let added = graph.add_node(key.clone(), Unit::Work(Arc::new(work)));
                note(&mut faults, added);
                if let Some(before) = last.insert(host.name.clone(), key.clone()) {
                    note(&mut faults, graph.add_edge(&before, &key));
                }
            }
        }
    }
    add_gates(&mut graph, &mut faults, &providers, needs, chosen.is_some());
    note(&mut faults, graph.check());
    faults.into_result(graph)
}

fn add_gates(
    graph: &mut Graph<Key, Unit>,
    faults: &mut Diagnostics,
    providers: &BTreeMap<String, Vec<Key>>,
    needs: Vec<(Key, crate::parse::RoleNeed)>,
    limited: bool,
) {
    let mut told: Vec<String> = Vec::new();
    for (key, need) in needs {
        let Some(from) = providers.get(&need.capability) else {
            // A run limited to some nodes trusts that the others provide what they did before.
            if !limited && !told.contains(&need.place.to_string()) {
                told.push(need.place.to_string());
                let message = format!(
                    "{}: no role of this playbook provides `{}`",
                    need.place, need.capability
                );
                let near = did_you_mean(&need.capability, providers.keys().map(String::as_str));
                let fault = Diagnostic::error(message);
                faults.push(match near {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault,
                });
            }
            continue;
        };
        let policy = match need.policy {
            Need::All => "all".to_owned(),
            Need::AtLeast(count) if count <= 1 => "any".to_owned(),
            Need::AtLeast(count) => count.to_string(),
            Need::Percent(share) => format!("{share}%"),
        };
        let gate = Key::Gate {
            capability: need.capability.clone(),
            policy,
        };
        if graph.state(&gate).is_none() {
            note(
                faults,
                graph.add_node_needing(gate.clone(), Unit::Gate, need.policy),
            );
            for provider in from {
                note(faults, graph.add_edge(provider, &gate));
            }
        }
        note(faults, graph.add_edge(&gate, &key));
    }
}

fn note(faults: &mut Diagnostics, result: Result<(), graph::GraphError>) {
    if let Err(error) = result {
        faults.push(Diagnostic::error(error.to_string()));
    }
}

fn parts(play: &Play) -> Vec<Part> {
    let mut out = Vec::new();
    if !play.pre_tasks.is_empty() {
        out.push(Part::PreTasks);
    }
    out.extend(play.roles.iter().cloned().map(Arc::new).map(Part::Role));
    if !play.tasks.is_empty() {
        out.push(Part::Tasks);
    }
    if !play.post_tasks.is_empty() {
        out.push(Part::PostTasks);
    }
    out
}

/// The role's name; where a play names a role twice, with its place in the play.
fn label(play: &Play, part: &Part, place: usize) -> String {
    match part {
        Part::PreTasks => format!("{} (before the roles)", play.name),
        Part::Tasks => play.name.clone(),
        Part::PostTasks => format!("{} (after the roles)", play.name),
        Part::Role(role) => {
            let same = play
                .roles
                .iter()
                .filter(|other| other.role.name == role.role.name)
                .count();
            if same > 1 {
                format!("{} ({})", role.role.name, place + 1)
            } else {
                role.role.name.clone()
            }
        }
    }
}
