//! Going in step, as plain Ansible content expects it: no node of a play's batch is more than one task ahead.
//!
//! Counted are the tasks that a node has come to, whether it ran or skipped them. The node that is furthest behind never
//! waits, so that somebody always goes on. A node that does not answer holds nobody: it comes after, if it comes.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::node::lock;
use crate::plan::Work;

/// Where the nodes of all plays are.
#[derive(Default)]
pub(crate) struct Pace {
    /// By the batch: its nodes are the same list in all its units.
    batches: Mutex<HashMap<(usize, usize), Arc<Batch>>>,
    /// Nodes that do not answer at present.
    away: Mutex<HashSet<String>>,
}

struct Batch {
    places: Mutex<Places>,
    /// Those that are furthest behind have gone on.
    moved: Notify,
}

/// Where the nodes of a batch are that are still in the play.
#[derive(Default)]
struct Places {
    /// How many tasks each has come to.
    at: HashMap<String, usize>,
    away: HashSet<String>,
    /// How many nodes are at each number of tasks, without those that are away: the first is what all wait for.
    crowd: BTreeMap<usize, usize>,
}

impl Places {
    fn lowest(&self) -> Option<usize> {
        self.crowd.first_key_value().map(|(step, _)| *step)
    }

    fn enter(&mut self, step: usize) {
        *self.crowd.entry(step).or_default() += 1;
    }

    fn exit(&mut self, step: usize) {
        if let Some(count) = self.crowd.get_mut(&step) {
            *count -= 1;
            if *count == 0 {
                self.crowd.remove(&step);
            }
        }
    }

    /// One task further; how many that makes.
    fn step(&mut self, node: &str) -> Option<usize> {
        let at = self.at.get_mut(node)?;
        *at += 1;
        let now = *at;
        if !self.away.contains(node) {
            self.enter(now);
            self.exit(now - 1);
        }
        Some(now)
    }

    fn answers(&mut self, node: &str, answers: bool) {
        let Some(&at) = self.at.get(node) else {
            return;
        };
        match answers {
            true if self.away.remove(node) => self.enter(at),
            false if self.away.insert(node.to_owned()) => self.exit(at),
            _ => {}
        }
    }

    fn leave(&mut self, node: &str) {
        if let Some(at) = self.at.remove(node)
            && !self.away.remove(node)
        {
            self.exit(at);
        }
    }
}

impl Batch {
    /// Changes places, and wakes those who wait if that lets any go on.
    fn change<T>(&self, change: impl FnOnce(&mut Places) -> T) -> T {
        let mut places = lock(&self.places);
        let before = places.lowest();
        let out = change(&mut places);
        if places.lowest() != before {
            self.moved.notify_waiters();
        }
        out
    }
}

impl Pace {
    fn batch(&self, work: &Work) -> Arc<Batch> {
        let key = (work.play_number, Arc::as_ptr(&work.batch) as usize);
        let mut batches = lock(&self.batches);
        let batch = batches.entry(key).or_insert_with(|| {
            let away = lock(&self.away);
            let mut places = Places::default();
            for node in work.batch.iter() {
                places.at.insert(node.clone(), 0);
                match away.contains(node) {
                    true => _ = places.away.insert(node.clone()),
                    false => places.enter(0),
                }
            }
            Arc::new(Batch {
                places: Mutex::new(places),
                moved: Notify::new(),
            })
        });
        batch.clone()
    }

    /// The node comes to its next task: waits until all others have come as far.
    pub async fn step(&self, work: &Work) {
        let batch = self.batch(work);
        let Some(mine) = batch.change(|places| places.step(&work.node)) else {
            return;
        };
        loop {
            let moved = batch.moved.notified();
            tokio::pin!(moved);
            // Registered before looking: a move between the look and the wait is not missed.
            moved.as_mut().enable();
            if lock(&batch.places).lowest().is_none_or(|step| step >= mine) {
                return;
            }
            moved.await;
        }
    }

    /// The node stopped answering, or does so again.
    pub fn answers(&self, node: &str, answers: bool) {
        let news = match answers {
            true => lock(&self.away).remove(node),
            false => lock(&self.away).insert(node.to_owned()),
        };
        if news {
            for batch in lock(&self.batches).values() {
                batch.change(|places| places.answers(node, answers));
            }
        }
    }

    /// The node is through with the play, or out of it.
    pub fn leave(&self, work: &Work) {
        self.batch(work).change(|places| places.leave(&work.node));
    }
}
