//! Going in step, as plain Ansible content expects it: no node of a play's batch is more than one task ahead.
//!
//! Counted are the tasks that a node has come to, whether it ran or skipped them. The node that is furthest behind never
//! waits, so that somebody always goes on. A node that does not answer holds nobody: it comes after, if it comes.
use std::collections::{HashMap, HashSet};
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

#[derive(Default)]
struct Batch {
    /// Nodes that are still in the play, with the tasks that they have come to.
    at: Mutex<HashMap<String, usize>>,
    moved: Notify,
}

impl Pace {
    fn batch(&self, work: &Work) -> Arc<Batch> {
        let key = (work.play_number, Arc::as_ptr(&work.batch) as usize);
        let mut batches = lock(&self.batches);
        let batch = batches.entry(key).or_insert_with(|| {
            let at = work.batch.iter().map(|name| (name.clone(), 0)).collect();
            Arc::new(Batch {
                at: Mutex::new(at),
                moved: Notify::new(),
            })
        });
        batch.clone()
    }

    /// The node comes to its next task: waits until all others have come as far.
    pub async fn step(&self, work: &Work) {
        let batch = self.batch(work);
        let mine = {
            let mut at = lock(&batch.at);
            let Some(mine) = at.get_mut(&work.node) else {
                return;
            };
            *mine += 1;
            *mine
        };
        batch.moved.notify_waiters();
        loop {
            let moved = batch.moved.notified();
            tokio::pin!(moved);
            // Registered before looking: a move between the look and the wait is not missed.
            moved.as_mut().enable();
            if self.all_at(&batch, mine) {
                return;
            }
            moved.await;
        }
    }

    fn all_at(&self, batch: &Batch, step: usize) -> bool {
        let at = lock(&batch.at);
        let mut behind = at.iter().filter(|(_, at)| **at < step).peekable();
        // The usual answer is found without looking who is away.
        if behind.peek().is_none() {
            return true;
        }
        let away = lock(&self.away);
        behind.all(|(node, _)| away.contains(node))
    }

    /// The node stopped answering, or does so again.
    pub fn answers(&self, node: &str, answers: bool) {
        let moved = match answers {
            true => lock(&self.away).remove(node),
            false => lock(&self.away).insert(node.to_owned()),
        };
        if moved {
            for batch in lock(&self.batches).values() {
                batch.moved.notify_waiters();
            }
        }
    }

    /// The node is through with the play, or out of it.
    pub fn leave(&self, work: &Work) {
        let batch = self.batch(work);
        lock(&batch.at).remove(&work.node);
        batch.moved.notify_waiters();
    }
}
