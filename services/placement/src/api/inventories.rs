//! `/resource_providers/{id}/inventories`.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path};

use super::State;
use crate::app::providers::{self, Inventory};

/// GET.
pub async fn list(app: State, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let row = providers::find(&app.db, &id).await?;
    Ok(Json(
        json!({"resource_provider_generation": row.generation, "inventories": providers::inventories(&app.db, &id).await?}),
    ))
}

/// Body of PUT.
#[derive(Debug, Deserialize)]
pub struct Body {
    resource_provider_generation: i64,
    inventories: BTreeMap<String, Inventory>,
}

/// PUT: all classes.
pub async fn replace(
    app: State,
    Path(id): Path<String>,
    Json(body): Json<Body>,
) -> Result<Json<Value>, ApiError> {
    let generation = providers::set_inventories(
        &app,
        &id,
        Some(body.resource_provider_generation),
        &body.inventories,
        None,
    )
    .await?;
    Ok(Json(
        json!({"resource_provider_generation": generation, "inventories": body.inventories}),
    ))
}

/// DELETE: all classes.
pub async fn delete_all(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    providers::set_inventories(&app, &id, None, &BTreeMap::new(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn with_generation(offer: &Inventory, generation: i64) -> Value {
    let mut out = json!(offer);
    out["resource_provider_generation"] = json!(generation);
    out
}

/// GET of one class.
pub async fn show(
    app: State,
    Path((id, class)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let row = providers::find(&app.db, &id).await?;
    let offers = providers::inventories(&app.db, &id).await?;
    let offer = offers.get(&class).ok_or_else(|| {
        ApiError::not_found(
            "placement.undefined_code",
            format!("No inventory of class {class} for {id}"),
        )
    })?;
    Ok(Json(with_generation(offer, row.generation)))
}

/// Body of PUT of one class.
#[derive(Debug, Deserialize)]
pub struct OneBody {
    resource_provider_generation: i64,
    #[serde(flatten)]
    inventory: Inventory,
}

/// PUT of one class.
pub async fn replace_one(
    app: State,
    Path((id, class)): Path<(String, String)>,
    Json(body): Json<OneBody>,
) -> Result<Json<Value>, ApiError> {
    let offers = BTreeMap::from([(class.clone(), body.inventory.clone())]);
    let generation = providers::set_inventories(
        &app,
        &id,
        Some(body.resource_provider_generation),
        &offers,
        Some(&class),
    )
    .await?;
    Ok(Json(with_generation(&body.inventory, generation)))
}

/// DELETE of one class.
pub async fn delete_one(
    app: State,
    Path((id, class)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    providers::set_inventories(&app, &id, None, &BTreeMap::new(), Some(&class)).await?;
    Ok(StatusCode::NO_CONTENT)
}
