//! Resources of a stack.
use super::{stacks::named, views};
use crate::{
    app::App,
    store::{Resource, Stack},
};
use axum::extract::State;
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext};
use std::{collections::HashMap, sync::Arc};

type One = Path<(String, String, String, String)>;

/// Names of the resources that need each one.
fn required_by(rows: &[Resource]) -> HashMap<String, Vec<String>> {
    let mut out: HashMap<String, Vec<String>> = HashMap::new();
    for row in rows {
        for needed in serde_json::from_str::<Vec<String>>(&row.requires).unwrap_or_default() {
            out.entry(needed).or_default().push(row.name.clone());
        }
    }
    out
}

pub async fn list(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Path<(String, String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let stack = named(&app, &caller, &path).await?;
    let rows = app.store.resources(&stack.id).await?;
    let needed = required_by(&rows);
    let wanted: Vec<&str> = query.all("type").collect();
    let views: Vec<Value> = rows
        .iter()
        .filter(|row| {
            !row.replaced && (wanted.is_empty() || wanted.contains(&row.type_name.as_str()))
        })
        .map(|row| {
            let needed = needed.get(&row.name).map(Vec::as_slice).unwrap_or_default();
            let mut view = views::resource(&app, &stack, row, false, needed);
            if query.get("nested_depth").is_some() {
                view["stack_name"] = json!(stack.name);
            }
            view
        })
        .collect();
    Ok(Json(json!({ "resources": views })))
}

/// The stack and the row of a path with a resource's name.
pub async fn one(
    app: &App,
    caller: &RequestContext,
    path: One,
) -> Result<(Stack, Resource, Vec<Resource>), ApiError> {
    let Path((tenant, name, id, resource)) = path;
    let stack = named(app, caller, &Path((tenant, name, id))).await?;
    let rows = app.store.resources(&stack.id).await?;
    match rows
        .iter()
        .find(|row| row.name == resource && !row.replaced)
    {
        Some(row) => Ok((stack, row.clone(), rows)),
        None => Err(ApiError::not_found(
            "EntityNotFound",
            format!(
                "The Resource ({resource}) could not be found in Stack {}.",
                stack.name
            ),
        )),
    }
}

pub async fn show(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: One,
) -> Result<Json<Value>, ApiError> {
    let (stack, row, rows) = one(&app, &caller, path).await?;
    let needed = required_by(&rows).remove(&row.name).unwrap_or_default();
    Ok(Json(
        json!({"resource": views::resource(&app, &stack, &row, true, &needed)}),
    ))
}

pub async fn metadata(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: One,
) -> Result<Json<Value>, ApiError> {
    let (_, row, _) = one(&app, &caller, path).await?;
    let metadata: Value = serde_json::from_str(&row.metadata).unwrap_or(Value::Null);
    Ok(Json(json!({ "metadata": metadata })))
}
