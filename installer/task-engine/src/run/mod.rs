//! Running a plan: units whose predecessors are done run in parallel, one a node at a time.
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use agent_protocol::task::TaskResult;
use diagnostics::Diagnostics;
use graph::{Graph, Outcome};
use indexmap::IndexMap;
use minijinja::Value;
use minijinja::value::Serde;
use serde_json::{Map, Value as Json};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::event::{Event, Failure, Recap, RunReport};
use crate::hosts::{HostSpec, select};
use crate::journal::{Journal, JournalError};
use crate::link::{Link, LinkEvent, Patience, Transport};
use crate::parse::{Catalogue, Playbook};
use crate::plan::{Key, Unit, Work, plan};
use crate::template::{OMIT, Templates};
use crate::vars::{HostVars, Layer, Scope};

mod call;
mod context;
mod controller;
mod files;
mod handlers;
mod item;
mod loops;
mod node;
mod tell;
mod walk;

use node::{Node, lock, read};
use walk::Walk;

/// Everything a run is made from.
pub struct RunSpec {
    /// Names the run in ids and in the journal; the same name continues an interrupted run.
    pub run: String,
    pub playbook: PathBuf,
    /// Further folders that roles are looked for in.
    pub role_folders: Vec<PathBuf>,
    /// All nodes of the environment.
    pub hosts: Vec<HostSpec>,
    /// The nodes to work on, as a host pattern; the others still are in `groups` and `hostvars`.
    pub limit: Option<String>,
    pub mode: Mode,
    /// Give before and after texts of what changes.
    pub diff: bool,
    /// Empty: all.
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    /// Win over all others.
    pub extra_vars: Map<String, Json>,
    pub limits: Limits,
    pub transport: Arc<dyn Transport>,
    pub journal: Arc<dyn Journal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Apply,
    /// Every module says what it would change; nothing is changed.
    Check,
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Nodes that are worked on at the same time.
    pub nodes: usize,
    /// For tasks that do not say `timeout`.
    pub task_seconds: u32,
    pub patience: Patience,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            nodes: 32,
            task_seconds: 3600,
            patience: Patience::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something that a person wrote is wrong; nothing was changed.
    #[error("{0}")]
    Input(Diagnostics),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Parses, plans and carries out. Everything that can be refused is refused before the first node is contacted.
pub async fn run(spec: RunSpec, events: mpsc::Sender<Event>) -> Result<RunReport, RunError> {
    let playbook =
        crate::parse::playbook(&spec.playbook, &spec.role_folders, &Catalogue::of_modules())
            .map_err(RunError::Input)?;
    run_parsed(spec, playbook, events).await
}

/// The same for a playbook that has been read already.
pub async fn run_parsed(
    spec: RunSpec,
    playbook: Playbook,
    events: mpsc::Sender<Event>,
) -> Result<RunReport, RunError> {
    let chosen = chosen(&spec).map_err(RunError::Input)?;
    let graph = plan(&playbook, &spec.hosts, chosen.as_deref()).map_err(RunError::Input)?;
    let finished = spec.journal.finished(&spec.run).await?;
    let journal = spec.journal.clone();
    let engine = Engine::new(spec, playbook, finished, events);
    let report = work_off(engine, graph).await;
    journal.flush().await?;
    Ok(report)
}

fn chosen(spec: &RunSpec) -> Result<Option<Vec<String>>, Diagnostics> {
    let Some(limit) = &spec.limit else {
        return Ok(None);
    };
    let (found, unknown) = select(&spec.hosts, limit);
    if let Some(word) = unknown.first() {
        let names = spec.hosts.iter().map(|host| host.name.as_str());
        let fault = diagnostics::Diagnostic::error(format!("there is no node or group `{word}`"))
            .suggest(word, names);
        return Err(fault.into());
    }
    Ok(Some(
        found.into_iter().map(|host| host.name.clone()).collect(),
    ))
}

/// What all units of a run share.
pub(crate) struct Engine {
    pub spec: RunSpec,
    pub playbook: Playbook,
    pub templates: Arc<Templates>,
    pub nodes: IndexMap<String, Arc<Node>>,
    pub events: mpsc::Sender<Event>,
    /// Results of an earlier part of this run.
    pub finished: HashMap<String, TaskResult>,
    pub extra: Layer,
    /// Titles of tasks by id, while they run: for output that comes from links.
    pub titles: Arc<Mutex<HashMap<String, String>>>,
    /// `run_once` tasks by their key.
    pub once: Mutex<HashMap<String, Arc<OnceCell<item::TaskEnd>>>>,
    /// Play numbers that `any_errors_fatal` has ended.
    pub fatal: Mutex<HashMap<usize, String>>,
    pub failures: Mutex<Vec<Failure>>,
    hostvars: OnceLock<Value>,
    groups: Value,
}

impl Engine {
    fn new(
        spec: RunSpec,
        playbook: Playbook,
        finished: HashMap<String, TaskResult>,
        events: mpsc::Sender<Event>,
    ) -> Arc<Self> {
        let titles: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let mut nodes = IndexMap::new();
        for host in &spec.hosts {
            let (tell, told) = mpsc::channel(64);
            let link = Link::start(
                host.clone(),
                spec.run.clone(),
                spec.transport.clone(),
                spec.limits.patience.clone(),
                tell,
            );
            tokio::spawn(forward(
                host.name.clone(),
                told,
                events.clone(),
                titles.clone(),
            ));
            nodes.insert(host.name.clone(), Arc::new(Node::new(host.clone(), link)));
        }
        let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for host in &spec.hosts {
            for group in host.groups.iter().map(String::as_str).chain(["all"]) {
                let members = groups.entry(group.to_owned()).or_default();
                if !members.contains(&host.name.as_str()) {
                    members.push(&host.name);
                }
            }
        }
        let engine = Arc::new(Engine {
            templates: Arc::new(Templates::default()),
            nodes,
            finished,
            extra: Layer::new(&spec.extra_vars),
            titles,
            once: Mutex::default(),
            fatal: Mutex::default(),
            failures: Mutex::default(),
            hostvars: OnceLock::new(),
            groups: Value::from(Serde(&groups)),
            playbook,
            events,
            spec,
        });
        let names = engine.nodes.keys().cloned().collect();
        // Weak: the object lives in the engine itself.
        let weak = Arc::downgrade(&engine);
        let scope = move |name: &str| {
            let engine = weak.upgrade()?;
            let node = engine.nodes.get(name)?.clone();
            Some(engine.node_scope(&node))
        };
        let _ = engine
            .hostvars
            .set(Value::from_object(HostVars { names, scope }));
        engine
    }

    pub async fn tell(&self, event: Event) {
        // Nobody has to listen.
        let _ = self.events.send(event).await;
    }

    pub fn check(&self) -> bool {
        self.spec.mode == Mode::Check
    }

    /// What other nodes see of this one through `hostvars`.
    fn node_scope(&self, node: &Node) -> Arc<Scope> {
        let mut layers = vec![node.inventory.clone()];
        let (facts, mut unknown) = read(&node.facts).now();
        layers.extend(facts);
        let (set, more) = read(&node.set).now();
        unknown.extend(more);
        layers.extend(set);
        layers.push(self.extra.clone());
        layers.push(self.magic(node));
        Scope::new(self.templates.clone(), layers, unknown)
    }

    /// Ansible's special variables that do not depend on play or role.
    pub fn magic(&self, node: &Node) -> Layer {
        let short = node.spec.name.split('.').next().unwrap_or_default();
        Layer::ready([
            ("inventory_hostname", Value::from(node.spec.name.as_str())),
            ("inventory_hostname_short", Value::from(short)),
            ("group_names", Value::from(node.spec.groups.clone())),
            ("groups", self.groups.clone()),
            ("hostvars", self.hostvars.get().cloned().unwrap_or_default()),
            (
                "playbook_dir",
                Value::from(self.playbook.folder.to_string_lossy()),
            ),
            ("ansible_check_mode", Value::from(self.check())),
            ("ansible_diff_mode", Value::from(self.spec.diff)),
            ("omit", Value::from(OMIT)),
        ])
    }
}

/// Passes on what a link tells.
async fn forward(
    node: String,
    mut told: mpsc::Receiver<LinkEvent>,
    events: mpsc::Sender<Event>,
    titles: Arc<Mutex<HashMap<String, String>>>,
) {
    while let Some(event) = told.recv().await {
        let node = node.clone();
        let event = match event {
            LinkEvent::Connected => Event::NodeConnected { node },
            LinkEvent::Waiting(reason) => Event::NodeWaiting { node, reason },
            LinkEvent::Output { id, text } => {
                let Some(task) = lock(&titles).get(&id).cloned() else {
                    continue;
                };
                Event::Output { node, task, text }
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

async fn work_off(engine: Arc<Engine>, mut graph: Graph<Key, Unit>) -> RunReport {
    let began = Instant::now();
    let roles = graph
        .keys()
        .filter(|key| matches!(key, Key::Unit { .. }))
        .count();
    let mut nodes: BTreeMap<String, Recap> = BTreeMap::new();
    for key in graph.keys() {
        if let Key::Unit { node, .. } = key {
            nodes.entry(node.clone()).or_default();
        }
    }
    let names = engine
        .nodes
        .keys()
        .filter(|name| nodes.contains_key(*name))
        .cloned()
        .collect();
    let (run, check) = (engine.spec.run.clone(), engine.check());
    engine
        .tell(Event::RunStarted {
            run: run.clone(),
            check,
            nodes: names,
            roles,
        })
        .await;

    let permits = Arc::new(Semaphore::new(engine.spec.limits.nodes.max(1)));
    let mut running: JoinSet<(Key, Outcome)> = JoinSet::new();
    loop {
        for key in graph.ready() {
            match graph.payload(&key).cloned() {
                Some(Unit::Work(work)) => {
                    if graph.start(&key).is_ok() {
                        let (engine, permits) = (engine.clone(), permits.clone());
                        running.spawn(async move { (key, run_unit(engine, work, permits).await) });
                    }
                }
                Some(Unit::Gate) | None => {
                    end(&engine, &mut graph, &key, Outcome::Done, &mut nodes).await
                }
            }
        }
        if running.is_empty() && graph.ready().is_empty() {
            break;
        }
        match running.join_next().await {
            Some(Ok((key, outcome))) => end(&engine, &mut graph, &key, outcome, &mut nodes).await,
            // A unit that panicked is our own fault; its node's other units cannot go on, so the run ends here.
            Some(Err(error)) => {
                let msg = format!("internal error: {error}");
                let failure = Failure {
                    node: String::new(),
                    role: String::new(),
                    task: String::new(),
                    msg,
                };
                lock(&engine.failures).push(failure);
                break;
            }
            None => {}
        }
    }
    running.shutdown().await;

    for (name, recap) in &mut nodes {
        if let Some(node) = engine.nodes.get(name) {
            let not_run = recap.not_run;
            *recap = lock(&node.recap).clone();
            recap.not_run = not_run;
        }
    }
    let failures = std::mem::take(&mut *lock(&engine.failures));
    let report = RunReport {
        run,
        nodes,
        failures,
        seconds: seconds(began.elapsed()),
    };
    engine.tell(Event::RunDone(report.clone())).await;
    report
}

pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Ends a vertex and tells, once a node, what is not run because of it.
async fn end(
    engine: &Engine,
    graph: &mut Graph<Key, Unit>,
    key: &Key,
    outcome: Outcome,
    nodes: &mut BTreeMap<String, Recap>,
) {
    let Ok(progress) = graph.finish(key, outcome) else {
        return;
    };
    let mut lost: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in progress.not_run {
        if let Key::Unit { node, label, .. } = key {
            nodes.entry(node.clone()).or_default().not_run += 1;
            lost.entry(node).or_default().push(label);
        }
    }
    for (node, roles) in lost {
        engine
            .tell(Event::NotRun {
                node,
                roles,
                because: key.to_string(),
            })
            .await;
    }
}

async fn run_unit(engine: Arc<Engine>, work: Arc<Work>, permits: Arc<Semaphore>) -> Outcome {
    // The semaphore is never closed, so this waits until it is this unit's turn.
    let _permit = permits.acquire().await;
    let Some(node) = engine.nodes.get(&work.node).cloned() else {
        return Outcome::Failed;
    };
    if lock(&node.ended).contains(&work.play_number) {
        return Outcome::Done;
    }
    Walk::new(engine, node, work).run().await
}
