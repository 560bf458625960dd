//! What the engine holds of one node during a run: its variables, its link, its notified handlers, its counts.
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::{Map, Value as Json};

use crate::event::Recap;
use crate::hosts::HostSpec;
use crate::link::Link;
use crate::parse::Task;
use crate::vars::{Growing, Layer};

pub(crate) struct Node {
    pub spec: HostSpec,
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
}

/// Handlers that a node has come across, in the order of their roles, and what has been notified.
///
/// A notification waits for its handlers: one whose role comes later on this node runs when that role flushes.
#[derive(Default)]
pub(crate) struct Handlers {
    pub known: Vec<Known>,
    pub notified: BTreeSet<String>,
}

pub(crate) struct Known {
    pub handler: Arc<Task>,
    /// Name of the role that it stands in; empty for a play's own.
    pub role: String,
    /// Notifications that this handler has not run for yet are those it has not seen.
    pub seen: BTreeSet<String>,
}

impl Node {
    pub fn new(spec: HostSpec, link: Link) -> Self {
        Node {
            inventory: Layer::new(&spec.vars),
            spec,
            link,
            facts: RwLock::default(),
            set: RwLock::default(),
            all_facts: Mutex::default(),
            handlers: Mutex::default(),
            recap: Mutex::default(),
            ended: Mutex::default(),
        }
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

    pub fn clear_facts(&self) {
        lock(&self.all_facts).clear();
        *write(&self.facts) = Growing::default();
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
                });
            }
        }
    }

    /// The next handler that has something to run for; it counts as run from now on.
    pub fn next_handler(&self) -> Option<(Arc<Task>, String)> {
        let mut handlers = lock(&self.handlers);
        let notified = handlers.notified.clone();
        for known in &mut handlers.known {
            let names = known.handler.name.iter().chain(&known.handler.listen);
            let of_role = known
                .handler
                .name
                .as_ref()
                .map(|name| format!("{} : {name}", known.role));
            let due: Vec<String> = names
                .cloned()
                .chain(of_role)
                .filter(|name| notified.contains(name) && !known.seen.contains(name))
                .collect();
            if !due.is_empty() {
                known.seen.extend(due);
                return Some((known.handler.clone(), known.role.clone()));
            }
        }
        None
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
