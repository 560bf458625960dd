//! `/v2/images/{id}/import`, `/v2/stores/{store}/{id}`, and what is offered: `/v2/info`.

use super::{Shared, data::store_of};
use crate::app::{
    imports::Way,
    quota::{self, Usage},
};
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, RequestContext, Rule};

pub async fn import(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<StatusCode, ApiError> {
    let order = app.order(&body, store_of(&headers))?;
    let row = if order.way == Some(Way::CopyImage) {
        let row = app.visible(&context, &id).await?;
        context.require(Rule::Admin, "copy_image")?;
        row
    } else {
        app.own(&context, &id, "import_image").await?
    };
    app.import(&context, row, order, &body).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The ways of import that are configured.
pub async fn methods(State(app): State<Shared>) -> Json<Value> {
    let names: Vec<&str> = app.import_methods.iter().map(|way| way.name()).collect();
    Json(
        json!({"import-methods": {"description": "Import methods available.", "type": "array", "value": names}}),
    )
}

pub async fn stores(State(app): State<Shared>) -> Json<Value> {
    Json(json!({"stores": list(&app, false)}))
}

/// With what only operators may know.
pub async fn stores_detail(State(app): State<Shared>) -> Json<Value> {
    Json(json!({"stores": list(&app, true)}))
}

fn list(app: &Shared, detail: bool) -> Vec<Value> {
    let default = app.stores.default().name.as_str();
    let all = app.stores.all().iter();
    all.map(|store| {
        let mut view = json!({"id": store.name});
        if !store.common.description.is_empty() {
            view["description"] = store.common.description.as_str().into();
        }
        if store.name == default {
            view["default"] = "true".into();
        }
        if detail {
            view["type"] = store.kind.into();
            view["weight"] = store.common.weight.into();
            view["properties"] = json!({});
        }
        view
    })
    .collect()
}

pub async fn remove_from(
    State(app): State<Shared>,
    Path((store, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.remove_from(&id, &store).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the caller's project has, and what it may have.
pub async fn usage(
    State(app): State<Shared>,
    context: RequestContext,
) -> Result<Json<Value>, ApiError> {
    let project = context.project_id.as_str();
    let limits = app.quotas.limits(&context, project).await?;
    let used = Usage::of(&app.db, project).await?;
    let mut usage = Map::new();
    for name in quota::ALL {
        let limit = limits.get(name).map_or(json!(-1), |limit| json!(limit));
        usage.insert(
            name.to_owned(),
            json!({"limit": limit, "usage": used.get(name)}),
        );
    }
    Ok(Json(json!({ "usage": usage })))
}
