//! `state.db`: opening it, its schema, the generation counter.
//!
//! SQLite in WAL mode with `synchronous=FULL`: what a call has returned from survives a power cut. One
//! connection, so writers of one process queue in the pool; another process waits up to [`BUSY`].
//!
//! Deliberately not here: the rows themselves; each table's file has its own statements.
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};

use crate::{EnvironmentFolder, StateError, facts, journal, nodes, owed, runs};

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);

/// Applied in order, each in one transaction; `PRAGMA user_version` counts those applied. Released entries
/// never change: a later schema is a further entry.
const MIGRATIONS: &[&[&str]] = &[
    &[
        "CREATE TABLE environment (id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL)",
        "INSERT INTO environment (id, generation) VALUES (1, 0)",
        "CREATE TABLE allocations (version INTEGER PRIMARY KEY, document TEXT NOT NULL, created_at TEXT NOT NULL)",
    ],
    nodes::SCHEMA,
    runs::SCHEMA,
    journal::SCHEMA,
    facts::SCHEMA,
    journal::SCHEMA_WHOLE,
    owed::SCHEMA,
    nodes::SCHEMA_JOINED,
];

/// An open `state.db`. Cheap to clone: clones share the connection.
#[derive(Debug, Clone)]
pub struct Store {
    connection: DatabaseConnection,
}

impl Store {
    /// Opens the environment's database, making it when it is not there and bringing its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or was written by a newer version.
    pub async fn open(folder: &EnvironmentFolder) -> Result<Self, StateError> {
        let path = folder.database();
        // Made here and not by SQLite, so that it is never open to others; WAL files take over its mode.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(StateError::file(&path))?;
        let file = path.clone();
        let mut options = ConnectOptions::new("sqlite::memory:");
        options
            .max_connections(1)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(move |options| {
                options
                    .in_memory(false)
                    .shared_cache(false)
                    .filename(&file)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(BUSY)
            });
        let connection = Database::connect(options)
            .await
            .map_err(StateError::database("opening"))?;
        let store = Self { connection };
        store.migrate(folder).await?;
        Ok(store)
    }

    /// For the statements of other tables.
    #[must_use]
    pub fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Counts changes of what plans are made from; a plan made at another generation is stale.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn generation(&self) -> Result<i64, StateError> {
        let doing = "reading the generation";
        let row = self
            .query_one(doing, "SELECT generation FROM environment WHERE id = 1", [])
            .await?;
        row.try_get("", "generation")
            .map_err(StateError::database(doing))
    }

    /// Adds one to the generation and returns the new value.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn bump_generation(&self) -> Result<i64, StateError> {
        let doing = "counting the generation";
        let sql =
            "UPDATE environment SET generation = generation + 1 WHERE id = 1 RETURNING generation";
        let row = self.query_one(doing, sql, []).await?;
        row.try_get("", "generation")
            .map_err(StateError::database(doing))
    }

    /// Ends the connection and folds the WAL into the database.
    ///
    /// # Errors
    /// When SQLite reports one; nothing committed is lost by it.
    pub async fn close(self) -> Result<(), StateError> {
        self.connection
            .close()
            .await
            .map_err(StateError::database("closing"))
    }

    async fn migrate(&self, folder: &EnvironmentFolder) -> Result<(), StateError> {
        let doing = "bringing the schema up to date";
        let known = MIGRATIONS.len() as i64;
        loop {
            // Immediate, and the version read inside: of two processes that start at once, the second waits
            // and then finds the step done.
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            };
            let transaction = self
                .connection
                .begin_with_options(options)
                .await
                .map_err(StateError::database(doing))?;
            let row = transaction
                .query_one_raw(statement("PRAGMA user_version", []))
                .await
                .map_err(StateError::database(doing))?
                .ok_or_else(|| {
                    StateError::database(doing)(sea_orm::DbErr::RecordNotFound(
                        "user_version".into(),
                    ))
                })?;
            let version: i64 = row
                .try_get_by_index(0)
                .map_err(StateError::database(doing))?;
            if version > known {
                return Err(StateError::NewerSchema {
                    path: folder.database(),
                    found: version,
                    known,
                });
            }
            let Some(step) = usize::try_from(version)
                .ok()
                .and_then(|version| MIGRATIONS.get(version))
            else {
                return Ok(());
            };
            for sql in *step {
                transaction
                    .execute_unprepared(sql)
                    .await
                    .map_err(StateError::database(doing))?;
            }
            let raise = format!("PRAGMA user_version = {}", version + 1);
            transaction
                .execute_unprepared(&raise)
                .await
                .map_err(StateError::database(doing))?;
            transaction
                .commit()
                .await
                .map_err(StateError::database(doing))?;
        }
    }

    pub(crate) async fn query_one<const N: usize>(
        &self,
        doing: &'static str,
        sql: &str,
        values: [Value; N],
    ) -> Result<QueryResult, StateError> {
        self.connection
            .query_one_raw(statement(sql, values))
            .await
            .map_err(StateError::database(doing))?
            .ok_or_else(|| StateError::database(doing)(sea_orm::DbErr::RecordNotFound(sql.into())))
    }
}

/// An SQLite statement with its values in the order of its question marks.
pub(crate) fn statement<const N: usize>(sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}

/// A new store, and the folder that it lies in as long as that is kept.
#[cfg(test)]
pub(crate) async fn scratch() -> (tempfile::TempDir, Store) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
    let store = Store::open(&folder).await.unwrap();
    (scratch, store)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_database_is_made_closed_and_opened_again() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
        let store = Store::open(&folder).await.unwrap();
        assert_eq!(store.generation().await.unwrap(), 0);
        assert_eq!(store.bump_generation().await.unwrap(), 1);
        let row = store.query_one("", "PRAGMA synchronous", []).await.unwrap();
        assert_eq!(
            row.try_get_by_index::<i64>(0).unwrap(),
            2,
            "synchronous=FULL"
        );
        store.close().await.unwrap();
        let mode = std::fs::metadata(folder.database())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            Store::open(&folder)
                .await
                .unwrap()
                .generation()
                .await
                .unwrap(),
            1
        );
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
        let store = Store::open(&folder).await.unwrap();
        store
            .connection()
            .execute_unprepared("PRAGMA user_version = 99")
            .await
            .unwrap();
        store.close().await.unwrap();
        let told = Store::open(&folder).await.unwrap_err().to_string();
        assert!(told.contains("newer version (schema 99"), "{told}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
        std::fs::write(
            folder.database(),
            "not a database, but long enough to be looked at ".repeat(40),
        )
        .unwrap();
        let told = Store::open(&folder).await.unwrap_err().to_string();
        assert!(told.contains("not a database"), "{told}");
    }
}
