//! `GET /v3/OS-REVOKE/events`: which tokens are no longer valid, for services that remember them. Tokens of a user end
//! together when the password is changed or the user is disabled.

use super::{Shared, body::v3};
use crate::{
    app::{now_micros, tokens::time_text},
    store::{entities::user, revocation_times},
};
use axum::extract::State;
use chrono::NaiveDateTime;
use http::{HeaderMap, Method};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Query, Route, Rule};

/// The row of the extension.
pub fn routes() -> Vec<Route<Shared>> {
    let path = "/v3/OS-REVOKE/events";
    vec![Route::new(
        Method::GET,
        path,
        "list_revoke_events",
        Rule::Service,
        list,
    )]
}

/// `since` of the query, in µs; without it, everything that still matters.
fn since(query: &Query) -> Result<i64, ApiError> {
    let Some(text) = query.get("since") else {
        return Ok(0);
    };
    NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f")
        .map(|time| time.and_utc().timestamp_micros())
        .map_err(|_| {
            ApiError::bad_request("BadRequest", "since must be a time in ISO 8601, in UTC.")
        })
}

async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    use revocation_times::{Column, Entity};
    let since = since(&query)?;
    let now = now_micros();
    let tokens = Entity::find()
        .filter(Column::RevokedAt.gte(since))
        .filter(Column::ExpiresAt.gte(now / 1_000_000))
        .order_by_asc(Column::RevokedAt)
        .all(&app.db)
        .await?;
    // Tokens that are older than any token lives need not be told of.
    let life = i64::try_from(app.token_life.as_micros()).unwrap_or(i64::MAX);
    let users: Vec<(String, i64)> = user::Entity::find()
        .select_only()
        .columns([user::Column::Id, user::Column::TokensValidFrom])
        .filter(user::Column::TokensValidFrom.gte(since.max(now.saturating_sub(life)).max(1)))
        .into_tuple()
        .all(&app.db)
        .await?;
    let mut events: Vec<(i64, Value)> = tokens
        .into_iter()
        .map(|row| (row.revoked_at, json!({"audit_id": row.audit_id})))
        .collect();
    events.extend(
        users
            .into_iter()
            .map(|(id, at)| (at, json!({"user_id": id}))),
    );
    events.sort_by_key(|(at, _)| *at);
    let events: Vec<Value> = events
        .into_iter()
        .map(|(at, mut event)| {
            event["issued_before"] = time_text(at).into();
            event
        })
        .collect();
    let link = format!("{}/OS-REVOKE/events", v3(&app, &headers));
    Ok(Json(
        json!({"events": events, "links": {"self": link, "previous": null, "next": null}}),
    ))
}
