//! Tasks: what users and administrators see of imports. They tell; the work itself is an operation.

use super::now;
use crate::store::entities::task;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::{Value, json};
use service_kit::RequestContext;

/// µs for which a task is kept after its end.
const KEPT: i64 = 48 * 3600 * 1_000_000;
/// Longest message that is kept.
const MESSAGE: usize = 4000;

/// A new task of the caller's.
pub fn new(context: &RequestContext, kind: &str, image_id: &str, input: &Value) -> task::Model {
    task::Model {
        id: uuid::Uuid::new_v4().to_string(),
        kind: kind.to_owned(),
        status: "pending".to_owned(),
        owner: context.project_id.clone(),
        image_id: image_id.to_owned(),
        user_id: context.user_id.clone(),
        request_id: context.request_id.clone(),
        input: input.to_string(),
        result: String::new(),
        message: String::new(),
        created_at: now(),
        updated_at: now(),
        expires_at: 0,
    }
}

/// Tells that a task is being done; `false` when it has ended, or is forgotten.
pub async fn begin(db: &impl ConnectionTrait, id: &str) -> Result<bool, DbErr> {
    let done = task::Entity::update_many()
        .col_expr(task::Column::Status, Expr::value("processing"))
        .col_expr(task::Column::UpdatedAt, Expr::value(now()))
        .filter(task::Column::Id.eq(id))
        .filter(task::Column::Status.is_in(["pending", "processing"]))
        .exec(db)
        .await?;
    Ok(done.rows_affected == 1)
}

/// Tells how a task has ended: the image that it made, or why there is none.
pub async fn end(
    db: &impl ConnectionTrait,
    id: &str,
    outcome: Result<&str, &str>,
) -> Result<(), DbErr> {
    let (status, result, message) = match outcome {
        Ok(image) => (
            "success",
            json!({"image_id": image}).to_string(),
            String::new(),
        ),
        Err(why) => (
            "failure",
            String::new(),
            why.chars().take(MESSAGE).collect(),
        ),
    };
    task::Entity::update_many()
        .col_expr(task::Column::Status, Expr::value(status))
        .col_expr(task::Column::Result, Expr::value(result))
        .col_expr(task::Column::Message, Expr::value(message))
        .col_expr(task::Column::UpdatedAt, Expr::value(now()))
        .col_expr(task::Column::ExpiresAt, Expr::value(now() + KEPT))
        .filter(task::Column::Id.eq(id))
        .exec(db)
        .await
        .map(drop)
}

/// Forgets tasks whose time has come.
pub async fn forget(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    task::Entity::delete_many()
        .filter(task::Column::ExpiresAt.gt(0))
        .filter(task::Column::ExpiresAt.lt(now()))
        .exec(db)
        .await
        .map(drop)
}
