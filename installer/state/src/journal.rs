//! Rows of the task engine's journal: each task's start, end, change and output.
//!
//! Deliberately not here: what a task is, and what is secret; whoever writes leaves secrets out.
use chrono::Utc;
use sea_orm::{ConnectionTrait, QueryResult, TransactionTrait};

use crate::store::statement;
use crate::{StateError, Store};

pub(crate) const SCHEMA: &[&str] = &[
    "CREATE TABLE journal (
    run TEXT NOT NULL,
    id TEXT NOT NULL,
    node TEXT NOT NULL,
    role TEXT NOT NULL,
    title TEXT NOT NULL,
    started_at TEXT,
    ended_at TEXT,
    failed INTEGER,
    changed INTEGER,
    result TEXT,
    PRIMARY KEY (run, id)
) WITHOUT ROWID",
    "CREATE INDEX journal_of_node ON journal (node, started_at)",
];

/// Whether the result is all that the task gave: else it is good for reading only.
pub(crate) const SCHEMA_WHOLE: &[&str] =
    &["ALTER TABLE journal ADD COLUMN whole INTEGER NOT NULL DEFAULT 1"];

/// One task of a run, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalRecord {
    pub id: String,
    pub node: String,
    pub role: String,
    pub title: String,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    pub failed: Option<bool>,
    pub changed: Option<bool>,
    /// The result as JSON; absent where it is secret, and in lists.
    pub result: Option<String>,
    /// False: a part of the result was left out, because it is secret or too long.
    pub whole: bool,
}

/// Which tasks of a run are wanted.
#[derive(Debug, Clone, Default)]
pub struct JournalFilter {
    pub node: Option<String>,
    /// Only those that failed.
    pub failed: bool,
    /// Only those that changed something.
    pub changed: bool,
}

/// One thing to note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalNote {
    pub run: String,
    pub id: String,
    pub node: String,
    pub role: String,
    pub title: String,
    pub step: JournalStep,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalStep {
    Started,
    Ended {
        failed: bool,
        changed: bool,
        result: Option<String>,
        whole: bool,
    },
    /// Another verdict on a task that has ended; its result stays.
    Judged {
        failed: bool,
        changed: bool,
    },
}

impl Store {
    /// Writes notes in one transaction: all or none is on disk when it returns.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note_journal(&self, notes: &[JournalNote]) -> Result<(), StateError> {
        let doing = "writing the journal";
        let transaction = self
            .connection()
            .begin()
            .await
            .map_err(StateError::database(doing))?;
        for note in notes {
            let now = Utc::now().to_rfc3339();
            let (id, run) = (note.id.clone(), note.run.clone());
            let (node, role, title) = (note.node.clone(), note.role.clone(), note.title.clone());
            let row = match &note.step {
                JournalStep::Started => statement(
                    "INSERT INTO journal (run, id, node, role, title, started_at) VALUES (?, ?, ?, ?, ?, ?)
                     ON CONFLICT (run, id) DO UPDATE SET started_at = excluded.started_at, ended_at = NULL",
                    [run.into(), id.into(), node.into(), role.into(), title.into(), now.into()],
                ),
                JournalStep::Ended { failed, changed, result, whole } => statement(
                    "INSERT INTO journal (run, id, node, role, title, started_at, ended_at, failed, changed, result, whole)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                     ON CONFLICT (run, id) DO UPDATE SET ended_at = excluded.ended_at, failed = excluded.failed,
                         changed = excluded.changed, result = excluded.result, whole = excluded.whole",
                    [
                        run.into(),
                        id.into(),
                        node.into(),
                        role.into(),
                        title.into(),
                        now.clone().into(),
                        now.into(),
                        (*failed).into(),
                        (*changed).into(),
                        result.clone().into(),
                        (*whole).into(),
                    ],
                ),
                JournalStep::Judged { failed, changed } => statement(
                    "UPDATE journal SET failed = ?, changed = ? WHERE run = ? AND id = ?",
                    [(*failed).into(), (*changed).into(), run.into(), id.into()],
                ),
            };
            transaction
                .execute_raw(row)
                .await
                .map_err(StateError::database(doing))?;
        }
        transaction
            .commit()
            .await
            .map_err(StateError::database(doing))
    }

    /// All tasks of a run, in the order in which they began.
    ///
    /// # Errors
    /// When the database does not answer or a row is not understood.
    pub async fn journal_of(&self, run: &str) -> Result<Vec<JournalRecord>, StateError> {
        let sql = "SELECT id, node, role, title, started_at, ended_at, failed, changed, result, whole FROM journal
            WHERE run = ? ORDER BY started_at, id";
        let rows = self
            .connection()
            .query_all_raw(statement(sql, [run.into()]))
            .await
            .map_err(StateError::database("reading the journal"))?;
        rows.iter().map(record).collect()
    }

    /// Tasks of a run without their results, in the order in which they began: at most `most`, beyond the first `skip`.
    ///
    /// # Errors
    /// When the database does not answer or a row is not understood.
    pub async fn journal_list(
        &self,
        run: &str,
        filter: &JournalFilter,
        skip: u64,
        most: u64,
    ) -> Result<Vec<JournalRecord>, StateError> {
        let sql = "SELECT id, node, role, title, started_at, ended_at, failed, changed, NULL AS result, whole
            FROM journal WHERE run = ?1 AND (?2 IS NULL OR node = ?2) AND (?3 = 0 OR failed = 1)
            AND (?4 = 0 OR changed = 1) ORDER BY coalesce(started_at, ended_at), id LIMIT ?5 OFFSET ?6";
        let values = [
            run.into(),
            filter.node.clone().into(),
            filter.failed.into(),
            filter.changed.into(),
            i64::try_from(most).unwrap_or(i64::MAX).into(),
            i64::try_from(skip).unwrap_or(i64::MAX).into(),
        ];
        let rows = self
            .connection()
            .query_all_raw(statement(sql, values))
            .await
            .map_err(StateError::database("listing the journal"))?;
        rows.iter().map(record).collect()
    }

    /// The tasks of a run whose id begins with `id`, with their results; at most `most`.
    ///
    /// # Errors
    /// When the database does not answer or a row is not understood.
    pub async fn journal_tasks(
        &self,
        run: &str,
        id: &str,
        most: u32,
    ) -> Result<Vec<JournalRecord>, StateError> {
        let sql = "SELECT id, node, role, title, started_at, ended_at, failed, changed, result, whole FROM journal
            WHERE run = ?1 AND substr(id, 1, length(?2)) = ?2 ORDER BY id LIMIT ?3";
        let rows = self
            .connection()
            .query_all_raw(statement(sql, [run.into(), id.into(), most.into()]))
            .await
            .map_err(StateError::database("reading the journal"))?;
        rows.iter().map(record).collect()
    }
}

fn record(row: &QueryResult) -> Result<JournalRecord, StateError> {
    let doing = "reading the journal";
    let text = |column: &str| {
        row.try_get::<String>("", column)
            .map_err(StateError::database(doing))
    };
    let maybe = |column: &str| {
        row.try_get::<Option<String>>("", column)
            .map_err(StateError::database(doing))
    };
    let flag = |column: &str| {
        row.try_get::<Option<bool>>("", column)
            .map_err(StateError::database(doing))
    };
    Ok(JournalRecord {
        id: text("id")?,
        node: text("node")?,
        role: text("role")?,
        title: text("title")?,
        started_at: maybe("started_at")?,
        ended_at: maybe("ended_at")?,
        failed: flag("failed")?,
        changed: flag("changed")?,
        result: maybe("result")?,
        whole: row
            .try_get("", "whole")
            .map_err(StateError::database(doing))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[tokio::test]
    async fn notes_of_a_task_become_one_row() {
        let (_scratch, store) = scratch().await;
        let note = |id: &str, step: JournalStep| JournalNote {
            run: "r".into(),
            id: id.into(),
            node: "node-1".into(),
            role: "web".into(),
            title: "Do".into(),
            step,
        };
        let ended = JournalStep::Ended {
            failed: false,
            changed: true,
            result: Some("{}".into()),
            whole: true,
        };
        store
            .note_journal(&[
                note("a", JournalStep::Started),
                note("b", JournalStep::Started),
                note("a", ended.clone()),
                // What no agent was asked has an end alone.
                note("c", ended),
                note(
                    "c",
                    JournalStep::Judged {
                        failed: true,
                        changed: false,
                    },
                ),
            ])
            .await
            .unwrap();
        let rows = store.journal_of("r").await.unwrap();
        assert_eq!(rows.len(), 3);
        let row = rows.iter().find(|row| row.id == "a").unwrap();
        assert_eq!(
            (row.failed, row.changed, row.result.as_deref()),
            (Some(false), Some(true), Some("{}"))
        );
        assert!(row.started_at.is_some() && row.ended_at.is_some());
        assert_eq!(
            rows.iter().find(|row| row.id == "b").unwrap().ended_at,
            None
        );
        let judged = rows.iter().find(|row| row.id == "c").unwrap();
        assert_eq!(
            (judged.failed, judged.changed, judged.result.as_deref()),
            (Some(true), Some(false), Some("{}"))
        );
        assert!(judged.started_at.is_some());
        assert!(store.journal_of("other").await.unwrap().is_empty());
        let list = |filter: JournalFilter, skip: u64| {
            let store = store.clone();
            async move {
                let rows = store.journal_list("r", &filter, skip, 10).await.unwrap();
                rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
            }
        };
        assert_eq!(list(JournalFilter::default(), 0).await.len(), 3);
        assert_eq!(list(JournalFilter::default(), 1).await.len(), 2);
        let changed = JournalFilter {
            changed: true,
            node: Some("node-1".to_owned()),
            ..JournalFilter::default()
        };
        assert_eq!(list(changed, 0).await, ["a"]);
        let elsewhere = JournalFilter {
            node: Some("node-2".to_owned()),
            ..JournalFilter::default()
        };
        assert!(list(elsewhere, 0).await.is_empty());
        let found = store.journal_tasks("r", "a", 2).await.unwrap();
        assert_eq!(found[0].result.as_deref(), Some("{}"));
    }
}
