//! A run: what it is made from, and how it begins and ends.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diagnostics::Diagnostics;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use crate::event::{Event, RunReport};
use crate::hidden::Hidden;
use crate::hosts::{HostSpec, select};
use crate::journal::{Journal, JournalError, Owed};
use crate::link::{Patience, Transport};
use crate::parse::{Catalogue, Playbook};
use crate::plan::{Order, Planner};

mod arguments;
mod call;
mod context;
mod controller;
mod engine;
mod fetch;
mod files;
mod handlers;
mod include;
mod include_vars;
mod item;
mod loops;
mod node;
mod pace;
mod reboot;
mod tell;
mod walk;
mod work;

pub(crate) use engine::Engine;

/// Everything a run is made from.
pub struct RunSpec {
    /// Names the run in ids and in the journal; the same name continues an interrupted run.
    pub run: String,
    /// An earlier part of this run was interrupted. What failed then may have failed for that, as nobody answered it, and the
    /// nodes' agents have kept the failure: such a task is tried again.
    pub continues: bool,
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
    /// Tasks of a node before the first one of this title are passed over; of those only `set_fact`, `include_vars`
    /// and reading facts are done, which later tasks need.
    pub start_at_task: Option<String>,
    /// Win over all others.
    pub extra_vars: Map<String, Json>,
    /// Facts of earlier runs, by node: what is known of a node until this run has asked it, and all that is known of
    /// one that it does not ask.
    pub facts: BTreeMap<String, Map<String, Json>>,
    /// Nodes that are not installed yet. In check mode they are not asked: what would happen there is unknown.
    pub blank: BTreeSet<String>,
    /// Values that are shown and written nowhere.
    pub hidden: Arc<Hidden>,
    /// What nodes wait for.
    pub order: Order,
    pub limits: Limits,
    pub transport: Arc<dyn Transport>,
    pub journal: Arc<dyn Journal>,
}

impl RunSpec {
    /// A run that carries out the whole playbook on all nodes.
    pub fn new(
        run: impl Into<String>,
        playbook: impl Into<PathBuf>,
        hosts: Vec<HostSpec>,
        transport: Arc<dyn Transport>,
        journal: Arc<dyn Journal>,
    ) -> Self {
        RunSpec {
            run: run.into(),
            continues: false,
            playbook: playbook.into(),
            role_folders: Vec::new(),
            hosts,
            limit: None,
            mode: Mode::Apply,
            diff: false,
            tags: Vec::new(),
            skip_tags: Vec::new(),
            start_at_task: None,
            extra_vars: Map::new(),
            facts: BTreeMap::new(),
            blank: BTreeSet::new(),
            hidden: Arc::default(),
            order: Order::default(),
            limits: Limits::default(),
            transport,
            journal,
        }
    }
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
    check_start(&spec, &playbook).map_err(RunError::Input)?;
    let mut planner = Planner::new(chosen.as_deref(), spec.order);
    let graph = planner
        .whole(&playbook, &spec.hosts)
        .map_err(RunError::Input)?;
    let finished = spec.journal.finished(&spec.run).await?;
    let owed = spec.journal.owed().await?;
    let journal = spec.journal.clone();
    let engine = Engine::new(spec, playbook, finished, events);
    for node in engine.nodes() {
        node.notify(owed.get(&node.spec.name).into_iter().flatten().cloned());
    }
    let report = work::work_off(engine.clone(), graph, planner).await;
    if !engine.check() {
        let now = engine.nodes().into_iter().map(|node| {
            let left = node.owed();
            (node.spec.name.clone(), left)
        });
        let none = BTreeSet::new();
        let news: Owed = now
            .filter(|(name, left)| left != owed.get(name).unwrap_or(&none))
            .collect();
        if !news.is_empty() {
            journal.note_owed(news).await?;
        }
    }
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

pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What everything on a node that is not installed waits for, in a plan.
pub(crate) const INSTALLATION: &str = "installation";

/// Refuses a task to start at that no task list of the playbook has.
fn check_start(spec: &RunSpec, playbook: &Playbook) -> Result<(), Diagnostics> {
    let Some(title) = &spec.start_at_task else {
        return Ok(());
    };
    let titles = playbook.titles();
    if titles.contains(title) {
        return Ok(());
    }
    let fault =
        diagnostics::Diagnostic::error(format!("no task of the playbook is called `{title}`"))
            .suggest(title, titles.iter().map(String::as_str));
    Err(fault.into())
}
