//! Rows of runs of the task engine: when each began and ended, on what, and how it came out.
//!
//! Deliberately not here: what a run does, and the reports' fields (they are kept as JSON).
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, QueryResult, TransactionTrait};
use serde_json::Value as Json;

use crate::store::statement;
use crate::{StateError, Store};

pub(crate) const SCHEMA: &[&str] = &["CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    playbook TEXT NOT NULL,
    check_mode INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    success INTEGER,
    report TEXT
)"];

const COLUMNS: &str = "id, playbook, check_mode, started_at, ended_at, success, report";

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    pub id: String,
    pub playbook: String,
    /// Nothing was changed: the run only said what it would do.
    pub check: bool,
    pub started_at: DateTime<Utc>,
    /// `None`: it goes on, or was interrupted.
    pub ended_at: Option<DateTime<Utc>>,
    pub success: Option<bool>,
    pub report: Option<Json>,
}

impl Store {
    /// Notes that a run begins; one that is continued keeps its first start.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_run(&self, id: &str, playbook: &str, check: bool) -> Result<(), StateError> {
        let sql = "INSERT INTO runs (id, playbook, check_mode, started_at) VALUES (?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET ended_at = NULL, success = NULL, report = NULL";
        let values = [
            id.into(),
            playbook.into(),
            check.into(),
            Utc::now().to_rfc3339().into(),
        ];
        self.connection()
            .execute_raw(statement(sql, values))
            .await
            .map_err(StateError::database("noting the begin of a run"))?;
        Ok(())
    }

    /// Notes how a run came out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_run(&self, id: &str, success: bool, report: &Json) -> Result<(), StateError> {
        let sql = "UPDATE runs SET ended_at = ?, success = ?, report = ? WHERE id = ?";
        let values = [
            Utc::now().to_rfc3339().into(),
            success.into(),
            report.to_string().into(),
            id.into(),
        ];
        self.connection()
            .execute_raw(statement(sql, values))
            .await
            .map_err(StateError::database("noting the end of a run"))?;
        Ok(())
    }

    /// Runs, the newest first: at most `most`, beyond the first `skip`.
    ///
    /// # Errors
    /// When the database does not answer or a row is not understood.
    pub async fn runs(&self, skip: u32, most: u32) -> Result<Vec<RunRecord>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM runs ORDER BY started_at DESC, id DESC LIMIT ? OFFSET ?"
        );
        let rows = self
            .connection()
            .query_all_raw(statement(&sql, [most.into(), skip.into()]))
            .await
            .map_err(StateError::database("listing runs"))?;
        rows.iter().map(record).collect()
    }

    /// One run.
    ///
    /// # Errors
    /// When the database does not answer or the row is not understood.
    pub async fn run(&self, id: &str) -> Result<Option<RunRecord>, StateError> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE id = ?");
        let row = self
            .connection()
            .query_one_raw(statement(&sql, [id.into()]))
            .await
            .map_err(StateError::database("reading a run"))?;
        row.as_ref().map(record).transpose()
    }

    /// Forgets all runs but the newest `keep`, with what their tasks gave. The ids of those that were forgotten.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn forget_runs(&self, keep: u32) -> Result<Vec<String>, StateError> {
        let doing = "forgetting old runs";
        let transaction = self
            .connection()
            .begin()
            .await
            .map_err(StateError::database(doing))?;
        let sql = "SELECT id FROM runs ORDER BY started_at DESC, id DESC LIMIT -1 OFFSET ?";
        let rows = transaction
            .query_all_raw(statement(sql, [keep.into()]))
            .await
            .map_err(StateError::database(doing))?;
        let mut forgotten = Vec::new();
        for row in rows {
            let id: String = row.try_get("", "id").map_err(StateError::database(doing))?;
            for sql in [
                "DELETE FROM journal WHERE run = ?",
                "DELETE FROM runs WHERE id = ?",
            ] {
                transaction
                    .execute_raw(statement(sql, [id.clone().into()]))
                    .await
                    .map_err(StateError::database(doing))?;
            }
            forgotten.push(id);
        }
        transaction
            .commit()
            .await
            .map_err(StateError::database(doing))?;
        Ok(forgotten)
    }

    /// The newest run of this playbook, if it was not ended and changed things: the one to continue.
    ///
    /// # Errors
    /// When the database does not answer or the row is not understood.
    pub async fn interrupted_run(&self, playbook: &str) -> Result<Option<RunRecord>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE playbook = ? AND check_mode = 0 ORDER BY started_at DESC, id DESC LIMIT 1"
        );
        let row = self
            .connection()
            .query_one_raw(statement(&sql, [playbook.into()]))
            .await
            .map_err(StateError::database("looking for an interrupted run"))?;
        let newest = row.as_ref().map(record).transpose()?;
        Ok(newest.filter(|run| run.ended_at.is_none()))
    }
}

fn record(row: &QueryResult) -> Result<RunRecord, StateError> {
    let database = StateError::database;
    let doing = "reading a run";
    let id: String = row.try_get("", "id").map_err(database(doing))?;
    let time = |text: String| {
        DateTime::parse_from_rfc3339(&text)
            .map(|time| time.with_timezone(&Utc))
            .map_err(|error| StateError::BadRow {
                node: id.clone(),
                reason: format!("time '{text}': {error}"),
            })
    };
    let ended: Option<String> = row.try_get("", "ended_at").map_err(database(doing))?;
    let report: Option<String> = row.try_get("", "report").map_err(database(doing))?;
    Ok(RunRecord {
        playbook: row.try_get("", "playbook").map_err(database(doing))?,
        check: row.try_get("", "check_mode").map_err(database(doing))?,
        started_at: time(row.try_get("", "started_at").map_err(database(doing))?)?,
        ended_at: ended.map(time).transpose()?,
        success: row.try_get("", "success").map_err(database(doing))?,
        report: report
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|source| StateError::Json {
                what: "report of a run",
                source,
            })?,
        id,
    })
}

#[cfg(test)]
mod tests {
    use crate::store::scratch;

    #[tokio::test]
    async fn a_run_that_was_not_ended_is_the_one_to_continue() {
        let (_scratch, store) = scratch().await;
        store
            .begin_run("r1", "roles/site.yml", false)
            .await
            .unwrap();
        store.begin_run("r0", "roles/site.yml", true).await.unwrap();
        assert_eq!(
            store
                .interrupted_run("roles/site.yml")
                .await
                .unwrap()
                .unwrap()
                .id,
            "r1"
        );
        assert_eq!(store.interrupted_run("other.yml").await.unwrap(), None);
        store
            .end_run("r1", true, &serde_json::json!({"changed": 3}))
            .await
            .unwrap();
        assert_eq!(store.interrupted_run("roles/site.yml").await.unwrap(), None);
        let runs = store.runs(0, 10).await.unwrap();
        assert_eq!(runs.len(), 2);
        assert_eq!(store.runs(1, 10).await.unwrap(), runs[1..]);
        assert_eq!(store.run("r1").await.unwrap().unwrap().id, "r1");
        assert_eq!(store.run("r9").await.unwrap(), None);
        let ended = runs.iter().find(|run| run.id == "r1").unwrap();
        assert_eq!(
            (ended.success, ended.report.clone()),
            (Some(true), Some(serde_json::json!({"changed": 3})))
        );
        store
            .begin_run("r1", "roles/site.yml", false)
            .await
            .unwrap();
        assert_eq!(
            store
                .interrupted_run("roles/site.yml")
                .await
                .unwrap()
                .unwrap()
                .id,
            "r1"
        );
        let oldest = runs[1].id.clone();
        assert_eq!(
            store.forget_runs(1).await.unwrap(),
            std::slice::from_ref(&oldest)
        );
        assert_eq!(store.run(&oldest).await.unwrap(), None);
        assert!(store.forget_runs(1).await.unwrap().is_empty());
    }
}
