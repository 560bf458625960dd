//! The journal of a run: what a killed run continues from.
//!
//! The engine does not wait for it to be on disk: the agent's own journal is the one that prevents that a task is
//! done twice. An entry lost here costs a question to the agent, which then answers from its journal.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use agent_protocol::task::TaskResult;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tokio::sync::{mpsc, oneshot};

/// A task's id, `<run>/<node>/<task>/<item>`, in which `<task>` holds a hash of the resolved arguments: a task whose
/// arguments have changed since is another task.
pub type Id = String;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub id: Id,
    pub node: String,
    pub role: String,
    pub title: String,
    pub step: Step,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Started,
    /// `result` is absent where the task says `no_log`.
    Ended {
        failed: bool,
        changed: bool,
        result: Option<TaskResult>,
        /// False: something in the result was hidden, so that it is good for reading only.
        whole: bool,
    },
    /// What `failed_when`, `changed_when` or `until` made of a result that is noted.
    Judged {
        failed: bool,
        changed: bool,
    },
}

/// Names of handlers, by node.
pub type Owed = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug, thiserror::Error)]
#[error("the journal of the run failed: {0}")]
pub struct JournalError(pub String);

#[async_trait]
pub trait Journal: Send + Sync {
    /// Results of tasks that this run has already ended well, by id.
    async fn finished(&self, run: &str) -> Result<HashMap<Id, TaskResult>, JournalError>;
    /// Notes an entry; returns before it is on disk.
    async fn note(&self, run: &str, entry: Entry) -> Result<(), JournalError>;
    /// Keeps what a node has said of itself, for runs that do not ask it.
    async fn note_facts(&self, node: &str, facts: &Map<String, Json>) -> Result<(), JournalError>;
    /// Handlers that earlier runs notified and did not come to run, by node.
    async fn owed(&self) -> Result<Owed, JournalError>;
    /// On each of these nodes the handlers are owed from now on, and no others there; returns when that is on disk.
    async fn note_owed(&self, owed: Owed) -> Result<(), JournalError>;
    /// Returns when everything noted is on disk.
    async fn flush(&self) -> Result<(), JournalError>;
}

/// In memory only: for tests, and for runs that nobody wants to resume.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    entries: Mutex<Vec<(String, Entry)>>,
    facts: Mutex<BTreeMap<String, Map<String, Json>>>,
    owed: Mutex<Owed>,
}

impl MemoryJournal {
    pub fn entries(&self) -> Vec<Entry> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// The newest facts of each node.
    pub fn facts(&self) -> BTreeMap<String, Map<String, Json>> {
        self.facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn finished(&self, run: &str) -> Result<HashMap<Id, TaskResult>, JournalError> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let ended =
            entries
                .iter()
                .filter(|(of, _)| of == run)
                .filter_map(|(_, entry)| match &entry.step {
                    Step::Ended {
                        failed: false,
                        result: Some(result),
                        whole: true,
                        ..
                    } => Some((entry.id.clone(), result.clone())),
                    _ => None,
                });
        Ok(ended.collect())
    }

    async fn note(&self, run: &str, entry: Entry) -> Result<(), JournalError> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((run.to_owned(), entry));
        Ok(())
    }

    async fn note_facts(&self, node: &str, facts: &Map<String, Json>) -> Result<(), JournalError> {
        self.facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node.to_owned(), facts.clone());
        Ok(())
    }

    async fn owed(&self) -> Result<Owed, JournalError> {
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(owed.clone())
    }

    async fn note_owed(&self, owed: Owed) -> Result<(), JournalError> {
        let mut all = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(owed);
        Ok(())
    }

    async fn flush(&self) -> Result<(), JournalError> {
        Ok(())
    }
}

/// In the environment's `state.db`. Notes are gathered and written in one transaction each time the disk is free, so
/// that a task does not wait for it.
pub struct StateJournal {
    store: state::Store,
    facts_only: bool,
    notes: mpsc::Sender<Message>,
}

enum Message {
    Note(state::journal::JournalNote),
    Facts(String, String),
    Flush(oneshot::Sender<Result<(), JournalError>>),
}

/// A longer result is kept only in part; a run that is continued asks the node's agent for the whole.
const RESULT_BYTES_MAX: usize = 1 << 20;

/// The long texts of a result, each cut to what one can read.
fn shortened(text: &str) -> String {
    const KEPT: usize = 64 << 10;
    fn cut(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) if text.len() > KEPT => {
                let end = (0..=KEPT).rev().find(|&at| text.is_char_boundary(at));
                let bytes = text.len();
                text.truncate(end.unwrap_or(0));
                text.push_str(&format!("… ({bytes} bytes)"));
            }
            serde_json::Value::Array(items) => {
                items.truncate(1000);
                items.iter_mut().for_each(cut);
            }
            serde_json::Value::Object(map) => map.values_mut().for_each(cut),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap_or_default();
    cut(&mut value);
    let short = value.to_string();
    match short.len() > RESULT_BYTES_MAX {
        true => serde_json::json!({"msg": "the result is too long to be kept"}).to_string(),
        false => short,
    }
}

/// Notes that wait for the disk; when there are more, tasks wait too.
const NOTES_MAX: usize = 1024;

impl StateJournal {
    pub fn new(store: state::Store) -> Self {
        let (notes, inbox) = mpsc::channel(NOTES_MAX);
        tokio::spawn(write_notes(store.clone(), inbox));
        StateJournal {
            store,
            facts_only: false,
            notes,
        }
    }

    /// Keeps facts and nothing else: for runs that change nothing, of which there is nothing to continue.
    pub fn of_facts_only(store: state::Store) -> Self {
        StateJournal {
            facts_only: true,
            ..StateJournal::new(store)
        }
    }
}

async fn write_notes(store: state::Store, mut inbox: mpsc::Receiver<Message>) {
    let mut messages = Vec::new();
    let mut failure: Option<String> = None;
    while inbox.recv_many(&mut messages, NOTES_MAX).await > 0 {
        let (mut notes, mut waiting) = (Vec::new(), Vec::new());
        let mut facts = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Note(note) => notes.push(note),
                Message::Facts(node, text) => facts.push((node, text)),
                Message::Flush(answer) => waiting.push(answer),
            }
        }
        if !facts.is_empty()
            && let Err(error) = store.keep_facts(&facts).await
        {
            tracing::error!(%error, "facts cannot be kept");
        }
        if !notes.is_empty()
            && let Err(error) = store.note_journal(&notes).await
        {
            tracing::error!(%error, notes = notes.len(), "the journal of the run cannot be written");
            failure = Some(error.to_string());
        }
        for answer in waiting {
            let _ = answer.send(
                failure
                    .clone()
                    .map_or(Ok(()), |error| Err(JournalError(error))),
            );
        }
    }
}

#[async_trait]
impl Journal for StateJournal {
    async fn finished(&self, run: &str) -> Result<HashMap<Id, TaskResult>, JournalError> {
        if self.facts_only {
            return Ok(HashMap::new());
        }
        let rows = self
            .store
            .journal_of(run)
            .await
            .map_err(|error| JournalError(error.to_string()))?;
        let ended = rows
            .into_iter()
            .filter(|row| row.whole && row.ended_at.is_some() && row.failed == Some(false));
        Ok(ended
            .filter_map(|row| Some((row.id, serde_json::from_str(&row.result?).ok()?)))
            .collect())
    }

    async fn note(&self, run: &str, entry: Entry) -> Result<(), JournalError> {
        if self.facts_only {
            return Ok(());
        }
        let step = match entry.step {
            Step::Started => state::journal::JournalStep::Started,
            Step::Judged { failed, changed } => {
                state::journal::JournalStep::Judged { failed, changed }
            }
            Step::Ended {
                failed,
                changed,
                result,
                whole,
            } => {
                let result = result.and_then(|result| serde_json::to_string(&result).ok());
                let (result, cut) = match result {
                    Some(text) if text.len() > RESULT_BYTES_MAX => (Some(shortened(&text)), true),
                    other => (other, false),
                };
                state::journal::JournalStep::Ended {
                    failed,
                    changed,
                    result,
                    whole: whole && !cut,
                }
            }
        };
        let (id, node, role, title) = (entry.id, entry.node, entry.role, entry.title);
        let note = state::journal::JournalNote {
            run: run.to_owned(),
            id,
            node,
            role,
            title,
            step,
        };
        let gone = |_| JournalError("its writer has ended".to_owned());
        self.notes.send(Message::Note(note)).await.map_err(gone)
    }

    async fn note_facts(&self, node: &str, facts: &Map<String, Json>) -> Result<(), JournalError> {
        let text = serde_json::to_string(facts).map_err(|error| JournalError(error.to_string()))?;
        let gone = |_| JournalError("its writer has ended".to_owned());
        let message = Message::Facts(node.to_owned(), text);
        self.notes.send(message).await.map_err(gone)
    }

    async fn owed(&self) -> Result<Owed, JournalError> {
        let owed = self.store.owed_handlers().await;
        owed.map_err(|error| JournalError(error.to_string()))
    }

    async fn note_owed(&self, owed: Owed) -> Result<(), JournalError> {
        let kept = self.store.owe_handlers(&owed).await;
        kept.map_err(|error| JournalError(error.to_string()))
    }

    async fn flush(&self) -> Result<(), JournalError> {
        let gone = || JournalError("its writer has ended".to_owned());
        let (answer, done) = oneshot::channel();
        self.notes
            .send(Message::Flush(answer))
            .await
            .map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}
