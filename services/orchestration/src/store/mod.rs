//! Stacks, resources and events in the database, and all SQL of this service.
//! A stack's row is only written by who holds its traversal: [`Store::stack_change`] compares it.
pub mod entity;
mod migration;

use chrono::Utc;
pub use entity::{event::Model as Event, resource::Model as Resource, stack::Model as Stack};
pub use migration::Migrator;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection,
    DbBackend, DbErr, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, SqlErr, sea_query::Expr,
};
use service_kit::{store, work};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Events that are kept of one stack; older ones go.
const EVENTS_PER_STACK: u64 = 1000;

/// Milliseconds since 1970.
pub fn now() -> i64 {
    Utc::now().timestamp_millis()
}

/// Transactions that this process writes at the same time: SQLite takes one, and whoever else asks is
/// served by chance, so that a queue of our own is both faster and fair.
const WRITERS: usize = 16;

#[derive(Clone)]
pub struct Store {
    pub db: DatabaseConnection,
    writers: Arc<Semaphore>,
}

/// A new state of a stack.
#[derive(Debug, Clone, Copy)]
pub struct StackState<'a> {
    pub action: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
}

impl Store {
    pub fn new(db: DatabaseConnection) -> Self {
        let writers = match db.get_database_backend() {
            DbBackend::Sqlite => 1,
            _ => WRITERS,
        };
        Store {
            db,
            writers: Arc::new(Semaphore::new(writers)),
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, DbErr> {
        self.writers
            .acquire()
            .await
            .map_err(|closed| DbErr::Custom(closed.to_string()))
    }

    /// Writes a new stack with the operation that makes it; `false` when the name is taken.
    pub async fn stack_create(
        &self,
        stack: Stack,
        operation: work::NewOperation,
    ) -> Result<bool, DbErr> {
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            let inserted = stack
                .clone()
                .into_active_model()
                .reset_all()
                .insert(&tx)
                .await;
            match inserted {
                Err(error)
                    if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) =>
                {
                    return Ok(false);
                }
                other => other?,
            };
            stack_event(&tx, &stack).await?;
            work::enqueue(&tx, operation.clone()).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Begins another operation on a stack: `stack` as it shall be, its traversal one more than `from`.
    /// `false` when another operation was begun meanwhile.
    pub async fn stack_begin(
        &self,
        stack: Stack,
        from: i64,
        operation: work::NewOperation,
    ) -> Result<bool, DbErr> {
        use entity::stack::Column;
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            let won = entity::stack::Entity::update_many()
                .set(stack.clone().into_active_model().reset_all())
                .filter(Column::Id.eq(&stack.id))
                .filter(Column::Traversal.eq(from))
                .exec(&tx)
                .await?;
            if won.rows_affected != 1 {
                return Ok(false);
            }
            stack_event(&tx, &stack).await?;
            work::enqueue(&tx, operation.clone()).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Writes a stack's new state if `traversal` is still the newest; `false` when it is not.
    pub async fn stack_change(
        &self,
        stack: &Stack,
        state: StackState<'_>,
        gone: bool,
    ) -> Result<bool, DbErr> {
        use entity::stack::Column;
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            let mut update = entity::stack::Entity::update_many()
                .col_expr(Column::Action, Expr::value(state.action))
                .col_expr(Column::Status, Expr::value(state.status))
                .col_expr(Column::StatusReason, Expr::value(state.reason))
                .filter(Column::Id.eq(&stack.id))
                .filter(Column::Traversal.eq(stack.traversal));
            if gone {
                update = update
                    .col_expr(Column::LiveName, Expr::value(Option::<String>::None))
                    .col_expr(Column::TrustId, Expr::value(Option::<String>::None))
                    .col_expr(Column::DeletedAt, Expr::value(now()));
            }
            if update.exec(&tx).await?.rows_affected != 1 {
                return Ok(false);
            }
            let mut told = stack.clone();
            told.action = state.action.to_owned();
            told.status = state.status.to_owned();
            told.status_reason = state.reason.to_owned();
            stack_event(&tx, &told).await?;
            forget_events(&tx, &stack.id).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Turns a failed operation into its rollback, the next traversal; `false` when a newer one has begun.
    pub async fn stack_roll_back(
        &self,
        stack: &Stack,
        reason: &str,
        deadline: i64,
    ) -> Result<bool, DbErr> {
        use entity::stack::Column;
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            let mut back = stack.clone();
            back.action = "ROLLBACK".to_owned();
            back.status_reason = reason.to_owned();
            back.traversal += 1;
            back.definition = stack
                .previous
                .clone()
                .unwrap_or_else(|| stack.definition.clone());
            back.deadline = deadline;
            let won = entity::stack::Entity::update_many()
                .set(back.clone().into_active_model().reset_all())
                .filter(Column::Id.eq(&stack.id))
                .filter(Column::Traversal.eq(stack.traversal))
                .exec(&tx)
                .await?;
            if won.rows_affected != 1 {
                return Ok(false);
            }
            stack_event(&tx, &back).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    pub async fn stack(&self, id: &str) -> Result<Option<Stack>, DbErr> {
        entity::stack::Entity::find_by_id(id).one(&self.db).await
    }

    /// A living stack of a project, by name.
    pub async fn stack_named(&self, project: &str, name: &str) -> Result<Option<Stack>, DbErr> {
        entity::stack::Entity::find()
            .filter(entity::stack::Column::LiveName.eq(live_name(project, name)))
            .one(&self.db)
            .await
    }

    /// Living stacks, the newest first; of one project, or of all.
    pub async fn stacks(&self, project: Option<&str>) -> Result<Vec<Stack>, DbErr> {
        use entity::stack::Column;
        let mut find = entity::stack::Entity::find().filter(Column::DeletedAt.is_null());
        if let Some(project) = project {
            find = find.filter(Column::ProjectId.eq(project));
        }
        find.order_by_desc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.db)
            .await
    }

    /// How many living stacks a project has.
    pub async fn stack_count(&self, project: &str) -> Result<u64, DbErr> {
        use entity::stack::Column;
        entity::stack::Entity::find()
            .filter(Column::DeletedAt.is_null())
            .filter(Column::ProjectId.eq(project))
            .count(&self.db)
            .await
    }

    /// Whether this traversal is still the newest of its stack.
    pub async fn is_current(&self, stack: &Stack) -> Result<bool, DbErr> {
        use entity::stack::Column;
        // Asked before each step: without the definition, which may be long.
        let newest: Option<i64> = entity::stack::Entity::find_by_id(&stack.id)
            .select_only()
            .column(Column::Traversal)
            .into_tuple()
            .one(&self.db)
            .await?;
        Ok(newest == Some(stack.traversal))
    }

    pub async fn resources(&self, stack_id: &str) -> Result<Vec<Resource>, DbErr> {
        entity::resource::Entity::find()
            .filter(entity::resource::Column::StackId.eq(stack_id))
            .order_by_asc(entity::resource::Column::CreatedAt)
            .order_by_asc(entity::resource::Column::Id)
            .all(&self.db)
            .await
    }

    /// Writes a resource, new or known, and the event of its state.
    pub async fn resource_save(&self, resource: &Resource) -> Result<(), DbErr> {
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            let row = resource.clone().into_active_model().reset_all();
            let known = entity::resource::Entity::find_by_id(&resource.id)
                .one(&tx)
                .await?;
            match known {
                Some(_) => row.update(&tx).await?,
                None => row.insert(&tx).await?,
            };
            resource_event(&tx, resource).await?;
            tx.commit().await
        })
        .await
    }

    /// Writes a new resource and marks the one that it replaces, if any, in one transaction.
    pub async fn resource_replace(
        &self,
        old: Option<Resource>,
        new: &Resource,
    ) -> Result<(), DbErr> {
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            if let Some(mut old) = old.clone() {
                old.replaced = true;
                old.into_active_model().reset_all().update(&tx).await?;
            }
            new.clone()
                .into_active_model()
                .reset_all()
                .insert(&tx)
                .await?;
            resource_event(&tx, new).await?;
            tx.commit().await
        })
        .await
    }

    /// Puts a replaced resource back in its place; `instead`, if any, is the replaced one now.
    pub async fn resource_restore(
        &self,
        instead: Option<Resource>,
        old: &Resource,
    ) -> Result<(), DbErr> {
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            for (row, replaced) in instead.iter().map(|row| (row, true)).chain([(old, false)]) {
                let mut row = row.clone();
                row.replaced = replaced;
                row.into_active_model().reset_all().update(&tx).await?;
            }
            tx.commit().await
        })
        .await
    }

    /// Writes a resource without an event: its physical id, for instance.
    pub async fn resource_note(&self, resource: &Resource) -> Result<(), DbErr> {
        store::retry(|| async {
            let _turn = self.turn().await?;
            resource
                .clone()
                .into_active_model()
                .reset_all()
                .update(&self.db)
                .await
                .map(drop)
        })
        .await
    }

    /// Forgets a resource; `resource` carries the state that its last event tells.
    pub async fn resource_remove(&self, resource: &Resource) -> Result<(), DbErr> {
        store::retry(|| async {
            let _turn = self.turn().await?;
            let tx = store::begin(&self.db).await?;
            entity::resource::Entity::delete_by_id(&resource.id)
                .exec(&tx)
                .await?;
            resource_event(&tx, resource).await?;
            tx.commit().await
        })
        .await
    }

    /// Events of a stack, the oldest first.
    pub async fn events(&self, stack_id: &str) -> Result<Vec<Event>, DbErr> {
        use entity::event::Column;
        let mut newest = entity::event::Entity::find()
            .filter(Column::StackId.eq(stack_id))
            .order_by_desc(Column::Seq)
            .limit(EVENTS_PER_STACK)
            .all(&self.db)
            .await?;
        newest.reverse();
        Ok(newest)
    }
}

/// What makes a stack's name unique while it lives.
pub fn live_name(project: &str, name: &str) -> String {
    format!("{project}/{name}")
}

async fn stack_event(tx: &impl ConnectionTrait, stack: &Stack) -> Result<(), DbErr> {
    event(
        tx,
        &stack.id,
        &stack.name,
        "OS::Heat::Stack",
        &stack.id,
        [&stack.action, &stack.status],
        &stack.status_reason,
    )
    .await
}

/// Removes the events of a stack that nobody sees any more.
async fn forget_events(tx: &impl ConnectionTrait, stack_id: &str) -> Result<(), DbErr> {
    use entity::event::Column;
    let oldest_kept: Option<i64> = entity::event::Entity::find()
        .select_only()
        .column(Column::Seq)
        .filter(Column::StackId.eq(stack_id))
        .order_by_desc(Column::Seq)
        .offset(EVENTS_PER_STACK)
        .limit(1)
        .into_tuple()
        .one(tx)
        .await?;
    if let Some(seq) = oldest_kept {
        entity::event::Entity::delete_many()
            .filter(Column::StackId.eq(stack_id))
            .filter(Column::Seq.lte(seq))
            .exec(tx)
            .await?;
    }
    Ok(())
}

async fn resource_event(tx: &impl ConnectionTrait, resource: &Resource) -> Result<(), DbErr> {
    let physical = resource.physical_id.as_deref().unwrap_or_default();
    let state = [resource.action.as_str(), resource.status.as_str()];
    event(
        tx,
        &resource.stack_id,
        &resource.name,
        &resource.type_name,
        physical,
        state,
        &resource.status_reason,
    )
    .await
}

async fn event(
    tx: &impl ConnectionTrait,
    stack_id: &str,
    name: &str,
    type_name: &str,
    physical_id: &str,
    [action, status]: [&str; 2],
    reason: &str,
) -> Result<(), DbErr> {
    let row = entity::event::ActiveModel {
        id: Set(uuid::Uuid::new_v4().to_string()),
        stack_id: Set(stack_id.to_owned()),
        resource_name: Set(name.to_owned()),
        type_name: Set(type_name.to_owned()),
        physical_id: Set(physical_id.to_owned()),
        action: Set(action.to_owned()),
        status: Set(status.to_owned()),
        reason: Set(reason.to_owned()),
        time: Set(now()),
        ..Default::default()
    };
    entity::event::Entity::insert(row)
        .exec_without_returning(tx)
        .await
        .map(drop)
}
