//! `/os-aggregates`: sets of hosts, with pairs for the scheduler; one with `availability_zone` is a zone.

use http::StatusCode;
use serde_json::{Value, json};
use service_kit::store::is_duplicate;
use service_kit::{ApiError, Json, Path, RequestContext};

use super::{State, bad, conflict, long_time, not_found, required_text, text};
use crate::store::hosts::{self, Aggregate, AggregateDoc};
use crate::store::{StoreError, now};

fn view(aggregate: &Aggregate, who: &RequestContext) -> Value {
    let mut out = json!({
        "id": aggregate.id, "name": aggregate.name, "availability_zone": aggregate.zone(), "hosts": aggregate.doc.hosts,
        "metadata": aggregate.doc.metadata, "created_at": long_time(aggregate.doc.created_at),
        "updated_at": aggregate.doc.updated_at.map(long_time), "deleted": false, "deleted_at": null,
    });
    if who.at_least(2, 41) {
        out["uuid"] = json!(aggregate.uuid);
    }
    out
}

/// GET.
pub async fn list(app: State, who: RequestContext) -> Result<Json<Value>, ApiError> {
    let all = hosts::aggregates(&app.db).await?;
    Ok(Json(
        json!({"aggregates": all.iter().map(|aggregate| view(aggregate, &who)).collect::<Vec<_>>()}),
    ))
}

async fn find(app: &State, id: &str) -> Result<Aggregate, ApiError> {
    let all = hosts::aggregates(&app.db).await?;
    let found = all
        .into_iter()
        .find(|aggregate| aggregate.id.to_string() == id);
    found.ok_or_else(|| not_found(format!("Aggregate {id} could not be found.")))
}

/// GET of one.
pub async fn show(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(
        json!({"aggregate": view(&find(&app, &id).await?, &who)}),
    ))
}

/// POST.
pub async fn create(
    app: State,
    who: RequestContext,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let wanted = &body["aggregate"];
    let name = required_text(wanted, "name", 190)?;
    let mut doc = AggregateDoc {
        created_at: now(),
        ..AggregateDoc::default()
    };
    if let Some(zone) = zone(wanted)? {
        doc.metadata.insert("availability_zone".into(), zone);
    }
    match hosts::insert_aggregate(&app.db, &name, doc).await {
        Ok(aggregate) => {
            let mut out = view(&aggregate, &who);
            if let Some(out) = out.as_object_mut() {
                // As upstream: a new aggregate shows neither.
                out.remove("hosts");
                out.remove("metadata");
            }
            Ok(Json(json!({"aggregate": out})))
        }
        Err(StoreError::Database(error)) if is_duplicate(&error) => {
            Err(conflict(format!("Aggregate {name} already exists.")))
        }
        Err(error) => Err(error.into()),
    }
}

fn zone(wanted: &Value) -> Result<Option<String>, ApiError> {
    let zone = text(wanted, "availability_zone", 255)?.filter(|zone| !zone.is_empty());
    if zone.as_ref().is_some_and(|zone| zone.contains(':')) {
        return Err(bad(
            "Invalid input for field/attribute availability_zone: it must not contain ':'.",
        ));
    }
    Ok(zone)
}

async fn save(
    app: &State,
    mut aggregate: Aggregate,
    who: &RequestContext,
) -> Result<Json<Value>, ApiError> {
    aggregate.doc.updated_at = Some(now());
    match hosts::save_aggregate(&app.db, &aggregate).await {
        Ok(()) => Ok(Json(json!({"aggregate": view(&aggregate, who)}))),
        Err(StoreError::Database(error)) if is_duplicate(&error) => Err(conflict(format!(
            "Aggregate {} already exists.",
            aggregate.name
        ))),
        Err(error @ StoreError::Changed { .. }) => Err(conflict(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// PUT: name and zone.
pub async fn update(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut aggregate = find(&app, &id).await?;
    let wanted = &body["aggregate"];
    if wanted.get("name").is_some() {
        aggregate.name = required_text(wanted, "name", 190)?;
    }
    if wanted.get("availability_zone").is_some() {
        match zone(wanted)? {
            Some(zone) => aggregate
                .doc
                .metadata
                .insert("availability_zone".into(), zone),
            None => aggregate.doc.metadata.remove("availability_zone"),
        };
    }
    save(&app, aggregate, &who).await
}

/// DELETE, once it is empty.
pub async fn delete(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let aggregate = find(&app, &id).await?;
    if !aggregate.doc.hosts.is_empty() {
        return Err(bad(format!(
            "Cannot remove host from aggregate {id}: Reason: Host aggregate is not empty."
        )));
    }
    hosts::delete_aggregate(&app.db, aggregate.id).await?;
    Ok(StatusCode::OK)
}

/// POST `action`: `add_host`, `remove_host`, `set_metadata`.
pub async fn action(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut aggregate = find(&app, &id).await?;
    if let Some(arguments) = body.get("add_host") {
        let host = required_text(arguments, "host", 255)?;
        if hosts::find_host(&app.db, &host).await?.is_none() {
            return Err(not_found(format!(
                "Compute host {host} could not be found."
            )));
        }
        if let Some(zone) = aggregate.zone() {
            let all = hosts::aggregates(&app.db).await?;
            let other = all
                .iter()
                .filter(|other| other.id != aggregate.id && other.doc.hosts.contains(&host))
                .find_map(Aggregate::zone);
            if other.is_some_and(|other| other != zone) {
                return Err(conflict(format!(
                    "Cannot add host to aggregate {id}. Reason: One or more hosts already in availability zone(s) [{}].",
                    other.unwrap_or_default()
                )));
            }
        }
        if !aggregate.doc.hosts.insert(host.clone()) {
            return Err(conflict(format!("Aggregate {id} already has host {host}.")));
        }
    } else if let Some(arguments) = body.get("remove_host") {
        let host = required_text(arguments, "host", 255)?;
        if !aggregate.doc.hosts.remove(&host) {
            return Err(not_found(format!("Aggregate {id} has no host {host}.")));
        }
    } else if let Some(arguments) = body.get("set_metadata") {
        let pairs = arguments["metadata"]
            .as_object()
            .ok_or_else(|| bad("Invalid input: 'metadata' is a required property"))?;
        for (key, value) in pairs {
            match value {
                Value::Null => aggregate.doc.metadata.remove(key),
                Value::String(value) => aggregate.doc.metadata.insert(key.clone(), value.clone()),
                other => {
                    return Err(bad(format!(
                        "Invalid input for field/attribute {key}. Value: {other}."
                    )));
                }
            };
        }
    } else {
        return Err(bad("There is no such action."));
    }
    save(&app, aggregate, &who).await
}
