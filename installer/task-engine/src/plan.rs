//! From plays and nodes to the graph that is worked off. Pure: the same playbook and nodes give the same graph.
//!
//! A vertex is one role (or one list of tasks) on one node; its tasks run in the order in which they are written.
//! Edges:
//! - within a node: roles in the order of the plays;
//! - between nodes: only what `meta/graph.yml` of a role declares. A need becomes a gate, which opens when `any`, `all`
//!   or a share of the vertices that provide the capability are done;
//! - between the batches of a play that says `serial`, and between plays where the whole run is [`Order::Linear`].
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use graph::{Graph, Need};

use crate::hosts::{HostSpec, select};
use crate::parse::{Action, Allowance, Item, Play, Playbook, RoleNeed, RoleUse};

mod budget;

pub use budget::Budget;

/// What nodes wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Only what is declared: no node waits for another without a cause.
    #[default]
    Declared,
    /// As Ansible's `linear` strategy: a play begins when the one before has ended everywhere, and a task when all
    /// nodes of the play have ended the one before it.
    Linear,
}

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
    /// The end of a play, or of one of its batches.
    End { play: usize, what: String },
    /// Plays from this one on are planned only now: a task before them makes groups or nodes.
    Expansion { play: usize, name: String },
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Unit { node, label, .. } => write!(f, "{node}: {label}"),
            Key::Gate { capability, policy } => write!(f, "({policy} {capability})"),
            Key::End { what, .. } => write!(f, "(end of {what})"),
            Key::Expansion { name, .. } => write!(f, "(groups and nodes for {name})"),
        }
    }
}

/// What a vertex stands for.
#[derive(Debug, Clone)]
pub enum Unit {
    Gate,
    Work(Arc<Work>),
    /// Plan on from this play.
    Expand(usize),
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
    /// How many nodes may fail in this: those of the role, and of the play's batch.
    pub budgets: Vec<Arc<Budget>>,
    /// The play's nodes of this batch, which go in step where the run is linear.
    pub batch: Arc<Vec<String>>,
    /// Nothing of this play comes after it on this node.
    pub is_last: bool,
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
    Planner::new(chosen, Order::Declared).whole(playbook, hosts)
}

/// Plans plays one after the other: all at once, or the later ones when earlier ones have made their nodes known.
pub(crate) struct Planner {
    chosen: Option<HashSet<String>>,
    order: Order,
    providers: BTreeMap<String, Vec<Key>>,
    needs: Vec<(Key, RoleNeed)>,
    /// The last vertex of each node so far.
    last: BTreeMap<String, Key>,
    /// The end of the play before, where plays wait for each other.
    before: Option<Key>,
    budgets: budget::Budgets,
    /// How many nodes of a group may be lost, by the most generous role, and who they are.
    losses: BTreeMap<String, (usize, BTreeSet<String>)>,
}

impl Planner {
    pub fn new(chosen: Option<&[String]>, order: Order) -> Self {
        Planner {
            chosen: chosen.map(|chosen| chosen.iter().cloned().collect()),
            order,
            providers: BTreeMap::new(),
            needs: Vec::new(),
            last: BTreeMap::new(),
            before: None,
            budgets: budget::Budgets::default(),
            losses: BTreeMap::new(),
        }
    }

    /// The graph of all plays, up to the first that cannot be planned yet.
    pub fn whole(
        &mut self,
        playbook: &Playbook,
        hosts: &[HostSpec],
    ) -> Result<Graph<Key, Unit>, Diagnostics> {
        let mut graph = Graph::new();
        self.extend(&mut graph, playbook, hosts, 0)?;
        Ok(graph)
    }

    /// Adds the plays from number `from` on.
    pub fn extend(
        &mut self,
        graph: &mut Graph<Key, Unit>,
        playbook: &Playbook,
        hosts: &[HostSpec],
        from: usize,
    ) -> Result<(), Diagnostics> {
        let mut faults = Diagnostics::new();
        // Plays that make groups or nodes: what comes after is planned when they have ended.
        let mut growing: Vec<Key> = Vec::new();
        for (number, play) in playbook.plays.iter().enumerate().skip(from) {
            if !growing.is_empty() {
                let name = play.name.clone();
                let key = Key::Expansion { play: number, name };
                let added =
                    graph.add_node_needing(key.clone(), Unit::Expand(number), Need::Settled(0));
                note(&mut faults, added);
                for before in &growing {
                    note(&mut faults, graph.add_edge(before, &key));
                }
                break;
            }
            let (nodes, _unmatched) = select(hosts, &play.hosts);
            let nodes: Vec<&HostSpec> = nodes
                .into_iter()
                .filter(|host| {
                    let chosen = self.chosen.as_ref();
                    chosen.is_none_or(|chosen| chosen.contains(&host.name))
                })
                .collect();
            let last = self.play(graph, &mut faults, number, play, &nodes);
            if grows(playbook, play) {
                growing = last;
            }
        }
        if self.order == Order::Declared {
            self.add_gates(graph, &mut faults);
        }
        note(&mut faults, graph.check());
        faults.into_result(())
    }

    /// One play on its nodes; the last vertex of each.
    fn play(
        &mut self,
        graph: &mut Graph<Key, Unit>,
        faults: &mut Diagnostics,
        number: usize,
        play: &Arc<Play>,
        nodes: &[&HostSpec],
    ) -> Vec<Key> {
        let mut all_last = Vec::new();
        let batches = batches(play, nodes);
        let many = batches.len() > 1;
        for (place, batch) in batches.iter().enumerate() {
            let names: Arc<Vec<String>> =
                Arc::new(batch.iter().map(|host| host.name.clone()).collect());
            let mut last = Vec::new();
            for host in *batch {
                last.extend(self.node(graph, faults, (number, play), host, nodes, &names));
            }
            let what = match many {
                true => format!("batch {} of {}", place + 1, play.name),
                false => play.name.clone(),
            };
            if many || self.order == Order::Linear {
                let key = Key::End { play: number, what };
                // As in Ansible: of a batch that was lost as a whole nothing follows. Plays only wait.
                let least = match many {
                    true => least_well(play, batch.len()),
                    false => 0,
                };
                note(
                    faults,
                    graph.add_node_needing(key.clone(), Unit::Gate, Need::Settled(least)),
                );
                for unit in &last {
                    note(faults, graph.add_edge(unit, &key));
                }
                self.before = Some(key);
            }
            all_last.extend(last);
        }
        if self.order == Order::Declared {
            self.before = None;
        }
        all_last
    }

    /// A play's parts on one node, one after the other; the last of them.
    fn node(
        &mut self,
        graph: &mut Graph<Key, Unit>,
        faults: &mut Diagnostics,
        (number, play): (usize, &Arc<Play>),
        host: &HostSpec,
        nodes: &[&HostSpec],
        batch: &Arc<Vec<String>>,
    ) -> Option<Key> {
        let mut first = true;
        let parts = parts(play);
        let count = parts.len();
        for (place, part) in parts.into_iter().enumerate() {
            let label = label(play, &part, place);
            let key = Key::Unit {
                node: host.name.clone(),
                play: number,
                place,
                label: label.clone(),
            };
            let mut budgets = self.budgets.of_play(number, play, batch);
            if let Part::Role(role) = &part {
                for capability in &role.role.graph.provides {
                    let providers = self.providers.entry(capability.clone()).or_default();
                    providers.push(key.clone());
                }
                let needs = role.role.graph.needs.iter();
                self.needs
                    .extend(needs.map(|need| (key.clone(), need.clone())));
                budgets.extend(self.budgets.of_role(number, place, &role.role, host, nodes));
                for (group, allowance) in &role.role.graph.budget {
                    let members = budget::members(group, nodes);
                    let allowed = allowance.of(members.len());
                    let losses = self.losses.entry(group.clone()).or_default();
                    losses.0 = losses.0.max(allowed);
                    losses.1.extend(members.into_iter().map(str::to_owned));
                }
            }
            let work = Work {
                node: host.name.clone(),
                label,
                play: play.clone(),
                play_number: number,
                part,
                gather_facts: std::mem::take(&mut first) && play.gather_facts.unwrap_or(true),
                budgets,
                batch: batch.clone(),
                is_last: place + 1 == count,
            };
            note(
                faults,
                graph.add_node(key.clone(), Unit::Work(Arc::new(work))),
            );
            if let Some(before) = self.last.insert(host.name.clone(), key.clone()) {
                note(faults, graph.add_edge(&before, &key));
            }
            if place == 0
                && let Some(before) = &self.before
            {
                note(faults, graph.add_edge(before, &key));
            }
        }
        match first {
            true => None,
            false => self.last.get(&host.name).cloned(),
        }
    }

    fn add_gates(&mut self, graph: &mut Graph<Key, Unit>, faults: &mut Diagnostics) {
        let mut told: Vec<String> = Vec::new();
        for (key, need) in std::mem::take(&mut self.needs) {
            let Some(from) = self.providers.get(&need.capability) else {
                // A run limited to some nodes trusts that the others provide what they did before.
                if self.chosen.is_none() && !told.contains(&need.place.to_string()) {
                    told.push(need.place.to_string());
                    let message = format!(
                        "{}: no role of this playbook provides `{}`",
                        need.place, need.capability
                    );
                    let near =
                        did_you_mean(&need.capability, self.providers.keys().map(String::as_str));
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
                Need::Settled(count) => format!("{count}, once all have ended,"),
            };
            let parts = match need.policy {
                Need::All => self.parts_of_all(from),
                policy => vec![(String::new(), policy, from.iter().collect())],
            };
            for (group, wanted, from) in parts {
                let gate = Key::Gate {
                    capability: need.capability.clone(),
                    policy: match group.is_empty() {
                        true => policy.clone(),
                        false => format!("{policy} {group}"),
                    },
                };
                if graph.state(&gate).is_none() {
                    let added = graph.add_node_needing(gate.clone(), Unit::Gate, wanted);
                    note(faults, added);
                    for provider in from {
                        note(faults, graph.add_edge(provider, &gate));
                    }
                }
                note(faults, graph.add_edge(&gate, &key));
            }
        }
    }

    /// `all` of these vertices, as budgets soften it: of a group with a budget all but those that may be lost, once all
    /// have ended; of the others every one.
    fn parts_of_all<'k>(&self, from: &'k [Key]) -> Vec<(String, Need, Vec<&'k Key>)> {
        let mut rest: Vec<&Key> = from.iter().collect();
        let mut out = Vec::new();
        for (group, (allowed, members)) in &self.losses {
            if *allowed == 0 {
                continue;
            }
            let here = |key: &&Key| match key {
                Key::Unit { node, .. } => members.contains(node),
                _ => false,
            };
            let of_group: Vec<&Key> = rest.iter().copied().filter(here).collect();
            rest.retain(|key| !here(key));
            if !of_group.is_empty() {
                let least = of_group.len().saturating_sub(*allowed).max(1);
                out.push((group.clone(), Need::Settled(least), of_group));
            }
        }
        if !rest.is_empty() || out.is_empty() {
            out.push((String::new(), Need::All, rest));
        }
        out
    }
}

/// How many nodes of a batch must come through, so that the play goes on with the next.
fn least_well(play: &Play, size: usize) -> usize {
    match play.max_fail_percentage {
        Some(share) => {
            let may_fail = budget::share(size, share);
            (size - may_fail).max(1)
        }
        None => 1,
    }
}

/// The play's nodes as `serial` divides them: the last entry of its list counts for all that are left.
fn batches<'a, 'b>(play: &Play, nodes: &'b [&'a HostSpec]) -> Vec<&'b [&'a HostSpec]> {
    let mut out = Vec::new();
    let mut rest = nodes;
    let mut sizes = play.serial.iter();
    let mut size = nodes.len();
    while !rest.is_empty() {
        if let Some(next) = sizes.next() {
            size = match next {
                Allowance::Nodes(0) => nodes.len(),
                Allowance::Nodes(count) => *count,
                Allowance::Percent(share) => budget::share(nodes.len(), *share),
            };
        }
        let (batch, left) = rest.split_at(size.clamp(1, rest.len()));
        out.push(batch);
        rest = left;
    }
    out
}

/// Whether a play can make groups or nodes that later plays work on. What a dynamic include leads to is not known here:
/// it may be any file that has been read for one.
fn grows(playbook: &Playbook, play: &Play) -> bool {
    fn any(items: &[Item], is: &dyn Fn(&Action) -> bool) -> bool {
        items.iter().any(|item| match item {
            Item::Task(task) => is(&task.action),
            Item::Block(block) => [&block.body, &block.rescue, &block.always]
                .into_iter()
                .any(|items| any(items, is)),
        })
    }
    let makes = |action: &Action| matches!(action, Action::GroupBy { .. } | Action::AddHost { .. });
    let included = playbook.files.values().any(|items| any(items, &makes));
    let is = |action: &Action| {
        let includes = matches!(
            action,
            Action::IncludeTasks { .. } | Action::IncludeRole { .. }
        );
        makes(action) || (includes && included)
    };
    [&play.pre_tasks, &play.tasks, &play.post_tasks]
        .into_iter()
        .any(|items| any(items, &is))
        || play.roles.iter().any(|role| any(&role.role.main, &is))
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
