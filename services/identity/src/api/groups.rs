//! `/v3/groups`.

use super::{
    Shared,
    body::{Attributes, collection, single, v3},
    projects, users,
};
use crate::{
    app::{bootstrap::DEFAULT_DOMAIN, duplicate, new_id, not_found},
    store::entities::{assignment, group, membership, user},
};
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    IntoActiveModel, ModelTrait, QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, store};

/// A group as the API prints it.
pub fn view(row: &group::Model) -> Value {
    json!({"id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description})
}

/// A group, or 404.
pub async fn find(app: &Shared, id: &str) -> Result<group::Model, ApiError> {
    group::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("group", id))
}

pub async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = group::Entity::find()
        .order_by_asc(group::Column::Name)
        .all(&app.db)
        .await?;
    Ok(collection(
        "groups",
        "/groups",
        &v3(&app, &headers),
        &query,
        rows.iter().map(view).collect(),
    ))
}

pub async fn create(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("group", body)?;
    let row = group::Model {
        id: new_id(),
        name: given.required_name()?,
        domain_id: given
            .text("domain_id")?
            .unwrap_or_else(|| DEFAULT_DOMAIN.to_owned()),
        description: given.nullable("description")?.unwrap_or_default(),
    };
    projects::find_domain(&app, &row.domain_id).await?;
    group::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(duplicate("group", &row.name))?;
    Ok((
        StatusCode::CREATED,
        Json(single("group", "groups", &v3(&app, &headers), view(&row))),
    ))
}

pub async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(single(
        "group",
        "groups",
        &v3(&app, &headers),
        view(&find(&app, &id).await?),
    )))
}

pub async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &id).await?;
    let old_name = row.name.clone();
    let mut given = Attributes::open("group", body)?;
    let mut row = row.into_active_model();
    if let Some(name) = given.name()? {
        row.name = Set(name);
    }
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    let row = row
        .update(&app.db)
        .await
        .map_err(duplicate("group", &old_name))?;
    Ok(Json(single(
        "group",
        "groups",
        &v3(&app, &headers),
        view(&row),
    )))
}

pub async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        forget(&tx, row.clone()).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a group with what it has.
pub async fn forget(db: &impl ConnectionTrait, row: group::Model) -> Result<(), DbErr> {
    assignment::Entity::delete_many()
        .filter(assignment::Column::ActorKind.eq("group"))
        .filter(assignment::Column::ActorId.eq(&row.id))
        .exec(db)
        .await?;
    membership::Entity::delete_many()
        .filter(membership::Column::GroupId.eq(&row.id))
        .exec(db)
        .await?;
    row.delete(db).await?;
    Ok(())
}

pub async fn users(
    State(app): State<Shared>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    find(&app, &id).await?;
    let members = membership::Entity::find()
        .filter(membership::Column::GroupId.eq(&id))
        .all(&app.db)
        .await?;
    let ids: Vec<String> = members.into_iter().map(|row| row.user_id).collect();
    let rows = user::Entity::find()
        .filter(user::Column::Id.is_in(ids))
        .all(&app.db)
        .await?;
    let path = format!("/groups/{id}/users");
    let mut views = users::views(&app, &rows).await?;
    let query = users::by_expiry(query, &mut views)?;
    let base = v3(&app, &headers);
    Ok(collection("users", &path, &base, &query, views))
}

pub async fn add(
    State(app): State<Shared>,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    find(&app, &id).await?;
    if user::Entity::find_by_id(&user_id)
        .one(&app.db)
        .await?
        .is_none()
    {
        return Err(not_found("user", &user_id));
    }
    let row = membership::ActiveModel {
        group_id: Set(id),
        user_id: Set(user_id),
    };
    match membership::Entity::insert(row)
        .exec_without_returning(&app.db)
        .await
    {
        Err(error) if !store::is_duplicate(&error) => Err(error.into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

pub async fn check(
    State(app): State<Shared>,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    match membership::Entity::find_by_id((id, user_id.clone()))
        .one(&app.db)
        .await?
    {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(not_found("user in group", &user_id)),
    }
}

pub async fn remove(
    State(app): State<Shared>,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let done = membership::Entity::delete_by_id((id, user_id.clone()))
        .exec(&app.db)
        .await?;
    if done.rows_affected == 0 {
        Err(not_found("user in group", &user_id))
    } else {
        Ok(StatusCode::NO_CONTENT)
    }
}
