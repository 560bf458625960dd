//! A dependency graph that is worked off: add nodes and edges, ask what is ready, say what finished.
//!
//! Generic over key and payload; both the task engine (node × role) and the orchestration engine (resources)
//! use it. Pure: it knows no clock, no I/O, and not what a node stands for.
//!
//! ```text
//! waiting ──► ready ──► running ──► done
//!    │                     └──────► failed
//!    └──► not run (because of the failed key)
//! ```
//!
//! Everything that is returned as a list is in the order in which nodes were added, so that the same graph
//! is always worked off the same way.
use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Debug, Display};
use std::hash::Hash;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

mod cycle;

/// Why a graph was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("`{0}` is in the graph twice")]
    Duplicate(String),
    #[error("`{0}` is not in the graph")]
    Unknown(String),
    /// The path starts and ends with the same key, in the order in which things would have to run.
    #[error("dependency cycle: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    #[error("`{key}` is {found}, but was to be {wanted}")]
    WrongState {
        key: String,
        found: &'static str,
        wanted: &'static str,
    },
}

/// How many of a node's predecessors must have ended well before it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    #[default]
    All,
    /// At least this many, or all of them where there are fewer.
    AtLeast(usize),
    /// At least this share of them, in per cent, rounded up, and never fewer than one.
    Percent(u8),
    /// All of them have ended, and at least this many of them well.
    Settled(usize),
}

/// How a node ended, as told to [`Graph::finish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State<K> {
    Waiting,
    Ready,
    Running,
    Done,
    Failed,
    /// Not run because `because` failed: always the first cause, never a consequence of it.
    NotRun {
        because: K,
    },
}

impl<K> State<K> {
    fn name(&self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Ready => "ready",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::NotRun { .. } => "not run",
        }
    }

    /// Nothing will change any more.
    pub fn is_final(&self) -> bool {
        matches!(self, State::Done | State::Failed | State::NotRun { .. })
    }
}

/// What [`Graph::finish`] set in motion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<K> {
    /// Nodes that became ready.
    pub ready: Vec<K>,
    /// Nodes that will not run now.
    pub not_run: Vec<K>,
}

struct Node<K, P> {
    key: K,
    payload: P,
    need: Need,
    state: State<K>,
}

/// The graph. Nodes and edges can be added while it is worked off; an edge from a node that is done counts
/// as fulfilled.
pub struct Graph<K, P> {
    inner: DiGraph<Node<K, P>, ()>,
    index: HashMap<K, NodeIndex>,
    ready: BTreeSet<NodeIndex>,
    open: usize,
}

impl<K, P> Default for Graph<K, P> {
    fn default() -> Self {
        Graph {
            inner: DiGraph::new(),
            index: HashMap::new(),
            ready: BTreeSet::new(),
            open: 0,
        }
    }
}

impl<K: Clone + Eq + Hash + Display, P> Graph<K, P> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node that needs all its predecessors.
    pub fn add_node(&mut self, key: K, payload: P) -> Result<(), GraphError> {
        self.add_node_needing(key, payload, Need::All)
    }

    /// Adds a node with its own threshold, for example a gate that opens when any of its predecessors is done.
    pub fn add_node_needing(&mut self, key: K, payload: P, need: Need) -> Result<(), GraphError> {
        if self.index.contains_key(&key) {
            return Err(GraphError::Duplicate(key.to_string()));
        }
        let at = self.inner.add_node(Node {
            key: key.clone(),
            payload,
            need,
            state: State::Waiting,
        });
        self.index.insert(key, at);
        self.open += 1;
        self.settle(at);
        Ok(())
    }

    /// `after` waits for `before`. Adding the same edge again is no fault.
    pub fn add_edge(&mut self, before: &K, after: &K) -> Result<(), GraphError> {
        let (from, to) = (self.at(before)?, self.at(after)?);
        let state = &self.inner[to].state;
        if !matches!(state, State::Waiting | State::Ready) {
            let (found, key) = (state.name(), after.to_string());
            return Err(GraphError::WrongState {
                key,
                found,
                wanted: "waiting",
            });
        }
        self.inner.update_edge(from, to, ());
        self.settle(to);
        Ok(())
    }

    /// Names a cycle, if there is one. Call it once the graph is complete, and after each growth.
    pub fn check(&self) -> Result<(), GraphError> {
        match cycle::find(&self.inner) {
            Some(path) => Err(GraphError::Cycle(
                path.iter()
                    .map(|&at| self.inner[at].key.to_string())
                    .collect(),
            )),
            None => Ok(()),
        }
    }

    /// Keys that can be started now.
    pub fn ready(&self) -> Vec<K> {
        self.ready
            .iter()
            .map(|&at| self.inner[at].key.clone())
            .collect()
    }

    /// Takes a key out of the ready set.
    pub fn start(&mut self, key: &K) -> Result<(), GraphError> {
        let at = self.at(key)?;
        self.expect(at, "ready", |state| *state == State::Ready)?;
        self.ready.remove(&at);
        self.inner[at].state = State::Running;
        Ok(())
    }

    /// Ends a key that is ready or running.
    pub fn finish(&mut self, key: &K, outcome: Outcome) -> Result<Progress<K>, GraphError> {
        let at = self.at(key)?;
        self.expect(at, "running", |state| {
            matches!(state, State::Running | State::Ready)
        })?;
        self.ready.remove(&at);
        self.open -= 1;
        self.inner[at].state = match outcome {
            Outcome::Done => State::Done,
            Outcome::Failed => State::Failed,
        };
        let mut touched = BTreeSet::new();
        let mut wave = vec![at];
        while let Some(ended) = wave.pop() {
            let after: Vec<_> = self
                .inner
                .neighbors_directed(ended, Direction::Outgoing)
                .collect();
            for next in after {
                if self.inner[next].state == State::Waiting && self.settle(next) {
                    touched.insert(next);
                    if self.inner[next].state.is_final() {
                        wave.push(next);
                    }
                }
            }
        }
        let mut progress = Progress {
            ready: Vec::new(),
            not_run: Vec::new(),
        };
        for at in touched {
            let node = &self.inner[at];
            let list = if node.state == State::Ready {
                &mut progress.ready
            } else {
                &mut progress.not_run
            };
            list.push(node.key.clone());
        }
        Ok(progress)
    }

    pub fn state(&self, key: &K) -> Option<&State<K>> {
        self.index.get(key).map(|&at| &self.inner[at].state)
    }

    pub fn payload(&self, key: &K) -> Option<&P> {
        self.index.get(key).map(|&at| &self.inner[at].payload)
    }

    pub fn payload_mut(&mut self, key: &K) -> Option<&mut P> {
        let at = *self.index.get(key)?;
        Some(&mut self.inner[at].payload)
    }

    /// All keys, in the order in which they were added.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.inner.node_indices().map(|at| &self.inner[at].key)
    }

    /// What `key` waits for directly.
    pub fn before(&self, key: &K) -> Vec<&K> {
        self.neighbours(key, Direction::Incoming)
    }

    /// What waits directly for `key`.
    pub fn after(&self, key: &K) -> Vec<&K> {
        self.neighbours(key, Direction::Outgoing)
    }

    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.inner.node_count() == 0
    }

    /// Every node is done, failed or not run.
    pub fn is_finished(&self) -> bool {
        self.open == 0
    }

    /// A whole order in which the nodes could run one by one, or the cycle that forbids it. Among nodes that
    /// could come next the one that was added first does.
    pub fn order(&self) -> Result<Vec<K>, GraphError> {
        let mut left: Vec<usize> = self
            .inner
            .node_indices()
            .map(|at| {
                self.inner
                    .neighbors_directed(at, Direction::Incoming)
                    .count()
            })
            .collect();
        let mut free: BTreeSet<_> = self
            .inner
            .node_indices()
            .filter(|at| left[at.index()] == 0)
            .collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(at) = free.pop_first() {
            order.push(self.inner[at].key.clone());
            for next in self.inner.neighbors_directed(at, Direction::Outgoing) {
                left[next.index()] -= 1;
                if left[next.index()] == 0 {
                    free.insert(next);
                }
            }
        }
        if order.len() < self.len() {
            self.check()?;
        }
        Ok(order)
    }

    fn at(&self, key: &K) -> Result<NodeIndex, GraphError> {
        self.index
            .get(key)
            .copied()
            .ok_or_else(|| GraphError::Unknown(key.to_string()))
    }

    fn neighbours(&self, key: &K, direction: Direction) -> Vec<&K> {
        let Some(&at) = self.index.get(key) else {
            return Vec::new();
        };
        let mut found: Vec<_> = self.inner.neighbors_directed(at, direction).collect();
        found.sort_unstable();
        found.into_iter().map(|at| &self.inner[at].key).collect()
    }

    fn expect(
        &self,
        at: NodeIndex,
        wanted: &'static str,
        holds: fn(&State<K>) -> bool,
    ) -> Result<(), GraphError> {
        let node = &self.inner[at];
        if holds(&node.state) {
            return Ok(());
        }
        Err(GraphError::WrongState {
            key: node.key.to_string(),
            found: node.state.name(),
            wanted,
        })
    }

    /// Brings a waiting or ready node in line with its predecessors; true when its state changed.
    fn settle(&mut self, at: NodeIndex) -> bool {
        let (mut total, mut done) = (0, 0);
        let mut lost: Vec<NodeIndex> = Vec::new();
        for before in self.inner.neighbors_directed(at, Direction::Incoming) {
            total += 1;
            match self.inner[before].state {
                State::Done => done += 1,
                State::Failed | State::NotRun { .. } => lost.push(before),
                _ => {}
            }
        }
        let wanted = match self.inner[at].need {
            Need::All => total,
            Need::AtLeast(count) => count.min(total),
            Need::Percent(share) if total > 0 => (total * usize::from(share)).div_ceil(100).max(1),
            Need::Percent(_) => 0,
            Need::Settled(count) => count.min(total),
        };
        let open = match self.inner[at].need {
            Need::Settled(_) => total - lost.len() - done,
            _ => 0,
        };
        let cause = match lost.iter().min() {
            Some(&before) if total - lost.len() < wanted => Some(match &self.inner[before].state {
                State::NotRun { because } => because.clone(),
                _ => self.inner[before].key.clone(),
            }),
            _ => None,
        };
        let new = match cause {
            Some(because) => State::NotRun { because },
            None if done >= wanted && open == 0 => State::Ready,
            None => State::Waiting,
        };
        if self.inner[at].state == new {
            return false;
        }
        match new {
            State::Ready => self.ready.insert(at),
            _ => self.ready.remove(&at),
        };
        if new.is_final() {
            self.open -= 1;
        }
        self.inner[at].state = new;
        true
    }
}

/// One line a node: its key, and what it waits for.
impl<K: Display, P> Display for Graph<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for at in self.inner.node_indices() {
            let node = &self.inner[at];
            write!(f, "{}", node.key)?;
            let mut before: Vec<_> = self
                .inner
                .neighbors_directed(at, Direction::Incoming)
                .collect();
            before.sort_unstable();
            let policy = match node.need {
                Need::All => String::new(),
                Need::AtLeast(count) => format!("{count} of "),
                Need::Percent(share) => format!("{share}% of "),
                Need::Settled(count) => format!("{count} of, all ended, "),
            };
            for (place, before) in before.into_iter().enumerate() {
                let key = &self.inner[before].key;
                match place {
                    0 => write!(f, " ← {policy}{key}")?,
                    _ => write!(f, ", {key}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl<K: Display, P> Debug for Graph<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
