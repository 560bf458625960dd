//! Events of a stack and of its resources.
use super::{stacks::named, views};
use crate::app::App;
use axum::extract::State;
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext};
use std::sync::Arc;

pub async fn of_stack(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Path<(String, String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    list(&app, &caller, &path, &query, None).await
}

pub async fn of_resource(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path((tenant, name, id, resource)): Path<(String, String, String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    list(
        &app,
        &caller,
        &Path((tenant, name, id)),
        &query,
        Some(&resource),
    )
    .await
}

async fn list(
    app: &App,
    caller: &RequestContext,
    path: &Path<(String, String, String)>,
    query: &Query,
    resource: Option<&str>,
) -> Result<Json<Value>, ApiError> {
    let stack = named(app, caller, path).await?;
    let mut events = app.store.events(&stack.id).await?;
    events.retain(|event| resource.is_none_or(|name| event.resource_name == name));
    if query.get("sort_dir") == Some("desc") {
        events.reverse();
    }
    let (events, _) = Page::from_query(query, 1000)?.cut(events, |event| &event.id)?;
    let views: Vec<Value> = events
        .iter()
        .map(|event| views::event(app, &stack, event))
        .collect();
    Ok(Json(json!({ "events": views })))
}

pub async fn show(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path((tenant, name, id, resource, event_id)): Path<(String, String, String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let stack = named(&app, &caller, &Path((tenant, name, id))).await?;
    let events = app.store.events(&stack.id).await?;
    match events
        .iter()
        .find(|event| event.id == event_id && event.resource_name == resource)
    {
        Some(event) => Ok(Json(json!({"event": views::event(&app, &stack, event)}))),
        None => Err(ApiError::not_found(
            "EntityNotFound",
            format!("The Event ({event_id}) could not be found."),
        )),
    }
}
