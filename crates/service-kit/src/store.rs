//! Databases: connecting, migrating, and writing without locks.
//!
//! MariaDB/MySQL, PostgreSQL and SQLite by URL. There is no `SELECT ... FOR UPDATE` here,
//! for Galera does not replicate locks: writers compare and swap a `revision`, and [`retry`]
//! repeats a transaction that lost against another one. Knows no table.

use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    RuntimeErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{
    MigratorTrait,
    prelude::{IndexCreateStatement, SchemaManager, TableCreateStatement},
};
use std::{future::Future, path::Path, time::Duration};

/// How often a transaction is tried before its conflict becomes an error.
const TRIES: u32 = 12;

/// How long a connection that a burst of calls has opened is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Prepared statements that a connection keeps; each holds its text and its columns, some kilobytes.
const STATEMENTS: usize = 32;

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not one of the supported kinds.
    #[error("database URL `{shown}`: {reason}")]
    Url {
        /// The URL without its password.
        shown: String,
        /// What is wrong.
        reason: String,
    },
    /// The database's own answer.
    #[error("database: {0}")]
    Database(#[from] DbErr),
}

/// Connects, waiting up to a minute for a server that is still starting.
///
/// `sqlite:///path` (or `sqlite://path`) makes the file when it is missing, mode 0600.
pub async fn connect(url: &str) -> Result<DatabaseConnection, StoreError> {
    connect_trusting(url, None).await
}

/// The same; a server over the network must have a certificate of the authority in `ca_file`, if there is one. Its name is
/// not looked at: it is reached through a balancer on loopback.
pub async fn connect_trusting(
    url: &str,
    ca_file: Option<&Path>,
) -> Result<DatabaseConnection, StoreError> {
    let mut options = ConnectOptions::new(url);
    options
        .sqlx_logging(false)
        .connect_timeout(Duration::from_secs(10))
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(IDLE);
    if let Some(rest) = url.strip_prefix("sqlite:") {
        let memory = rest.contains(":memory:");
        if !memory {
            prepare_file(
                rest.trim_start_matches("//")
                    .split('?')
                    .next()
                    .unwrap_or_default(),
            )
            .map_err(|error| StoreError::Url {
                shown: url.to_owned(),
                reason: error.to_string(),
            })?;
        }
        // An in-memory database exists once per connection: there must be one only.
        options.max_connections(if memory { 1 } else { 8 });
        options.map_sqlx_sqlite_opts(move |options| {
            use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
            let options = options
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(30));
            if memory {
                options.shared_cache(false)
            } else {
                options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
            }
        });
        if memory {
            options.idle_timeout(None).max_lifetime(None);
        }
    } else if url.starts_with("mysql:")
        || url.starts_with("postgres:")
        || url.starts_with("postgresql:")
    {
        use sea_orm::sqlx::{mysql::MySqlSslMode, postgres::PgSslMode};
        options.max_connections(16).test_before_acquire(true);
        let ca = ca_file.map(Path::to_owned);
        let root = ca.clone();
        options.map_sqlx_mysql_opts(move |options| {
            let options = options.statement_cache_capacity(STATEMENTS);
            match &ca {
                Some(ca) => options.ssl_mode(MySqlSslMode::VerifyCa).ssl_ca(ca),
                None => options,
            }
        });
        options.map_sqlx_postgres_opts(move |options| {
            let options = options.statement_cache_capacity(STATEMENTS);
            match &root {
                Some(root) => options.ssl_mode(PgSslMode::VerifyCa).ssl_root_cert(root),
                None => options,
            }
        });
    } else {
        let shown = hide_password(url);
        return Err(StoreError::Url {
            shown,
            reason: "expected mysql://, postgres:// or sqlite://".to_owned(),
        });
    }
    let mut pause = Duration::from_millis(200);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match Database::connect(options.clone()).await {
            Ok(db) => return Ok(db),
            Err(error) if tokio::time::Instant::now() > deadline || url.starts_with("sqlite:") => {
                return Err(StoreError::Database(error));
            }
            Err(error) => {
                tracing::warn!(%error, "database does not answer yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

fn prepare_file(path: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// The URL with `***` for its password, for messages.
pub fn hide_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((credentials, place)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{place}")
        }
        None => url.to_owned(),
    }
}

/// Brings the schema up to date. Several controllers may start at once: the one that
/// comes second finds a table made already, and looks again.
pub async fn migrate<M: MigratorTrait>(db: &DatabaseConnection) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        match M::up(db, None).await {
            Ok(()) => return Ok(()),
            Err(error) if tries >= 5 => return Err(StoreError::Database(error)),
            Err(error) => {
                tries += 1;
                tracing::warn!(%error, tries, "migration: trying again");
                tokio::time::sleep(Duration::from_millis(500 * tries)).await;
            }
        }
    }
}

/// Makes a table unless it is there. MySQL commits each definition by itself: a migration that was broken off, or that
/// another controller runs at the same time, meets its own tables again.
pub async fn create_table(
    manager: &SchemaManager<'_>,
    mut table: TableCreateStatement,
) -> Result<(), DbErr> {
    manager.create_table(table.if_not_exists().to_owned()).await
}

/// Makes an index unless it is there, see [`create_table`]. `IF NOT EXISTS` is not told to MySQL, which has none; its
/// error 1061 says that the name is taken.
pub async fn create_index(
    manager: &SchemaManager<'_>,
    mut index: IndexCreateStatement,
) -> Result<(), DbErr> {
    match manager.create_index(index.if_not_exists().to_owned()).await {
        Err(error) if is_index_there(&error) => Ok(()),
        other => other,
    }
}

fn is_index_there(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return false;
    };
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sea_orm::sqlx::mysql::MySqlDatabaseError>())
        .is_some_and(|error| error.number() == 1061)
}

/// Begins a transaction that means to write. On SQLite it takes the write lock at once, for a
/// reader that turns writer half-way cannot wait for its turn.
pub async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    if db.get_database_backend() == DbBackend::Sqlite {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        db.begin_with_options(options).await
    } else {
        db.begin().await
    }
}

/// Errors that may stand for a lost race.
pub trait Conflict {
    /// Whether the transaction lost against another one and may be tried again as a whole.
    fn is_conflict(&self) -> bool;
}

impl Conflict for DbErr {
    fn is_conflict(&self) -> bool {
        let text = self.to_string();
        // MySQL 1213 (deadlock, and Galera's certification failure) and 1205 (lock wait);
        // PostgreSQL 40001 and 40P01; SQLite's SQLITE_BUSY.
        [
            "1213",
            "1205",
            "Deadlock found",
            "Lock wait timeout",
            "could not serialize access",
            "deadlock detected",
            "database is locked",
            "database table is locked",
        ]
        .iter()
        .any(|mark| text.contains(mark))
    }
}

impl Conflict for StoreError {
    fn is_conflict(&self) -> bool {
        matches!(self, StoreError::Database(error) if error.is_conflict())
    }
}

impl Conflict for crate::fault::ApiError {
    /// `ApiError` keeps a database error only as text.
    fn is_conflict(&self) -> bool {
        self.cause
            .as_ref()
            .is_some_and(|cause| DbErr::Custom(cause.clone()).is_conflict())
    }
}

/// Whether an insert failed on a unique index.
pub fn is_duplicate(error: &DbErr) -> bool {
    matches!(
        error.sql_err(),
        Some(sea_orm::SqlErr::UniqueConstraintViolation(_))
    )
}

/// Runs a whole transaction, again when it lost a race. The closure begins and commits:
///
/// ```ignore
/// store::retry(|| async {
///     let tx = store::begin(&db).await?;
///     ...
///     tx.commit().await?;
///     Ok(row)
/// }).await
/// ```
pub async fn retry<T, E, F, Fut>(mut transaction: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Conflict,
{
    let mut tries = 0;
    loop {
        match transaction().await {
            Err(error) if error.is_conflict() && tries < TRIES => {
                tries += 1;
                // Spread out, so that the same two do not meet again.
                let jitter = rand::random_range(0..(5u64 << tries.min(6)));
                tokio::time::sleep(Duration::from_millis(jitter)).await;
            }
            other => return other,
        }
    }
}
