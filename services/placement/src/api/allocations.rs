//! `/allocations`, `/allocation_candidates`, `/usages`.

use std::collections::BTreeMap;

use http::StatusCode;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, Rule};
use uuid::Uuid;

use super::{State, bad, wanted};
use crate::app::candidates;
use crate::app::claims::{self, Amounts, Claim};
use crate::app::names::{self, Kind};
use crate::store::{allocation, consumer};

fn consumer_id(text: &str) -> Result<String, ApiError> {
    text.parse::<Uuid>()
        .map(|id| id.to_string())
        .map_err(|_| bad(format!("`{text}` is not a UUID")))
}

/// GET.
pub async fn show(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let held = claims::held(&app.db, &consumer_id(&id)?).await?;
    let mut parts = Map::new();
    for (provider, amounts) in &held.parts {
        parts.insert(
            provider.clone(),
            json!({"resources": amounts, "generation": held.generations.get(provider)}),
        );
    }
    let mut out = json!({"allocations": parts});
    if let Some(consumer) = held.consumer {
        if who.at_least(1, 12) {
            out["project_id"] = json!(consumer.project_id);
            out["user_id"] = json!(consumer.user_id);
        }
        if who.at_least(1, 28) {
            out["consumer_generation"] = json!(consumer.generation);
        }
        if who.at_least(1, 38) {
            out["consumer_type"] = json!(consumer.kind);
        }
    }
    Ok(Json(out))
}

/// The body of one claim: a list of providers before 1.12, an object since.
fn claim(who: &RequestContext, consumer: String, body: &Value) -> Result<Claim, ApiError> {
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let mut parts: BTreeMap<String, Amounts> = BTreeMap::new();
    let mut add = |provider: &str, resources: &Value| -> Result<(), ApiError> {
        let provider: Uuid = provider
            .parse()
            .map_err(|_| bad(format!("`{provider}` is not a UUID")))?;
        let amounts: Amounts = serde_json::from_value(resources.clone())
            .map_err(|error| bad(format!("`resources`: {error}")))?;
        if amounts.is_empty() || amounts.values().any(|amount| *amount < 1) {
            return Err(bad(
                "`resources` must name at least one class, with amounts of at least 1.",
            ));
        }
        parts.insert(provider.to_string(), amounts);
        Ok(())
    };
    match &body["allocations"] {
        Value::Array(list) if !who.at_least(1, 12) => {
            for entry in list {
                add(
                    entry["resource_provider"]["uuid"]
                        .as_str()
                        .unwrap_or_default(),
                    &entry["resources"],
                )?;
            }
        }
        Value::Object(map) if who.at_least(1, 12) => {
            for (provider, entry) in map {
                add(provider, &entry["resources"])?;
            }
        }
        _ => {
            return Err(bad(
                "`allocations` has the wrong form for this microversion.",
            ));
        }
    }
    if parts.is_empty() && !who.at_least(1, 28) {
        return Err(bad(
            "`allocations` must not be empty before microversion 1.28.",
        ));
    }
    let required =
        |name: &str| text(name).ok_or_else(|| bad(format!("'{name}' is a required property")));
    let (project_id, user_id) = if who.at_least(1, 8) {
        (required("project_id")?, required("user_id")?)
    } else {
        (
            text("project_id").unwrap_or_default(),
            text("user_id").unwrap_or_default(),
        )
    };
    let generation = if who.at_least(1, 28) {
        match body.get("consumer_generation") {
            Some(Value::Null) => Some(None),
            Some(Value::Number(number)) => Some(number.as_i64()),
            _ => return Err(bad("'consumer_generation' is a required property")),
        }
    } else {
        None
    };
    let kind = if who.at_least(1, 38) {
        required("consumer_type")?
    } else {
        "unknown".to_owned()
    };
    Ok(Claim {
        consumer,
        project_id,
        user_id,
        kind,
        generation,
        parts,
    })
}

/// PUT: what the consumer holds from now on.
pub async fn replace(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<StatusCode, ApiError> {
    claims::set(&app, &[claim(&who, consumer_id(&id)?, &body)?]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// POST: several consumers, all or none.
pub async fn manage(
    app: State,
    who: RequestContext,
    Json(body): Json<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    if !who.at_least(1, 13) {
        return Err(ApiError::not_found(
            "placement.undefined_code",
            "The resource could not be found.",
        ));
    }
    let mut all = Vec::new();
    for (id, body) in &body {
        all.push(claim(&who, consumer_id(id)?, body)?);
    }
    claims::set(&app, &all).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// DELETE: the consumer holds nothing from now on.
pub async fn delete(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    if claims::release(&app, &consumer_id(&id)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found(
            "placement.undefined_code",
            format!("No allocations for consumer '{id}'"),
        ))
    }
}

/// GET `/allocation_candidates`.
pub async fn candidates(
    app: State,
    who: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    if let Some((name, _)) = query.0.iter().find(|(name, _)| {
        ![
            "resources",
            "required",
            "member_of",
            "limit",
            "group_policy",
            "in_tree",
        ]
        .contains(&name.as_str())
    }) {
        return Err(bad(format!(
            "Invalid query string parameters: '{name}' is not supported."
        )));
    }
    let wanted = wanted(&query)?;
    if wanted.resources.is_empty() {
        return Err(bad("'resources' is a required property"));
    }
    names::check(&app.db, Kind::Class, wanted.resources.keys()).await?;
    names::check(
        &app.db,
        Kind::Trait,
        wanted.required.iter().flatten().chain(&wanted.forbidden),
    )
    .await?;
    let mut all = candidates::snapshot(&app.db).await?;
    if let Some(only) = query.get("in_tree") {
        all.retain(|snapshot| snapshot.provider.id == only);
    }
    let found = candidates::candidates(&all, &wanted);
    let (mut requests, mut summaries) = (Vec::new(), Map::new());
    for snapshot in found {
        let id = &snapshot.provider.id;
        requests.push(if who.at_least(1, 12) {
            let mut request = json!({"allocations": {id: {"resources": wanted.resources}}});
            if who.at_least(1, 34) {
                request["mappings"] = json!({"": [id]});
            }
            request
        } else {
            json!({"allocations": [{"resource_provider": {"uuid": id}, "resources": wanted.resources}]})
        });
        let shown = snapshot
            .offers
            .iter()
            .filter(|(class, _)| who.at_least(1, 27) || wanted.resources.contains_key(*class));
        let resources: Map<String, Value> = shown
            .map(|(class, offer)| {
                let used = snapshot.used.get(class).copied().unwrap_or(0);
                (
                    class.clone(),
                    json!({"capacity": offer.capacity(), "used": used}),
                )
            })
            .collect();
        let mut summary = json!({"resources": resources});
        if who.at_least(1, 17) {
            summary["traits"] = json!(snapshot.traits);
        }
        if who.at_least(1, 29) {
            summary["parent_provider_uuid"] = Value::Null;
            summary["root_provider_uuid"] = json!(id);
        }
        summaries.insert(id.clone(), summary);
    }
    Ok(Json(
        json!({"allocation_requests": requests, "provider_summaries": summaries}),
    ))
}

/// GET `/usages?project_id=`: what a project holds in all. A project's own users may ask.
pub async fn project_usages(
    app: State,
    who: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let project = query
        .get("project_id")
        .ok_or_else(|| bad("'project_id' is a required property"))?;
    let own = who.allows(Rule::Reader) && who.owns(project);
    if !own && !who.allows(Rule::Service) {
        return Err(ApiError::policy("placement:usages"));
    }
    let mut select = consumer::Entity::find().filter(consumer::Column::ProjectId.eq(project));
    if let Some(user) = query.get("user_id") {
        select = select.filter(consumer::Column::UserId.eq(user));
    }
    let consumers: Vec<String> = select
        .all(&app.db)
        .await?
        .into_iter()
        .map(|row| row.id)
        .collect();
    let mut usages: BTreeMap<String, i64> = BTreeMap::new();
    for chunk in consumers.chunks(500) {
        let rows = allocation::Entity::find()
            .filter(allocation::Column::ConsumerId.is_in(chunk))
            .all(&app.db)
            .await?;
        for row in rows {
            *usages.entry(row.class).or_default() += row.used;
        }
    }
    if who.at_least(1, 38) {
        let mut all = json!(usages);
        all["consumer_count"] = json!(consumers.len());
        return Ok(Json(json!({"usages": {"all": all}})));
    }
    Ok(Json(json!({"usages": usages})))
}
