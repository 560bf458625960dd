//! `/v2/metadefs/namespaces/{namespace}/objects`: properties that belong together.

use super::{added, body, dated, fields, found, item_key, page, place, replaced, visible};
use crate::{
    api::Shared,
    store::metadefs::{self, Kind, item, namespace},
};
use axum::{extract::State, response::IntoResponse};
use http::StatusCode;
use serde_json::{Map, Value};
use service_kit::{ApiError, Json, Path, Query, RequestContext};

fn url(namespace: &namespace::Model, name: &str) -> String {
    format!(
        "/v2/metadefs/namespaces/{}/objects/{name}",
        namespace.namespace
    )
}

/// An object, its properties with what stands before their names.
pub fn view(namespace: &namespace::Model, row: &item::Model, prefix: &str) -> Value {
    let mut view = Map::new();
    view.insert("name".to_owned(), row.name.as_str().into());
    view.extend(body(row));
    if let Some(Value::Object(properties)) = view.get_mut("properties")
        && !prefix.is_empty()
    {
        let named = std::mem::take(properties).into_iter();
        *properties = named
            .map(|(name, value)| (format!("{prefix}{name}"), value))
            .collect();
    }
    let mut view = dated(view, row);
    view.insert("self".to_owned(), url(namespace, &row.name).into());
    view.insert("schema".to_owned(), "/v2/schemas/metadefs/object".into());
    Value::Object(view)
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    let rows = metadefs::items(&app.db, &namespace.id, Kind::Object).await?;
    let url = format!("/v2/metadefs/namespaces/{name}/objects");
    let (rows, mut answer) = page(rows, &query, &url, item_key, |row| &row.name)?;
    let views: Vec<Value> = rows.iter().map(|row| view(&namespace, row, "")).collect();
    answer.insert("objects".to_owned(), views.into());
    answer.insert("schema".to_owned(), "/v2/schemas/metadefs/objects".into());
    Ok(Json(Value::Object(answer)))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    Json(given): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let read = |id: &str| fields::object_item(id, &given);
    let (namespace, row) = added(&app, &context, &name, read).await?;
    let headers = place(&url(&namespace, &row.name))?;
    Ok((
        StatusCode::CREATED,
        headers,
        Json(view(&namespace, &row, "")),
    ))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path((name, object)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    let row = found(&app, &namespace, Kind::Object, &object).await?;
    Ok(Json(view(&namespace, &row, "")))
}

pub async fn update(
    State(app): State<Shared>,
    context: RequestContext,
    Path((name, object)): Path<(String, String)>,
    Json(given): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let read = |id: &str| fields::object_item(id, &given);
    let (namespace, row) = replaced(&app, &context, &name, Kind::Object, &object, read).await?;
    Ok(Json(view(&namespace, &row, "")))
}
