//! `/v3/registered_limits`: what resources are limited to by default. What projects have instead is in `limits.rs`.
//! Nothing is counted here: services ask for the limits, and hold them.

use super::{
    Shared,
    body::{Attributes, collection, or_null, single, v3},
};
use crate::{
    app::{duplicate, new_id, not_found},
    store::{
        entities::{region, service},
        limits::{
            limit,
            registered::{Column, Entity, Model},
        },
    },
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, Route, Rule};
use std::collections::BTreeSet;

/// As upstream: a signed number of four bytes, and -1 for no limit.
const RANGE: std::ops::RangeInclusive<i64> = -1..=0x7FFF_FFFF;

/// Rows of the resource. Everybody may know what the defaults are.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::{Admin, Authenticated as Any};
    let (all, one) = ("/v3/registered_limits", "/v3/registered_limits/{id}");
    vec![
        Route::new(Method::GET, all, "list_registered_limits", Any, list),
        Route::new(Method::POST, all, "create_registered_limits", Admin, create),
        Route::new(Method::GET, one, "get_registered_limit", Any, show),
        Route::new(Method::PATCH, one, "update_registered_limit", Admin, update),
        Route::new(
            Method::DELETE,
            one,
            "delete_registered_limit",
            Admin,
            delete,
        ),
    ]
}

fn view(row: &Model) -> Value {
    json!({
        "id": row.id,
        "service_id": row.service_id,
        "region_id": or_null(&row.region_id),
        "resource_name": row.resource_name,
        "default_limit": row.default_limit,
        "description": or_null(&row.description),
    })
}

async fn find(app: &Shared, id: &str) -> Result<Model, ApiError> {
    Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("registered limit", id))
}

/// A resource's name: 1 to 255 characters.
pub fn resource_name(name: String) -> Result<String, ApiError> {
    if name.is_empty() || name.chars().count() > 255 {
        return Err(ApiError::bad_request(
            "BadRequest",
            "Invalid input for field 'resource_name': expected 1 to 255 characters.",
        ));
    }
    Ok(name)
}

/// A limit: -1 or more.
pub fn amount(given: &mut Attributes, name: &str) -> Result<Option<i64>, ApiError> {
    given.integer(name, RANGE)
}

/// Whether the services and regions are there that a request names; a wrong one is a fault of the request.
pub async fn check_places(
    app: &Shared,
    services: &BTreeSet<&str>,
    regions: &BTreeSet<&str>,
) -> Result<(), ApiError> {
    let found = service::Entity::find()
        .filter(service::Column::Id.is_in(services.iter().copied()))
        .count(&app.db)
        .await?;
    if found < services.len() as u64 {
        return Err(ApiError::bad_request(
            "BadRequest",
            "Expecting to find service_id of a service that exists.",
        ));
    }
    if regions.is_empty() {
        return Ok(());
    }
    let found = region::Entity::find()
        .filter(region::Column::Id.is_in(regions.iter().copied()))
        .count(&app.db)
        .await?;
    if found < regions.len() as u64 {
        return Err(ApiError::bad_request(
            "BadRequest",
            "Expecting to find region_id of a region that exists.",
        ));
    }
    Ok(())
}

async fn check_rows(app: &Shared, rows: &[Model]) -> Result<(), ApiError> {
    let services = rows.iter().map(|row| row.service_id.as_str()).collect();
    let regions = rows.iter().map(|row| row.region_id.as_str());
    let regions = regions.filter(|id| !id.is_empty()).collect();
    check_places(app, &services, &regions).await
}

async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = Entity::find().order_by_asc(Column::Id).all(&app.db).await?;
    Ok(collection(
        "registered_limits",
        "/registered_limits",
        &v3(&app, &headers),
        &query,
        rows.iter().map(view).collect(),
    ))
}

/// All of a request or none.
async fn create(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut rows = Vec::new();
    for mut given in Attributes::list("registered_limits", "registered_limit", body)? {
        let default_limit = amount(&mut given, "default_limit")?;
        rows.push(Model {
            id: new_id(),
            service_id: given.required("service_id")?,
            region_id: given.nullable("region_id")?.unwrap_or_default(),
            resource_name: resource_name(given.required("resource_name")?)?,
            default_limit: default_limit.ok_or_else(|| given.missing("default_limit"))?,
            description: given.nullable("description")?.unwrap_or_default(),
            revision: 0,
        });
        given.finish()?;
    }
    check_rows(&app, &rows).await?;
    let name = rows
        .first()
        .map(|row| row.resource_name.clone())
        .unwrap_or_default();
    Entity::insert_many(rows.iter().cloned().map(IntoActiveModel::into_active_model))
        .exec_without_returning(&app.db)
        .await
        .map_err(duplicate("registered_limit", &name))?;
    let body = collection(
        "registered_limits",
        "/registered_limits",
        &v3(&app, &headers),
        &Query::default(),
        rows.iter().map(view).collect(),
    );
    Ok((StatusCode::CREATED, body))
}

async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &id).await?;
    Ok(Json(single(
        "registered_limit",
        "registered_limits",
        &v3(&app, &headers),
        view(&row),
    )))
}

/// What limits were made from says what they are limits of: it does not change under them.
async fn unused(app: &Shared, id: &str) -> Result<(), ApiError> {
    let used = limit::Entity::find()
        .filter(limit::Column::RegisteredLimitId.eq(id))
        .count(&app.db)
        .await?;
    if used == 0 {
        return Ok(());
    }
    let message = format!(
        "Unable to update or delete registered limit {id} because there are project limits associated with it."
    );
    Err(ApiError::forbidden("Forbidden", message))
}

fn changed_meanwhile(id: &str) -> ApiError {
    ApiError::conflict(
        "Conflict",
        format!("The registered limit {id} was changed by somebody else at the same time."),
    )
}

async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let old = find(&app, &id).await?;
    let mut given = Attributes::open("registered_limit", body)?;
    let mut row = old.clone();
    if let Some(service) = given.text("service_id")? {
        row.service_id = service;
    }
    if let Some(region) = given.nullable("region_id")? {
        row.region_id = region;
    }
    if let Some(name) = given.text("resource_name")? {
        row.resource_name = resource_name(name)?;
    }
    if let Some(default) = amount(&mut given, "default_limit")? {
        row.default_limit = default;
    }
    if let Some(description) = given.nullable("description")? {
        row.description = description;
    }
    given.finish()?;
    let subject = |row: &Model| {
        (
            row.service_id.clone(),
            row.region_id.clone(),
            row.resource_name.clone(),
        )
    };
    if subject(&row) != subject(&old) {
        check_rows(&app, std::slice::from_ref(&row)).await?;
        unused(&app, &id).await?;
    }
    let mut active = row.clone().into_active_model().reset_all();
    active.revision = Set(old.revision + 1);
    let done = Entity::update_many()
        .set(active)
        .filter(Column::Id.eq(&id))
        .filter(Column::Revision.eq(old.revision))
        .exec(&app.db)
        .await
        .map_err(duplicate("registered_limit", &row.resource_name))?;
    if done.rows_affected == 0 {
        return Err(changed_meanwhile(&id));
    }
    Ok(Json(single(
        "registered_limit",
        "registered_limits",
        &v3(&app, &headers),
        view(&row),
    )))
}

async fn delete(State(app): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let row = find(&app, &id).await?;
    unused(&app, &id).await?;
    let done = Entity::delete_many()
        .filter(Column::Id.eq(&id))
        .filter(Column::Revision.eq(row.revision))
        .exec(&app.db)
        .await?;
    if done.rows_affected == 0 {
        return Err(changed_meanwhile(&id));
    }
    Ok(StatusCode::NO_CONTENT)
}
