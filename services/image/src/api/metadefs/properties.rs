//! `/v2/metadefs/namespaces/{namespace}/properties`: JSON schemas of single properties.

use super::{added, body, fields, found, missing, place, replaced, visible};
use crate::{
    api::Shared,
    store::metadefs::{self, Kind, item},
};
use axum::{extract::State, response::IntoResponse};
use http::StatusCode;
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext};

/// What stands before properties' names when they are used with a kind of resources: `hw:` with flavors, for example.
pub fn prefix(associations: &[item::Model], resource_type: Option<&str>) -> String {
    let mut all = associations.iter();
    let one = all.find(|one| Some(one.name.as_str()) == resource_type);
    let body = one.map(body).unwrap_or_default();
    let prefix = body.get("prefix").and_then(Value::as_str);
    prefix.unwrap_or_default().to_owned()
}

fn view(row: &item::Model, prefix: &str) -> Value {
    let mut view = Map::new();
    view.insert("name".to_owned(), format!("{prefix}{}", row.name).into());
    view.extend(body(row));
    Value::Object(view)
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    let rows = metadefs::items(&app.db, &namespace.id, Kind::Property).await?;
    let views: Map<String, Value> = rows
        .iter()
        .map(|row| (row.name.clone(), view(row, "")))
        .collect();
    Ok(Json(
        json!({"properties": views, "schema": "/v2/schemas/metadefs/properties"}),
    ))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    Json(given): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let read = |id: &str| fields::property(id, &given, None);
    let (_, row) = added(&app, &context, &name, read).await?;
    let url = format!("/v2/metadefs/namespaces/{name}/properties/{}", row.name);
    Ok((StatusCode::CREATED, place(&url)?, Json(view(&row, ""))))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path((name, property)): Path<(String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    let mut prefix_of = String::new();
    if let Some(wanted) = query.get("resource_type") {
        let associations = metadefs::items(&app.db, &namespace.id, Kind::Association).await?;
        prefix_of = prefix(&associations, Some(wanted));
    }
    let plain = property
        .strip_prefix(&prefix_of)
        .ok_or_else(|| missing(&namespace, Kind::Property, &property))?;
    let row = found(&app, &namespace, Kind::Property, plain).await?;
    Ok(Json(view(&row, &prefix_of)))
}

pub async fn update(
    State(app): State<Shared>,
    context: RequestContext,
    Path((name, property)): Path<(String, String)>,
    Json(given): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let read = |id: &str| fields::property(id, &given, None);
    let (_, row) = replaced(&app, &context, &name, Kind::Property, &property, read).await?;
    Ok(Json(view(&row, "")))
}
