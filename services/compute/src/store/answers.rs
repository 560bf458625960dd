//! Answers of agents that a request waits for: whichever controller the agent told, the one that waits finds it here.

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use super::entities::answer;
use super::{StoreError, now};

/// Answers that nobody fetched are dropped after ten minutes.
const KEEP_MS: i64 = 600_000;

/// Keeps an answer, and forgets old ones.
pub async fn insert(
    db: &impl ConnectionTrait,
    id: &str,
    text: Result<String, String>,
) -> Result<(), StoreError> {
    answer::Entity::delete_many()
        .filter(answer::Column::CreatedAt.lt(now() - KEEP_MS))
        .exec(db)
        .await?;
    let ok = text.is_ok();
    let text = text.unwrap_or_else(|error| error);
    // MariaDB's TEXT holds 64 KiB: the end of a console is what one wants to see.
    let start = text.len().saturating_sub(60_000);
    let start = (start..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let row = answer::ActiveModel {
        id: Set(id.to_owned()),
        ok: Set(ok),
        text: Set(text[start..].to_owned()),
        created_at: Set(now()),
    };
    answer::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Takes an answer, if it has come.
pub async fn take(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<Result<String, String>>, StoreError> {
    let Some(row) = answer::Entity::find_by_id(id).one(db).await? else {
        return Ok(None);
    };
    answer::Entity::delete_by_id(id).exec(db).await?;
    Ok(Some(if row.ok { Ok(row.text) } else { Err(row.text) }))
}
