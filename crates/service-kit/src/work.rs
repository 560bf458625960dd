//! Accepted work as rows: the database is the record, the bus only wakes.
//!
//! ```text
//!   enqueue(tx, op)        claim               complete / fail
//!  ────────────────► queued ─────► claimed ──────────────────► (row deleted) | failed
//!                      ▲             │ lease ran out: claimed again, generation + 1
//!                      └── retry ────┘
//! ```
//!
//! A service writes an operation in the same transaction as what it changes, commits,
//! and wakes the queue. Workers of any process claim rows with a lease and a generation: who
//! lost the lease cannot finish the row. Operations on one target run in their order, one at a time.
//! Handlers must be idempotent by operation id, for an operation may start again after a crash.
//! This file knows no kind of operation.

use crate::store;
use async_trait::async_trait;
use bus::Bus;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use sea_orm_migration::prelude as migration;
use serde_json::Value;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a claim holds without being renewed.
const LEASE: Duration = Duration::from_secs(60);
/// How often a worker looks without having been woken: a lost wake-up costs at most this.
const POLL: Duration = Duration::from_secs(5);
/// Rows that one look considers.
const WINDOW: u64 = 1000;

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "operations")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub seq: i64,
        pub id: String,
        pub queue: String,
        pub kind: String,
        pub target: String,
        #[sea_orm(column_type = "Text")]
        pub payload: String,
        pub state: String,
        pub generation: i64,
        pub attempts: i32,
        pub owner: String,
        pub lease_until: i64,
        pub not_before: i64,
        pub created_at: i64,
        #[sea_orm(column_type = "Text")]
        pub error: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Makes the table `operations`; a service lists it among its migrations.
pub struct Migration;

impl migration::MigrationName for Migration {
    fn name(&self) -> &str {
        "kit_0001_operations"
    }
}

#[async_trait]
impl migration::MigrationTrait for Migration {
    async fn up(&self, manager: &migration::SchemaManager) -> Result<(), DbErr> {
        use migration::{ColumnDef, Index, Table};
        let short = |name: &str| {
            ColumnDef::new(migration::Alias::new(name))
                .string_len(191)
                .not_null()
                .to_owned()
        };
        let number = |name: &str| {
            ColumnDef::new(migration::Alias::new(name))
                .big_integer()
                .not_null()
                .to_owned()
        };
        let text = |name: &str| {
            ColumnDef::new(migration::Alias::new(name))
                .text()
                .not_null()
                .to_owned()
        };
        let table = Table::create()
            .table(migration::Alias::new("operations"))
            .col(
                ColumnDef::new(migration::Alias::new("seq"))
                    .big_integer()
                    .not_null()
                    .auto_increment()
                    .primary_key(),
            )
            .col(short("id").unique_key())
            .col(short("queue"))
            .col(short("kind"))
            .col(short("target"))
            .col(text("payload"))
            .col(short("state"))
            .col(number("generation"))
            .col(
                ColumnDef::new(migration::Alias::new("attempts"))
                    .integer()
                    .not_null(),
            )
            .col(short("owner"))
            .col(number("lease_until"))
            .col(number("not_before"))
            .col(number("created_at"))
            .col(text("error"))
            .to_owned();
        crate::store::create_table(manager, table).await?;
        crate::store::create_index(
            manager,
            Index::create()
                .name("operations_queue_state")
                .table(migration::Alias::new("operations"))
                .col(migration::Alias::new("queue"))
                .col(migration::Alias::new("state"))
                .to_owned(),
        )
        .await
    }

    async fn down(&self, manager: &migration::SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(
                migration::Table::drop()
                    .table(migration::Alias::new("operations"))
                    .to_owned(),
            )
            .await
    }
}

/// An operation to be accepted.
#[derive(Debug, Clone)]
pub struct NewOperation {
    /// Which workers take it: `conductor`, `agent.node-4`.
    pub queue: String,
    /// What is to be done: `server_create`.
    pub kind: String,
    /// Id of what it acts on: operations with the same target run one after the other.
    pub target: String,
    /// What the handler needs; no secrets.
    pub payload: Value,
}

/// Writes an operation in the caller's transaction and gives its id. Wake the queue after commit.
pub async fn enqueue(tx: &impl ConnectionTrait, operation: NewOperation) -> Result<String, DbErr> {
    let id = uuid::Uuid::new_v4().to_string();
    let row = entity::ActiveModel {
        id: Set(id.clone()),
        queue: Set(operation.queue),
        kind: Set(operation.kind),
        target: Set(operation.target),
        payload: Set(operation.payload.to_string()),
        state: Set("queued".to_owned()),
        generation: Set(0),
        attempts: Set(0),
        owner: Set(String::new()),
        lease_until: Set(0),
        not_before: Set(0),
        created_at: Set(now()),
        error: Set(String::new()),
        ..Default::default()
    };
    entity::Entity::insert(row)
        .exec_without_returning(tx)
        .await?;
    Ok(id)
}

/// Unfinished operations on a target.
pub async fn pending(db: &impl ConnectionTrait, target: &str) -> Result<Vec<Operation>, DbErr> {
    let rows = entity::Entity::find()
        .filter(entity::Column::Target.eq(target))
        .filter(entity::Column::State.ne("failed"))
        .order_by_asc(entity::Column::Seq)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(Operation::from).collect())
}

/// A claimed operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Its id: the same at every attempt.
    pub id: String,
    /// What is to be done.
    pub kind: String,
    /// What it acts on.
    pub target: String,
    /// What the handler needs.
    pub payload: Value,
    /// Which claim this is; grows with each.
    pub generation: i64,
    /// Claims so far, this one included.
    pub attempts: u32,
}

impl From<entity::Model> for Operation {
    fn from(row: entity::Model) -> Self {
        Operation {
            payload: serde_json::from_str(&row.payload).unwrap_or(Value::Null),
            id: row.id,
            kind: row.kind,
            target: row.target,
            generation: row.generation,
            attempts: u32::try_from(row.attempts).unwrap_or(0),
        }
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WorkError {
    /// Try again later.
    #[error("{reason}")]
    Retry {
        /// Not before this time has passed.
        after: Duration,
        /// For the log and the row.
        reason: String,
    },
    /// It will never succeed: the row is kept as `failed`.
    #[error("{0}")]
    Permanent(String),
}

/// One queue of a service's operations. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    db: DatabaseConnection,
    bus: Arc<dyn Bus>,
    topic: String,
    queue: String,
}

impl Queue {
    /// The queue `queue` of `service`; its wake-ups go over the topic `<service>.<queue>`.
    pub fn new(db: DatabaseConnection, bus: Arc<dyn Bus>, service: &str, queue: &str) -> Self {
        Queue {
            db,
            bus,
            topic: format!("{service}.{queue}"),
            queue: queue.to_owned(),
        }
    }

    /// Tells the workers that there is work. Should that be lost: they look by themselves, too.
    pub fn wake(&self) {
        self.bus.wake(&self.topic);
    }

    /// Claims up to `limit` operations for `owner`, the oldest first.
    pub async fn claim(&self, owner: &str, limit: usize) -> Result<Vec<Operation>, DbErr> {
        let rows = entity::Entity::find()
            .filter(entity::Column::Queue.eq(&self.queue))
            .filter(entity::Column::State.is_in(["queued", "claimed"]))
            .order_by_asc(entity::Column::Seq)
            .limit(WINDOW)
            .all(&self.db)
            .await?;
        let at = now();
        let mut busy: HashSet<String> = HashSet::new();
        let mut claimed = Vec::new();
        for row in rows {
            if claimed.len() >= limit {
                break;
            }
            // The first unfinished row of a target blocks the later ones, claimable or not.
            if !busy.insert(row.target.clone()) {
                continue;
            }
            let free = match row.state.as_str() {
                "queued" => row.not_before <= at,
                _ => row.lease_until < at,
            };
            if !free {
                continue;
            }
            let won = store::retry(|| {
                entity::Entity::update_many()
                    .col_expr(entity::Column::State, Expr::value("claimed"))
                    .col_expr(entity::Column::Owner, Expr::value(owner))
                    .col_expr(entity::Column::Generation, Expr::value(row.generation + 1))
                    .col_expr(entity::Column::Attempts, Expr::value(row.attempts + 1))
                    .col_expr(entity::Column::LeaseUntil, Expr::value(at + millis(LEASE)))
                    .filter(entity::Column::Seq.eq(row.seq))
                    .filter(entity::Column::Generation.eq(row.generation))
                    .filter(entity::Column::State.eq(&row.state))
                    .exec(&self.db)
            })
            .await?;
            if won.rows_affected == 1 {
                let mut operation = Operation::from(row);
                operation.generation += 1;
                operation.attempts += 1;
                claimed.push(operation);
            }
        }
        Ok(claimed)
    }

    /// Prolongs a claim; `false` when it has been lost to somebody else.
    pub async fn renew(&self, operation: &Operation) -> Result<bool, DbErr> {
        let until = now() + millis(LEASE);
        self.change(&self.db, operation, |update| {
            update.col_expr(entity::Column::LeaseUntil, Expr::value(until))
        })
        .await
    }

    /// Finishes an operation, in the transaction that writes its result if there is one;
    /// `false` when the claim has been lost: then roll back.
    pub async fn complete(
        &self,
        tx: &impl ConnectionTrait,
        operation: &Operation,
    ) -> Result<bool, DbErr> {
        let result = entity::Entity::delete_many()
            .filter(entity::Column::Id.eq(&operation.id))
            .filter(entity::Column::Generation.eq(operation.generation))
            .exec(tx)
            .await?;
        Ok(result.rows_affected == 1)
    }

    /// Gives an operation back for later, or for ever.
    pub async fn fail(&self, operation: &Operation, error: &WorkError) -> Result<bool, DbErr> {
        let (state, not_before) = match error {
            WorkError::Retry { after, .. } => ("queued", now() + millis(*after)),
            WorkError::Permanent(_) => ("failed", 0),
        };
        let text = error.to_string();
        self.change(&self.db, operation, |update| {
            update
                .col_expr(entity::Column::State, Expr::value(state))
                .col_expr(entity::Column::NotBefore, Expr::value(not_before))
                .col_expr(entity::Column::Error, Expr::value(text.as_str()))
        })
        .await
    }

    async fn change(
        &self,
        db: &DatabaseConnection,
        operation: &Operation,
        with: impl Fn(sea_orm::UpdateMany<entity::Entity>) -> sea_orm::UpdateMany<entity::Entity>,
    ) -> Result<bool, DbErr> {
        let result = store::retry(|| {
            with(entity::Entity::update_many())
                .filter(entity::Column::Id.eq(&operation.id))
                .filter(entity::Column::Generation.eq(operation.generation))
                .filter(entity::Column::State.eq("claimed"))
                .exec(db)
        })
        .await?;
        Ok(result.rows_affected == 1)
    }
}

/// Does operations of one queue.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// One attempt. May be called again for the same id after a crash or a lost lease.
    /// A handler that has called [`Queue::complete`] itself, with its result, returns `Ok` as well.
    async fn handle(&self, operation: &Operation) -> Result<(), WorkError>;
}

/// Claims and handles operations until `shutdown`; what has been claimed by then is finished.
/// Spawn it on `ctx.tasks`. At most `parallel` operations run at a time.
pub async fn run(
    queue: Queue,
    owner: String,
    parallel: usize,
    shutdown: CancellationToken,
    worker: Arc<dyn Worker>,
) {
    let mut running: JoinSet<()> = JoinSet::new();
    let mut subscription = None;
    loop {
        while running.try_join_next().is_some() {}
        if shutdown.is_cancelled() {
            break;
        }
        if subscription.is_none() {
            subscription = queue.bus.subscribe(&queue.topic).await.ok();
        }
        let free = parallel.saturating_sub(running.len());
        let mut claimed = 0;
        if free > 0 {
            match queue.claim(&owner, free).await {
                Ok(operations) => {
                    claimed = operations.len();
                    for operation in operations {
                        running.spawn(attempt(queue.clone(), operation, Arc::clone(&worker)));
                    }
                }
                Err(error) => tracing::warn!(queue = queue.queue, %error, "cannot claim work"),
            }
        }
        if claimed > 0 && claimed == free {
            // There may be more; but first make room.
            tokio::select! {
                _ = running.join_next() => {}
                () = shutdown.cancelled() => {}
            }
            continue;
        }
        let woken = async {
            match &mut subscription {
                Some(subscription) => subscription.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            alive = woken => if !alive { subscription = None; tokio::time::sleep(Duration::from_millis(50)).await; },
            // A finished operation may have held up the next one on its target.
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(POLL) => {}
            () = shutdown.cancelled() => {}
        }
    }
    while running.join_next().await.is_some() {}
}

/// One attempt with its lease kept alive.
async fn attempt(queue: Queue, operation: Operation, worker: Arc<dyn Worker>) {
    let keep = async {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            match queue.renew(&operation).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(id = operation.id, %error, "cannot renew a lease"),
            }
        }
    };
    let result = tokio::select! {
        result = worker.handle(&operation) => result,
        () = keep => {
            tracing::warn!(id = operation.id, kind = operation.kind, "lease lost: somebody else goes on");
            return;
        }
    };
    let written = match &result {
        Ok(()) => store::retry(|| queue.complete(&queue.db, &operation))
            .await
            .map(drop),
        Err(error) => {
            tracing::warn!(id = operation.id, kind = operation.kind, target_id = operation.target,
                attempts = operation.attempts, %error, "operation failed");
            queue.fail(&operation, error).await.map(drop)
        }
    };
    if let Err(error) = written {
        // The lease runs out and the operation starts again: handlers are idempotent.
        tracing::warn!(id = operation.id, %error, "cannot write an operation's outcome");
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
