//! What identity remembers of valid tokens, so that it need not look everything up each time.
//!
//! An answer is good as long as nothing was changed since it was found. Changes are counted in the database by whoever made them,
//! before their callers get an answer, and the count is read for each validation: so what one controller has answered holds on all.
//! Validations that wait at the same time share one reading. It does not know what an answer depends on.

use super::payload::Payload;
use crate::store::changes;
use axum::body::Bytes;
use openstack_types::Token;
use sea_orm::{DatabaseConnection, DbErr};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Mutex as AsyncMutex;

/// Longest life of an answer: for changes by somebody who does not count them, such as an operator's own SQL, or a
/// controller that died between a change and its count.
const LIFE: Duration = Duration::from_secs(5);
/// So many answers are kept.
const CAPACITY: usize = 20_000;

/// A valid token.
pub struct Known {
    pub payload: Payload,
    pub token: Arc<Token>,
    /// As it is sent.
    json: OnceLock<Bytes>,
}

impl Known {
    /// A token that was found to be valid.
    pub fn new(payload: Payload, token: Token) -> Self {
        Known {
            payload,
            token: Arc::new(token),
            json: OnceLock::new(),
        }
    }

    /// `{"token": {...}}`
    pub fn json(&self) -> Bytes {
        let envelope = Envelope { token: &self.token };
        let print = || serde_json::to_vec(&envelope).unwrap_or_default().into();
        self.json.get_or_init(print).clone()
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    token: &'a Token,
}

struct Answer {
    changes: i64,
    since: Instant,
    known: Arc<Known>,
}

/// Id of a token, and whether the answer has a catalogue.
type Key = ([u8; 16], bool);

/// The memory of one process.
pub struct Memory {
    /// This controller's name in the table of changes.
    writer: String,
    /// Statements of this process that change something.
    written: Arc<AtomicU64>,
    /// Who wants to know the count: each takes a number.
    asked: AtomicU64,
    read: AsyncMutex<Reading>,
    answers: Mutex<HashMap<Key, Answer>>,
}

/// The latest reading of the count.
#[derive(Default)]
struct Reading {
    /// It began after these had asked.
    for_asked: u64,
    count: i64,
}

impl Memory {
    /// An empty one for the controller of this name. It looks at all that goes through `db`.
    pub fn new(db: &mut DatabaseConnection, writer: &str) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&written);
        db.set_metric_callback(move |done| {
            if !is_reading(&done.statement.sql) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Memory {
            writer: writer.to_owned(),
            written,
            asked: AtomicU64::new(0),
            read: AsyncMutex::default(),
            answers: Mutex::default(),
        }
    }

    /// How many statements have changed something so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Counts a change for everybody. What cannot be counted is forgotten here at once, and elsewhere after [`LIFE`].
    pub async fn tell(&self, db: &DatabaseConnection) {
        if let Err(error) = changes::add(db, &self.writer).await {
            tracing::error!(%error, "a change cannot be counted: other controllers see it some seconds later");
            self.answers().clear();
        }
    }

    /// The count of changes, read after this call.
    pub async fn changes(&self, db: &DatabaseConnection) -> Result<i64, DbErr> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut read = self.read.lock().await;
        if read.for_asked < mine {
            let so_far = self.asked.load(Ordering::SeqCst);
            let count = changes::sum(db).await?;
            *read = Reading {
                for_asked: so_far,
                count,
            };
        }
        Ok(read.count)
    }

    /// What is known of a token, if nothing was changed since.
    pub fn recall(&self, payload: &Payload, catalog: bool, changes: i64) -> Option<Arc<Known>> {
        let key = (*payload.audit_ids.first()?, catalog);
        let answers = self.answers();
        let answer = answers.get(&key)?;
        let good = answer.changes == changes && answer.since.elapsed() < LIFE;
        (good && answer.known.payload == *payload).then(|| Arc::clone(&answer.known))
    }

    /// Keeps what was found after `changes` were read.
    pub fn keep(&self, known: &Arc<Known>, catalog: bool, changes: i64) {
        let Some(id) = known.payload.audit_ids.first() else {
            return;
        };
        let mut answers = self.answers();
        if answers.len() >= CAPACITY {
            answers.retain(|_, answer| answer.changes == changes && answer.since.elapsed() < LIFE);
        }
        if answers.len() < CAPACITY {
            let answer = Answer {
                changes,
                since: Instant::now(),
                known: Arc::clone(known),
            };
            answers.insert((*id, catalog), answer);
        }
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a statement changes nothing. What is not known does.
fn is_reading(sql: &str) -> bool {
    let first = sql.trim_start().get(..6).unwrap_or_default();
    first.eq_ignore_ascii_case("select")
}
