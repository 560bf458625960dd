//! What the engine holds of one node during a run: its variables, its link, its notified handlers, its counts.
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::{Map, Value as Json};

use crate::event::Recap;
use crate::hosts::HostSpec;
use crate::link::Link;
use crate::parse::{Role, Task};
use crate::vars::{Growing, Layer};

pub(crate) struct Node {
    pub spec: HostSpec,
    /// All groups; tasks can put the node into more.
    pub groups: RwLock<Vec<String>>,
    pub inventory: Layer,
    pub link: Link,
    /// What `setup` found out. All of it lies in the layer, by the names that Ansible gives.
    pub facts: RwLock<Growing>,
    /// `set_fact`, `include_vars` and registered results.
    pub set: RwLock<Growing>,
    all_facts: Mutex<Map<String, Json>>,
    pub handlers: Mutex<Handlers>,
    pub recap: Mutex<Recap>,
    /// Plays that `meta: end_host` has ended here, by number.
    pub ended: Mutex<HashSet<usize>>,
    /// Roles that were included with `public: true`: number of the play, defaults, variables.
    public: Mutex<Vec<(usize, Layer, Layer)>>,
    /// Check mode: the newest task that would change the node, or may.
    pub would_change: Mutex<Option<String>>,
    /// Bytes, about, of the results and facts that are kept of this node.
    pub held: AtomicUsize,
    /// The task that the run is to start at has been come to, where there is one.
    pub started: AtomicBool,
}

/// Handlers that a node has come across, in the order of their roles, and what has been notified.
///
/// A notification waits for its handlers: one whose role comes later on this node runs when that role flushes.
#[derive(Default)]
pub(crate) struct Handlers {
    pub known: Vec<Known>,
    pub notified: BTreeSet<String>,
    /// Check mode: notified if a task changes something of which this is not known, with that task.
    pub maybe: BTreeMap<String, String>,
}

pub(crate) struct Known {
    pub handler: Arc<Task>,
    /// Name of the role that it stands in; empty for a play's own.
    pub role: String,
    /// Notifications that this handler has not run for yet are those it has not seen.
    pub seen: BTreeSet<String>,
    /// Its newest run failed: what it has seen is not answered.
    pub failed: bool,
}

impl Known {
    /// What notifications can call it.
    fn names(&self) -> Vec<String> {
        let of_role = self
            .handler
            .name
            .as_ref()
            .map(|name| format!("{} : {name}", self.role));
        let names = self.handler.name.iter().chain(&self.handler.listen);
        names.cloned().chain(of_role).collect()
    }
}

impl Node {
    pub fn new(spec: HostSpec, link: Link) -> Self {
        Node {
            groups: RwLock::new(spec.groups.clone()),
            inventory: spec.shared.below(&spec.vars),
            spec,
            link,
            facts: RwLock::default(),
            set: RwLock::default(),
            all_facts: Mutex::default(),
            handlers: Mutex::default(),
            recap: Mutex::default(),
            ended: Mutex::default(),
            public: Mutex::default(),
            would_change: Mutex::default(),
            held: AtomicUsize::new(0),
            started: AtomicBool::new(false),
        }
    }

    /// From now on every task of the play sees the role's defaults and variables here.
    pub fn publish(&self, play: usize, role: &Role) {
        let layers = (Layer::new(&role.defaults), Layer::new(&role.vars));
        lock(&self.public).push((play, layers.0, layers.1));
    }

    /// Defaults and variables of the play's published roles.
    pub fn published(&self, play: usize) -> (Vec<Layer>, Vec<Layer>) {
        let public = lock(&self.public);
        public
            .iter()
            .filter(|(number, _, _)| *number == play)
            .map(|(_, defaults, vars)| (defaults.clone(), vars.clone()))
            .unzip()
    }

    /// Takes in `ansible_facts` of a result: each as `ansible_<name>`, and all together as `ansible_facts`.
    pub fn add_facts(&self, facts: &Map<String, Json>) {
        let mut all = lock(&self.all_facts);
        let mut flat = Vec::new();
        for (name, value) in facts {
            let short = name.strip_prefix("ansible_").unwrap_or(name);
            all.insert(short.to_owned(), value.clone());
            flat.push((format!("ansible_{short}"), value.clone()));
        }
        flat.push(("ansible_facts".to_owned(), Json::Object(all.clone())));
        write(&self.facts).set(flat);
    }

    /// Counts values that are to be kept of this node; false when that is more than a node may have.
    pub fn hold<'a>(&self, values: impl IntoIterator<Item = &'a Json>) -> bool {
        let bytes: usize = values.into_iter().map(size).sum();
        self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= HELD_BYTES_MAX
    }

    /// All facts, by their short names.
    pub fn facts_now(&self) -> Map<String, Json> {
        lock(&self.all_facts).clone()
    }

    pub fn clear_facts(&self) {
        lock(&self.all_facts).clear();
        *write(&self.facts) = Growing::default();
    }

    /// Puts the node into groups; true when it was not in all of them.
    pub fn join(&self, groups: &[String]) -> bool {
        let mut own = write(&self.groups);
        let before = own.len();
        for group in groups {
            if !own.contains(group) {
                own.push(group.clone());
            }
        }
        own.len() > before
    }

    pub fn notify(&self, names: impl IntoIterator<Item = String>) {
        let mut handlers = lock(&self.handlers);
        for name in names {
            // A handler that has run for an earlier notification of this name runs again for the new one.
            for known in &mut handlers.known {
                known.seen.remove(&name);
            }
            handlers.notified.insert(name);
        }
    }

    /// Notifications that have not come to their handlers, or whose handler failed.
    pub fn owed(&self) -> BTreeSet<String> {
        let handlers = lock(&self.handlers);
        let waits = |name: &&String| {
            let mut called = handlers
                .known
                .iter()
                .filter(|known| known.names().contains(name))
                .peekable();
            called.peek().is_none()
                || called.any(|known| known.failed || !known.seen.contains(*name))
        };
        handlers.notified.iter().filter(waits).cloned().collect()
    }

    /// The handler failed: what notified it is not answered.
    pub fn handler_failed(&self, handler: &Arc<Task>) {
        let mut handlers = lock(&self.handlers);
        for known in &mut handlers.known {
            known.failed |= Arc::ptr_eq(&known.handler, handler);
        }
    }

    /// Notes handlers that run if a task turns out to change something.
    pub fn may_notify(&self, names: impl IntoIterator<Item = (String, String)>) {
        let mut handlers = lock(&self.handlers);
        for (name, until) in names {
            handlers.maybe.entry(name).or_insert(until);
        }
    }

    /// A handler of which it is not known whether it will run, with the task that decides; each is given once.
    pub fn next_doubtful(&self) -> Option<(Arc<Task>, String)> {
        let mut handlers = lock(&self.handlers);
        let maybe = handlers.maybe.clone();
        for known in &mut handlers.known {
            let names = known.names();
            let due = names
                .iter()
                .find_map(|name| Some((name, maybe.get(name)?)))
                .filter(|_| !names.iter().any(|name| known.seen.contains(name)));
            if let Some((name, until)) = due {
                known.seen.insert(name.clone());
                return Some((known.handler.clone(), until.clone()));
            }
        }
        None
    }

    /// Makes handlers known, once each.
    pub fn learn(&self, role: &str, list: &[Arc<Task>]) {
        let mut handlers = lock(&self.handlers);
        for handler in list {
            if !handlers
                .known
                .iter()
                .any(|known| Arc::ptr_eq(&known.handler, handler))
            {
                handlers.known.push(Known {
                    handler: handler.clone(),
                    role: role.to_owned(),
                    seen: BTreeSet::new(),
                    failed: false,
                });
            }
        }
    }

    /// The next handler that has something to run for; it counts as run from now on.
    pub fn next_handler(&self) -> Option<(Arc<Task>, String)> {
        let mut handlers = lock(&self.handlers);
        let notified = handlers.notified.clone();
        for known in &mut handlers.known {
            let due: Vec<String> = known
                .names()
                .into_iter()
                .filter(|name| notified.contains(name) && !known.seen.contains(name))
                .collect();
            if !due.is_empty() {
                known.seen.extend(due);
                known.failed = false;
                return Some((known.handler.clone(), known.role.clone()));
            }
        }
        None
    }
}

/// What a node can make us keep of it, in registered results and facts. Honest ones need a thousandth of it.
pub(crate) const HELD_BYTES_MAX: usize = 128 << 20;

/// Bytes, about, that a value takes.
fn size(value: &Json) -> usize {
    const OWN: usize = 32;
    OWN + match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

/// A panic elsewhere while the lock was held leaves the data as whole as it was.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
