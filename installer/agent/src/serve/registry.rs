//! All tasks that the daemon knows: running ones, and the results of ended ones.
//!
//! The one place where a task id is decided upon, so that no task runs twice at a time.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use agent_protocol::task::{FromAgent, Task, TaskId, TaskResult};
use modules::Effect;

use super::journal::{Entry, Journal, JournalError};

/// Results kept in memory for the next connection, beyond what the journal gave at the start.
const KEPT_MAX: usize = 50_000;

pub struct Registry {
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    journal: Journal,
    tasks: HashMap<TaskId, Known>,
    /// Ended tasks from oldest to newest, to forget the oldest.
    order: std::collections::VecDeque<TaskId>,
}

enum Known {
    Running(Arc<Running>),
    /// Started by a daemon that died.
    Abandoned,
    Done(TaskResult),
}

/// A running task's strings to the outside.
pub struct Running {
    pub cancel: AtomicBool,
    /// Who sees its output: the newest connection that asked for it.
    watcher: Mutex<Option<SyncSender<FromAgent>>>,
}

/// What is to be done with a task that a controller sent.
pub enum Decision {
    Run {
        running: Arc<Running>,
        after_interruption: bool,
    },
    Answer(FromAgent),
}

impl Registry {
    pub fn new(journal: Journal, entries: HashMap<TaskId, Entry>) -> Self {
        let mut order = std::collections::VecDeque::new();
        let tasks = entries
            .into_iter()
            .map(|(id, entry)| {
                order.push_back(id.clone());
                let known = match entry {
                    Entry::Started => Known::Abandoned,
                    Entry::Done(result) => Known::Done(result),
                };
                (id, known)
            })
            .collect();
        Registry {
            state: Mutex::new(State {
                journal,
                tasks,
                order,
            }),
            ended: Condvar::new(),
        }
    }

    /// Decides on a task; if another connection runs it, waits for its end.
    pub fn begin(
        &self,
        task: &Task,
        watcher: &SyncSender<FromAgent>,
    ) -> Result<Decision, JournalError> {
        let effect = modules::effect(task);
        let mut state = self.lock();
        let after_interruption = loop {
            match state.tasks.get(&task.id) {
                Some(Known::Done(result)) => {
                    return Ok(Decision::Answer(FromAgent::Done {
                        id: task.id.clone(),
                        result: result.clone(),
                    }));
                }
                Some(Known::Abandoned) if effect == Effect::Once && !task.check => {
                    return Ok(Decision::Answer(FromAgent::Interrupted {
                        id: task.id.clone(),
                    }));
                }
                Some(Known::Abandoned) => break true,
                None => break false,
                Some(Known::Running(running)) => {
                    *running
                        .watcher
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = Some(watcher.clone());
                    state = self
                        .ended
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        state.journal.started(&task.id, effect == Effect::Once)?;
        let running = Arc::new(Running {
            cancel: AtomicBool::new(false),
            watcher: Mutex::new(Some(watcher.clone())),
        });
        state
            .tasks
            .insert(task.id.clone(), Known::Running(running.clone()));
        Ok(Decision::Run {
            running,
            after_interruption,
        })
    }

    /// Records how a task ended. With `no_log` the journal only learns that it did, and whether it changed.
    pub fn end(&self, task: &Task, result: &TaskResult) -> Result<(), JournalError> {
        let effect = modules::effect(task);
        let censored = TaskResult {
            changed: result.changed,
            failed: result.failed,
            skipped: result.skipped,
            msg: "the result is hidden by no_log, and was lost with the connection".into(),
            ..TaskResult::default()
        };
        let written = if task.no_log { &censored } else { result };
        let mut state = self.lock();
        let recorded =
            state
                .journal
                .done(&task.id, written, result.changed || effect == Effect::Once);
        state
            .tasks
            .insert(task.id.clone(), Known::Done(result.clone()));
        state.order.push_back(task.id.clone());
        while state.order.len() > KEPT_MAX {
            let oldest = state.order.pop_front();
            // One that was begun anew stands in the order twice; a running one is kept.
            if let Some(id) =
                oldest.filter(|id| matches!(state.tasks.get(id), Some(Known::Done(_))))
            {
                state.tasks.remove(&id);
            }
        }
        drop(state);
        self.ended.notify_all();
        recorded
    }

    /// Stops a running task. Returns whether there was one.
    pub fn cancel(&self, id: &TaskId) -> bool {
        match self.lock().tasks.get(id) {
            Some(Known::Running(running)) => {
                running.cancel.store(true, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Waits until no task runs.
    pub fn wait_until_idle(&self) {
        let mut state = self.lock();
        while state
            .tasks
            .values()
            .any(|known| matches!(known, Known::Running(_)))
        {
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A thread that panicked left no half-made change: every change here is one insertion.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Passes output on if somebody listens and has room: output is a courtesy, results are not.
    pub fn output(&self, id: &TaskId, text: &str) {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = watcher.as_ref() {
            let _ = watcher.try_send(FromAgent::Output {
                id: id.clone(),
                text: text.to_owned(),
            });
        }
    }
}
