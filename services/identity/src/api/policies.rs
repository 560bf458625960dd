//! `/v3/policies`: texts that identity keeps for others. It does not read them, and no service of this cloud asks for them.

use super::{
    Shared,
    body::{Attributes, add_extra, collection, merge_extra, single, v3},
};
use crate::{
    app::{new_id, not_found},
    store::policies::{Column, Entity, Model},
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, EntityTrait, IntoActiveModel, ModelTrait, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, Route, Rule};

/// What MySQL's `TEXT` holds.
const LONGEST: usize = 65_535;

/// Rows of the resource.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::Admin;
    let (all, one) = ("/v3/policies", "/v3/policies/{id}");
    vec![
        Route::new(Method::GET, all, "list_policies", Admin, list),
        Route::new(Method::POST, all, "create_policy", Admin, create),
        Route::new(Method::GET, one, "get_policy", Admin, show),
        Route::new(Method::PATCH, one, "update_policy", Admin, update),
        Route::new(Method::DELETE, one, "delete_policy", Admin, delete),
    ]
}

fn view(row: &Model) -> Value {
    let mut view = json!({"id": row.id, "type": row.kind, "blob": row.blob});
    add_extra(&mut view, &row.extra);
    view
}

async fn find(app: &Shared, id: &str) -> Result<Model, ApiError> {
    Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("policy", id))
}

/// Type and blob, as far as they are given.
fn read(given: &mut Attributes) -> Result<(Option<String>, Option<String>), ApiError> {
    let (kind, blob) = (given.text("type")?, given.text("blob")?);
    let too_long = |text: &Option<String>, most| text.as_ref().is_some_and(|t| t.len() > most);
    if too_long(&kind, 255) || too_long(&blob, LONGEST) {
        return Err(ApiError::bad_request(
            "BadRequest",
            format!("A policy's type has 255 bytes at most, and its blob {LONGEST}."),
        ));
    }
    Ok((kind, blob))
}

async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = Entity::find().order_by_asc(Column::Id).all(&app.db).await?;
    let base = v3(&app, &headers);
    let views = rows.iter().map(view).collect();
    Ok(collection("policies", "/policies", &base, &query, views))
}

async fn create(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("policy", body)?;
    let (kind, blob) = read(&mut given)?;
    let row = Model {
        id: new_id(),
        kind: kind.ok_or_else(|| given.missing("type"))?,
        blob: blob.ok_or_else(|| given.missing("blob"))?,
        extra: merge_extra("{}", given.extra()),
    };
    Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await?;
    let body = single("policy", "policies", &v3(&app, &headers), view(&row));
    Ok((StatusCode::CREATED, Json(body)))
}

async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let view = view(&find(&app, &id).await?);
    Ok(Json(single(
        "policy",
        "policies",
        &v3(&app, &headers),
        view,
    )))
}

async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &id).await?;
    let extra = row.extra.clone();
    let mut row = row.into_active_model();
    let mut given = Attributes::open("policy", body)?;
    let (kind, blob) = read(&mut given)?;
    if let Some(kind) = kind {
        row.kind = Set(kind);
    }
    if let Some(blob) = blob {
        row.blob = Set(blob);
    }
    row.extra = Set(merge_extra(&extra, given.extra()));
    let row = row.update(&app.db).await?;
    let view = view(&row);
    Ok(Json(single(
        "policy",
        "policies",
        &v3(&app, &headers),
        view,
    )))
}

async fn delete(State(app): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    find(&app, &id).await?.delete(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}
