//! `/v2/metadefs/resource_types`, and which of them a namespace is for.

use super::{added, body, dated, fields, place, visible};
use crate::{
    api::{Shared, view::time},
    store::metadefs::{self, Kind, item, resource_type},
};
use axum::{extract::State, response::IntoResponse};
use http::StatusCode;
use sea_orm::{EntityTrait, QueryOrder};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, RequestContext};

/// Kinds of resources that any namespace was ever for, and those that a cloud has.
pub async fn known(State(app): State<Shared>) -> Result<Json<Value>, ApiError> {
    let rows = resource_type::Entity::find()
        .order_by_asc(resource_type::Column::Name)
        .all(&app.db)
        .await?;
    let views: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({"name": row.name, "created_at": time(row.created_at), "updated_at": time(row.updated_at)})
        })
        .collect();
    Ok(Json(
        json!({"resource_types": views, "schema": "/v2/schemas/metadefs/resource_types"}),
    ))
}

/// An association.
pub fn view(row: &item::Model) -> Value {
    let mut view = Map::new();
    view.insert("name".to_owned(), row.name.as_str().into());
    view.extend(body(row));
    Value::Object(dated(view, row))
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    let rows = metadefs::items(&app.db, &namespace.id, Kind::Association).await?;
    let views: Vec<Value> = rows.iter().map(view).collect();
    Ok(Json(json!({ "resource_type_associations": views })))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    Json(given): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let read = |id: &str| fields::association(id, &given);
    let (_, row) = added(&app, &context, &name, read).await?;
    let url = format!("/v2/metadefs/namespaces/{name}/resource_types/{}", row.name);
    Ok((StatusCode::CREATED, place(&url)?, Json(view(&row))))
}
