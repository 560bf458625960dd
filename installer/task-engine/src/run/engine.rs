//! What all units of a run share: its nodes, its templates, and what they tell.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, RwLock, Weak};

use agent_protocol::task::TaskResult;
use indexmap::{IndexMap, IndexSet};
use minijinja::Value;
use minijinja::value::Serde;
use tokio::sync::{OnceCell, Semaphore, mpsc};

use super::node::{Node, lock, read, write};
use super::pace::Pace;
use super::{INSTALLATION, Mode, RunSpec, item};
use crate::event::{Event, Failure};
use crate::hidden::Hidden;
use crate::hosts::{HostSpec, select};
use crate::link::{Link, LinkEvent};
use crate::parse::Playbook;
use crate::plan::Budget;
use crate::template::{OMIT, Templates};
use crate::vars::{HostVars, Layer, Scope};

/// What all units of a run share.
pub(crate) struct Engine {
    pub spec: RunSpec,
    pub playbook: Playbook,
    pub templates: Arc<Templates>,
    nodes: RwLock<IndexMap<String, Arc<Node>>>,
    pub events: mpsc::Sender<Event>,
    /// Results of an earlier part of this run.
    pub finished: HashMap<String, TaskResult>,
    pub extra: Layer,
    /// Titles of tasks by id, while they run: for output that comes from links.
    pub titles: Arc<Mutex<HashMap<String, String>>>,
    /// `run_once` tasks by their key.
    pub once: Mutex<HashMap<String, Arc<OnceCell<item::TaskEnd>>>>,
    /// Play numbers that `any_errors_fatal` of a block or task has ended, with the node that failed.
    pub fatal: Mutex<HashMap<usize, String>>,
    /// With the budgets that can bear them.
    pub failures: Mutex<Vec<(Failure, Vec<Arc<Budget>>)>>,
    /// Semaphores of tasks that say `throttle`, by their place.
    pub throttles: Mutex<HashMap<String, Arc<Semaphore>>>,
    pub pace: Arc<Pace>,
    shared: RwLock<Shared>,
    plays: RwLock<Vec<PlayNow>>,
    me: Weak<Engine>,
}

/// Special variables that are the same for all nodes; made anew when nodes or groups are.
#[derive(Default)]
struct Shared(Layer);

/// What a play knows of itself, and the hosts that it began with.
struct PlayNow {
    layer: Layer,
    hosts: Vec<String>,
    /// By the batch. Every task asks, and thousands of hosts are not to be listed anew for each.
    alive: Mutex<HashMap<usize, Alive>>,
}

/// The variables that name a batch's hosts, good as long as no more have failed.
struct Alive {
    /// Kept, so that no other batch comes to lie at its address.
    _batch: Arc<Vec<String>>,
    failures: usize,
    layer: Layer,
}

impl Engine {
    pub fn new(
        spec: RunSpec,
        playbook: Playbook,
        finished: HashMap<String, TaskResult>,
        events: mpsc::Sender<Event>,
    ) -> Arc<Self> {
        spec.hidden.add(playbook.vault.opened());
        let engine = Arc::new_cyclic(|me| Engine {
            templates: Arc::new(Templates::default()),
            nodes: RwLock::default(),
            finished,
            extra: Layer::new(&spec.extra_vars),
            titles: Arc::default(),
            once: Mutex::default(),
            fatal: Mutex::default(),
            failures: Mutex::default(),
            throttles: Mutex::default(),
            pace: Arc::default(),
            shared: RwLock::default(),
            plays: RwLock::default(),
            me: me.clone(),
            playbook,
            events,
            spec,
        });
        for host in &engine.spec.hosts {
            engine.add_node(host.clone());
        }
        engine.renew_shared();
        engine.renew_plays(0);
        engine
    }

    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        read(&self.nodes).get(name).cloned()
    }

    /// All nodes, in the order of the inventory; those that tasks have added come last.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        read(&self.nodes).values().cloned().collect()
    }

    /// Makes a node known; its connection is opened when the first task comes.
    fn add_node(&self, host: HostSpec) {
        let (tell, told) = mpsc::channel(64);
        let link = Link::start(
            host.clone(),
            self.spec.run.clone(),
            self.spec.transport.clone(),
            self.spec.limits.patience.clone(),
            tell,
        );
        tokio::spawn(forward(
            host.name.clone(),
            told,
            self.events.clone(),
            self.titles.clone(),
            self.spec.hidden.clone(),
            self.pace.clone(),
        ));
        let name = host.name.clone();
        let node = Node::new(host, link);
        if let Some(facts) = self.spec.facts.get(&name) {
            node.add_facts(facts);
        }
        if self.spec.blank.contains(&name) {
            *lock(&node.would_change) = Some(INSTALLATION.to_owned());
        }
        write(&self.nodes).insert(name, Arc::new(node));
    }

    /// `add_host`: a node with its groups and variables, or more of them for one that is known. True when it was not.
    pub fn add_host(&self, host: HostSpec) -> bool {
        let known = self.node(&host.name);
        match &known {
            Some(node) => {
                node.join(&host.groups);
                write(&node.set).set(host.vars);
            }
            None => self.add_node(host),
        }
        self.renew_shared();
        known.is_none()
    }

    /// `group_by`: puts a node into groups. True when it was not in all of them.
    pub fn join(&self, node: &Node, groups: &[String]) -> bool {
        let joined = node.join(groups);
        if joined {
            self.renew_shared();
        }
        joined
    }

    /// The nodes with the groups that they are in by now.
    pub fn hosts_now(&self) -> Vec<HostSpec> {
        let of = |node: &Arc<Node>| HostSpec {
            groups: read(&node.groups).clone(),
            ..node.spec.clone()
        };
        self.nodes().iter().map(of).collect()
    }

    /// Finds the hosts of the plays from this number on, among those that are known by now.
    pub fn renew_plays(&self, from: usize) {
        let hosts = self.hosts_now();
        let later = self.playbook.plays.iter().skip(from);
        let later = later.map(|play| play_now(&self.spec, &self.playbook, &hosts, play));
        let mut plays = write(&self.plays);
        plays.truncate(from);
        plays.extend(later);
    }

    fn renew_shared(&self) {
        let nodes = self.nodes();
        let mut groups: BTreeMap<String, IndexSet<&str>> = BTreeMap::new();
        for node in &nodes {
            let all = (!node.spec.is_implicit()).then_some("all");
            for group in read(&node.groups).iter().map(String::as_str).chain(all) {
                let members = groups.entry(group.to_owned()).or_default();
                members.insert(&node.spec.name);
            }
        }
        let names = nodes.iter().map(|node| node.spec.name.clone()).collect();
        // Weak: the object lives in the engine itself.
        let me = self.me.clone();
        let scope = move |name: &str| {
            let engine = me.upgrade()?;
            let node = engine.node(name)?;
            Some(engine.node_scope(&node))
        };
        *write(&self.shared) = Shared(Layer::ready([
            ("groups", Value::from(Serde(&groups))),
            ("hostvars", Value::from_object(HostVars { names, scope })),
            ("playbook_dir", Value::from(absolute(&self.playbook.folder))),
            ("ansible_version", ansible_version()),
            ("ansible_check_mode", Value::from(self.check())),
            ("ansible_diff_mode", Value::from(self.spec.diff)),
            ("omit", Value::from(OMIT)),
        ]));
    }

    pub async fn tell(&self, mut event: Event) {
        self.spec.hidden.event(&mut event);
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

    /// The special variables of a play, with the hosts that have not failed: all of them, and those of the batch.
    pub fn play_magic(&self, number: usize, batch: &Arc<Vec<String>>) -> Layer {
        let plays = read(&self.plays);
        let Some(play) = plays.get(number) else {
            return Layer::default();
        };
        let failures = lock(&self.failures);
        let mut alive = lock(&play.alive);
        let key = Arc::as_ptr(batch) as usize;
        if let Some(known) = alive.get(&key)
            && known.failures == failures.len()
        {
            return known.layer.clone();
        }
        let failed: HashSet<&str> = failures
            .iter()
            .map(|(failure, _)| failure.node.as_str())
            .collect();
        let of = |hosts: &[String]| -> Value {
            let hosts = hosts.iter().filter(|host| !failed.contains(host.as_str()));
            Value::from(hosts.cloned().collect::<Vec<_>>())
        };
        let of_batch = of(batch);
        let layer = Layer::ready([
            ("ansible_play_hosts", of(&play.hosts)),
            ("ansible_play_batch", of_batch.clone()),
            ("play_hosts", of_batch),
        ])
        .over(play.layer.clone());
        let now = Alive {
            _batch: batch.clone(),
            failures: failures.len(),
            layer: layer.clone(),
        };
        alive.insert(key, now);
        layer
    }

    /// Ansible's special variables that do not depend on play or role.
    pub fn magic(&self, node: &Node) -> Layer {
        let short = node.spec.name.split('.').next().unwrap_or_default();
        let mut groups = read(&node.groups).clone();
        groups.sort();
        Layer::ready([
            ("inventory_hostname", Value::from(node.spec.name.as_str())),
            ("inventory_hostname_short", Value::from(short)),
            ("group_names", Value::from(groups)),
        ])
        .over(read(&self.shared).0.clone())
    }
}

/// A play as it begins.
fn play_now(
    spec: &RunSpec,
    playbook: &Playbook,
    hosts: &[HostSpec],
    play: &crate::parse::Play,
) -> PlayNow {
    let limited = spec
        .limit
        .as_deref()
        .map(|limit| select(&spec.hosts, limit).0);
    let hosts: Vec<String> = select(hosts, &play.hosts)
        .0
        .into_iter()
        .filter(|host| {
            limited
                .as_ref()
                .is_none_or(|limited| limited.iter().any(|other| other.name == host.name))
        })
        .map(|host| host.name.clone())
        .collect();
    let roles: Vec<String> = play
        .roles
        .iter()
        .map(|role| role.role.name.clone())
        .collect();
    let layer = Layer::ready([
        ("ansible_play_name", Value::from(play.name.as_str())),
        ("ansible_play_hosts_all", Value::from(hosts.clone())),
        ("ansible_play_role_names", Value::from(roles.clone())),
        ("role_names", Value::from(roles.clone())),
        ("ansible_role_names", Value::from(roles)),
        (
            "ansible_run_tags",
            Value::from(match spec.tags.is_empty() {
                true => vec!["all".to_owned()],
                false => spec.tags.clone(),
            }),
        ),
        ("ansible_skip_tags", Value::from(spec.skip_tags.clone())),
        (
            "ansible_limit",
            Value::from(spec.limit.clone().unwrap_or_default()),
        ),
        ("ansible_forks", Value::from(spec.limits.nodes)),
        ("ansible_verbosity", Value::from(0)),
        ("ansible_playbook_python", Value::from("/usr/bin/python3")),
        ("ansible_managed", Value::from("Ansible managed")),
        ("playbook_dir", Value::from(absolute(&playbook.folder))),
    ]);
    PlayNow {
        layer,
        hosts,
        alive: Mutex::default(),
    }
}

fn absolute(path: &std::path::Path) -> String {
    let path = match path.as_os_str().is_empty() {
        true => std::path::Path::new("."),
        false => path,
    };
    path.canonicalize()
        .unwrap_or_else(|_| path.to_path_buf())
        .to_string_lossy()
        .into_owned()
}

/// The version of Ansible whose format this is: roles ask for a least one.
fn ansible_version() -> Value {
    Value::from(Serde(serde_json::json!({
        "full": "2.19.0", "string": "2.19.0", "major": 2, "minor": 19, "revision": 0,
    })))
}

/// Passes on what a link tells.
async fn forward(
    node: String,
    mut told: mpsc::Receiver<LinkEvent>,
    events: mpsc::Sender<Event>,
    titles: Arc<Mutex<HashMap<String, String>>>,
    hidden: Arc<Hidden>,
    pace: Arc<Pace>,
) {
    while let Some(event) = told.recv().await {
        match event {
            LinkEvent::Connected => pace.answers(&node, true),
            LinkEvent::Waiting(_) => pace.answers(&node, false),
            LinkEvent::Output { .. } => {}
        }
        let node = node.clone();
        let mut event = match event {
            LinkEvent::Connected => Event::NodeConnected { node },
            LinkEvent::Waiting(reason) => Event::NodeWaiting { node, reason },
            LinkEvent::Output { id, text } => {
                let Some(task) = lock(&titles).get(&id).cloned() else {
                    continue;
                };
                Event::Output { node, task, text }
            }
        };
        hidden.event(&mut event);
        if matches!(event, Event::Output { .. }) {
            // A node that says much must not hold up what others have to tell.
            let _ = events.try_send(event);
            continue;
        }
        if events.send(event).await.is_err() {
            return;
        }
    }
}
