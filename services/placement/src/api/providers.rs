//! `/resource_providers` and what hangs below it, but for inventories.

use std::collections::BTreeSet;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext};
use uuid::Uuid;

use super::{State, bad, wanted};
use crate::app::{candidates, claims, providers};
use crate::store::{allocation, provider};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

fn view(row: &provider::Model, who: &RequestContext) -> Value {
    let base = format!("/resource_providers/{}", row.id);
    let mut rels = vec!["inventories", "usages"];
    if who.at_least(1, 1) {
        rels.push("aggregates");
    }
    if who.at_least(1, 6) {
        rels.push("traits");
    }
    if who.at_least(1, 11) {
        rels.push("allocations");
    }
    let mut links = vec![json!({"rel": "self", "href": base})];
    links.extend(
        rels.iter()
            .map(|rel| json!({"rel": rel, "href": format!("{base}/{rel}")})),
    );
    let mut out =
        json!({"uuid": row.id, "name": row.name, "generation": row.generation, "links": links});
    if who.at_least(1, 14) {
        out["root_provider_uuid"] = json!(row.id);
        out["parent_provider_uuid"] = Value::Null;
    }
    out
}

/// GET, filtered by name, uuid, and as candidates are.
pub async fn list(app: State, who: RequestContext, query: Query) -> Result<Json<Value>, ApiError> {
    let wanted = wanted(&query)?;
    let all = candidates::snapshot(&app.db).await?;
    let rows = all.iter().filter(|snapshot| {
        let row = &snapshot.provider;
        query.get("name").is_none_or(|name| row.name == name)
            && query.get("uuid").is_none_or(|id| row.id == id)
            && query.get("in_tree").is_none_or(|id| row.id == id)
            && candidates::matches(snapshot, &wanted)
    });
    Ok(Json(
        json!({"resource_providers": rows.map(|snapshot| view(&snapshot.provider, &who)).collect::<Vec<_>>()}),
    ))
}

/// Body of POST and PUT.
#[derive(Debug, Deserialize)]
pub struct Body {
    name: String,
    #[serde(default)]
    uuid: Option<Uuid>,
    #[serde(default)]
    parent_provider_uuid: Option<Uuid>,
}

impl Body {
    fn check(&self) -> Result<(), ApiError> {
        if self.name.is_empty() || self.name.len() > 200 {
            return Err(bad("`name` must have 1 to 200 characters."));
        }
        if self.parent_provider_uuid.is_some() {
            return Err(bad("Nested resource providers are not supported."));
        }
        Ok(())
    }
}

/// POST.
pub async fn create(
    app: State,
    who: RequestContext,
    Json(body): Json<Body>,
) -> Result<Response, ApiError> {
    body.check()?;
    let id = body.uuid.unwrap_or_else(Uuid::new_v4).to_string();
    let row = providers::create(&app, &id, &body.name).await?;
    let location = [(header::LOCATION, format!("/resource_providers/{id}"))];
    Ok(if who.at_least(1, 20) {
        (StatusCode::OK, location, Json(view(&row, &who))).into_response()
    } else {
        (StatusCode::CREATED, location).into_response()
    })
}

/// GET of one.
pub async fn show(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(view(&providers::find(&app.db, &id).await?, &who)))
}

/// PUT of one: its name.
pub async fn update(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Body>,
) -> Result<Json<Value>, ApiError> {
    body.check()?;
    Ok(Json(view(
        &providers::rename(&app, &id, &body.name).await?,
        &who,
    )))
}

/// DELETE of one.
pub async fn delete(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    providers::delete(&app, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// GET `usages`: every class that is offered, held or not.
pub async fn usages(app: State, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let row = providers::find(&app.db, &id).await?;
    let mut out: Map<String, Value> = providers::inventories(&app.db, &id)
        .await?
        .into_keys()
        .map(|class| (class, json!(0)))
        .collect();
    for (class, used) in providers::usages_of(&app.db, std::slice::from_ref(&id))
        .await?
        .remove(&id)
        .unwrap_or_default()
    {
        out.insert(class, json!(used));
    }
    Ok(Json(
        json!({"resource_provider_generation": row.generation, "usages": out}),
    ))
}

/// GET `allocations`: who holds what here.
pub async fn allocations(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let row = providers::find(&app.db, &id).await?;
    let rows = allocation::Entity::find()
        .filter(allocation::Column::ProviderId.eq(&id))
        .all(&app.db)
        .await?;
    let mut out = Map::new();
    for held in rows {
        if !out.contains_key(&held.consumer_id) {
            let mut entry = json!({"resources": {}});
            if who.at_least(1, 28) {
                let consumer = claims::held(&app.db, &held.consumer_id).await?.consumer;
                entry["consumer_generation"] = json!(consumer.map(|consumer| consumer.generation));
            }
            out.insert(held.consumer_id.clone(), entry);
        }
        out[&held.consumer_id]["resources"][&held.class] = json!(held.used);
    }
    Ok(Json(
        json!({"resource_provider_generation": row.generation, "allocations": out}),
    ))
}

async fn tags(
    app: &State,
    kind: &str,
    id: &str,
) -> Result<(provider::Model, BTreeSet<String>), ApiError> {
    let row = providers::find(&app.db, id).await?;
    let tags = providers::tags_of(&app.db, kind, &[id.to_owned()])
        .await?
        .remove(id)
        .unwrap_or_default();
    Ok((row, tags))
}

/// GET `aggregates`.
pub async fn aggregates(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (row, tags) = tags(&app, "aggregate", &id).await?;
    let mut out = json!({"aggregates": tags});
    if who.at_least(1, 19) {
        out["resource_provider_generation"] = json!(row.generation);
    }
    Ok(Json(out))
}

/// PUT `aggregates`: a bare list before 1.19, then an object with the generation.
pub async fn set_aggregates(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let list = if who.at_least(1, 19) {
        &body["aggregates"]
    } else {
        &body
    };
    let ids: Vec<Uuid> = serde_json::from_value(list.clone())
        .map_err(|error| bad(format!("`aggregates` must be a list of UUIDs: {error}")))?;
    let generation = body["resource_provider_generation"].as_i64();
    if who.at_least(1, 19) && generation.is_none() {
        return Err(bad("'resource_provider_generation' is a required property"));
    }
    let ids: BTreeSet<String> = ids.iter().map(Uuid::to_string).collect();
    let generation = providers::set_tags(&app, "aggregate", &id, generation, &ids).await?;
    let mut out = json!({"aggregates": ids});
    if who.at_least(1, 19) {
        out["resource_provider_generation"] = json!(generation);
    }
    Ok(Json(out))
}

/// GET `traits`.
pub async fn traits(app: State, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let (row, tags) = tags(&app, "trait", &id).await?;
    Ok(Json(
        json!({"traits": tags, "resource_provider_generation": row.generation}),
    ))
}

/// Body of PUT `traits`.
#[derive(Debug, Deserialize)]
pub struct Traits {
    traits: BTreeSet<String>,
    resource_provider_generation: i64,
}

/// PUT `traits`.
pub async fn set_traits(
    app: State,
    Path(id): Path<String>,
    Json(body): Json<Traits>,
) -> Result<Json<Value>, ApiError> {
    let generation = providers::set_tags(
        &app,
        "trait",
        &id,
        Some(body.resource_provider_generation),
        &body.traits,
    )
    .await?;
    Ok(Json(
        json!({"traits": body.traits, "resource_provider_generation": generation}),
    ))
}

/// DELETE `traits`.
pub async fn delete_traits(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    providers::set_tags(&app, "trait", &id, None, &BTreeSet::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}
