//! `/v2/metadefs/namespaces/{namespace}/tags`: words.

use super::{added, dated, fields, found, item_key, page, place, replaced, taken, visible};
use crate::{
    api::Shared,
    app::wrong,
    store::metadefs::{self, Kind, item},
};
use axum::{extract::State, response::IntoResponse};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, store};

fn view(row: &item::Model) -> Value {
    let mut view = Map::new();
    view.insert("name".to_owned(), row.name.as_str().into());
    Value::Object(dated(view, row))
}

fn brief(rows: &[item::Model]) -> Value {
    rows.iter().map(|row| json!({"name": row.name})).collect()
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    let rows = metadefs::items(&app.db, &namespace.id, Kind::Tag).await?;
    let url = format!("/v2/metadefs/namespaces/{name}/tags");
    let (rows, mut answer) = page(rows, &query, &url, item_key, |row| &row.name)?;
    answer.insert("tags".to_owned(), brief(&rows));
    answer.insert("schema".to_owned(), "/v2/schemas/metadefs/tags".into());
    Ok(Json(Value::Object(answer)))
}

/// All tags at once: instead of those that are there, or, by a header, beside them.
pub async fn create_all(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(given): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    let tags = fields::object(&given, &["tags"])?.get("tags");
    let tags = tags.and_then(Value::as_array);
    let tags = tags.ok_or_else(|| wrong("Expected a list as `tags`."))?;
    let rows: Vec<item::Model> = tags
        .iter()
        .map(|tag| fields::tag(&namespace.id, tag))
        .collect::<Result<_, _>>()?;
    let append = headers.get("x-openstack-append");
    let append = append.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        if !append {
            metadefs::remove(&tx, &namespace.id, Kind::Tag, None).await?;
        }
        metadefs::add(&tx, &rows).await?;
        tx.commit().await
    })
    .await
    .map_err(taken("tag", "one of these"))?;
    let headers = place(&format!("/v2/metadefs/namespaces/{name}/tags"))?;
    Ok((
        StatusCode::CREATED,
        headers,
        Json(json!({"tags": brief(&rows)})),
    ))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Path((name, tag)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let read = |id: &str| fields::tag(id, &json!({"name": tag}));
    let (_, row) = added(&app, &context, &name, read).await?;
    let headers = place(&format!("/v2/metadefs/namespaces/{name}/tags/{tag}"))?;
    Ok((StatusCode::CREATED, headers, Json(view(&row))))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path((name, tag)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let namespace = visible(&app, &context, &name).await?;
    Ok(Json(view(&found(&app, &namespace, Kind::Tag, &tag).await?)))
}

pub async fn update(
    State(app): State<Shared>,
    context: RequestContext,
    Path((name, tag)): Path<(String, String)>,
    Json(given): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let read = |id: &str| fields::tag(id, &given);
    let (_, row) = replaced(&app, &context, &name, Kind::Tag, &tag, read).await?;
    Ok(Json(view(&row)))
}
