//! `/flavors`, who may use them, and their extra specs.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use service_kit::page::next_link;
use service_kit::request::base_url;
use service_kit::store::is_duplicate;
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext};
use uuid::Uuid;

use super::{State, bad, conflict, flag, not_found, number, required_text, text};
use crate::store::StoreError;
use crate::store::flavors::{self, Flavor};

fn links(base: &str, id: &str) -> Value {
    json!([{"rel": "self", "href": format!("{base}/v2.1/flavors/{id}")}, {"rel": "bookmark", "href": format!("{base}/flavors/{id}")}])
}

fn full(flavor: &Flavor, base: &str, who: &RequestContext) -> Value {
    let mut out = json!({
        "id": flavor.id, "name": flavor.name, "ram": flavor.ram, "disk": flavor.disk, "vcpus": flavor.vcpus,
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral, "OS-FLV-DISABLED:disabled": false,
        "os-flavor-access:is_public": flavor.is_public, "rxtx_factor": flavor.rxtx_factor,
        // An empty text means no swap before 2.75.
        "swap": if flavor.swap == 0 && !who.at_least(2, 75) { json!("") } else { json!(flavor.swap) },
        "links": links(base, &flavor.id),
    });
    if who.at_least(2, 55) {
        out["description"] = json!(flavor.description);
    }
    if who.at_least(2, 61) {
        out["extra_specs"] = json!(flavor.extra_specs);
    }
    out
}

async fn select(
    app: &State,
    who: &RequestContext,
    headers: &HeaderMap,
    query: &Query,
    path: &str,
) -> Result<(Vec<Flavor>, Option<Value>), ApiError> {
    let mut all = flavors::flavors(&app.db).await?;
    let wanted = match query
        .get("is_public")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("none") => None,
        Some(_) => query.flag("is_public"),
        None => Some(true),
    };
    if who.is_admin {
        all.retain(|flavor| {
            wanted.is_none_or(|wanted| flavor.is_public == wanted)
                || (query.get("is_public").is_none() && flavor.projects.contains(&who.project_id))
        });
    } else {
        all.retain(|flavor| flavor.is_public || flavor.projects.contains(&who.project_id));
    }
    let least = |name: &str| query.number(name).map(|number| number.unwrap_or(0));
    let (disk, ram) = (least("minDisk")?, least("minRam")?);
    all.retain(|flavor| flavor.disk >= disk && flavor.ram >= ram);
    match query.get("sort_key") {
        Some("name") => all.sort_by(|a, b| a.name.cmp(&b.name)),
        Some("memory_mb" | "ram") => all.sort_by_key(|flavor| flavor.ram),
        Some("vcpus") => all.sort_by_key(|flavor| flavor.vcpus),
        Some("root_gb" | "disk") => all.sort_by_key(|flavor| flavor.disk),
        // Upstream's default.
        _ => all.sort_by(|a, b| a.id.cmp(&b.id)),
    }
    if query
        .get("sort_dir")
        .is_some_and(|direction| direction.eq_ignore_ascii_case("desc"))
    {
        all.reverse();
    }
    let (found, more) = Page::from_query(query, 1000)?.cut(all, |flavor| flavor.id.as_str())?;
    let next = found.last().filter(|_| more).map(|last| {
        next_link(
            &format!("{}{path}", base_url(headers, &app.public_url)),
            query,
            &last.id,
        )
    });
    Ok((found, next))
}

fn answer(list: Vec<Value>, next: Option<Value>) -> Json<Value> {
    let mut out = json!({"flavors": list});
    if let Some(next) = next {
        out["flavors_links"] = next;
    }
    Json(out)
}

/// GET.
pub async fn list(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let (found, next) = select(&app, &who, &headers, &query, "/v2.1/flavors").await?;
    let base = base_url(&headers, &app.public_url);
    let short = |flavor: &Flavor| {
        let mut out =
            json!({"id": flavor.id, "name": flavor.name, "links": links(&base, &flavor.id)});
        if who.at_least(2, 55) {
            out["description"] = json!(flavor.description);
        }
        out
    };
    Ok(answer(found.iter().map(short).collect(), next))
}

/// GET `detail`.
pub async fn detail(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let (found, next) = select(&app, &who, &headers, &query, "/v2.1/flavors/detail").await?;
    let base = base_url(&headers, &app.public_url);
    Ok(answer(
        found
            .iter()
            .map(|flavor| full(flavor, &base, &who))
            .collect(),
        next,
    ))
}

async fn find(app: &State, who: &RequestContext, id: &str) -> Result<Flavor, ApiError> {
    match flavors::find_flavor(&app.db, id).await? {
        Some(flavor)
            if flavor.is_public || who.is_admin || flavor.projects.contains(&who.project_id) =>
        {
            Ok(flavor)
        }
        _ => Err(not_found(format!("Flavor {id} could not be found."))),
    }
}

/// GET of one.
pub async fn show(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let flavor = find(&app, &who, &id).await?;
    Ok(Json(
        json!({"flavor": full(&flavor, &base_url(&headers, &app.public_url), &who)}),
    ))
}

/// POST.
pub async fn create(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let wanted = body
        .get("flavor")
        .ok_or_else(|| bad("Invalid input: 'flavor' is a required property"))?;
    let amount = |name: &str, least: i64, default: Option<i64>| -> Result<u64, ApiError> {
        match number(wanted, name)?.or(default) {
            Some(amount) if amount >= least && amount <= i64::from(i32::MAX) => Ok(amount as u64),
            Some(amount) => Err(bad(format!(
                "Invalid input for field/attribute {name}. Value: {amount}. It must be at least {least}."
            ))),
            None => Err(bad(format!(
                "Invalid input: '{name}' is a required property"
            ))),
        }
    };
    let id = match &wanted["id"] {
        Value::Number(number) => number.to_string(),
        Value::String(text) if !text.is_empty() && text != "auto" => text.clone(),
        _ => Uuid::new_v4().to_string(),
    };
    if id.len() > 191 || id.trim() != id || id.contains('/') {
        return Err(bad("Invalid input for field/attribute id."));
    }
    let flavor = Flavor {
        id,
        name: required_text(wanted, "name", 190)?,
        ram: amount("ram", 1, None)?,
        vcpus: amount("vcpus", 1, None)? as u32,
        disk: amount("disk", 0, None)?,
        ephemeral: amount("OS-FLV-EXT-DATA:ephemeral", 0, Some(0))?,
        swap: amount("swap", 0, Some(0))?,
        rxtx_factor: wanted["rxtx_factor"]
            .as_f64()
            .or_else(|| wanted["rxtx_factor"].as_str()?.parse().ok())
            .unwrap_or(1.0),
        is_public: flag(wanted, "os-flavor-access:is_public")?.unwrap_or(true),
        description: if who.at_least(2, 55) {
            text(wanted, "description", 65_535)?
        } else {
            None
        },
        extra_specs: Default::default(),
        projects: Default::default(),
    };
    match flavors::insert_flavor(&app.db, &flavor).await {
        Ok(()) => Ok(Json(
            json!({"flavor": full(&flavor, &base_url(&headers, &app.public_url), &who)}),
        )),
        Err(StoreError::Database(error)) if is_duplicate(&error) => {
            let taken = flavors::find_flavor(&app.db, &flavor.id).await?.is_some();
            Err(conflict(if taken {
                format!("Flavor with ID {} already exists.", flavor.id)
            } else {
                format!("Flavor with name {} already exists.", flavor.name)
            }))
        }
        Err(error) => Err(error.into()),
    }
}

/// PUT: the description.
pub async fn update(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut flavor = find(&app, &who, &id).await?;
    flavor.description = text(&body["flavor"], "description", 65_535)?;
    flavors::save_flavor(&app.db, &flavor).await?;
    Ok(Json(
        json!({"flavor": full(&flavor, &base_url(&headers, &app.public_url), &who)}),
    ))
}

/// DELETE.
pub async fn delete(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    if flavors::delete_flavor(&app.db, &id).await? {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(not_found(format!("Flavor {id} could not be found.")))
    }
}

fn access_view(flavor: &Flavor) -> Json<Value> {
    let list: Vec<Value> = flavor
        .projects
        .iter()
        .map(|project| json!({"flavor_id": flavor.id, "tenant_id": project}))
        .collect();
    Json(json!({"flavor_access": list}))
}

/// GET `os-flavor-access`.
pub async fn access(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let flavor = find(&app, &who, &id).await?;
    if flavor.is_public {
        return Err(not_found("Access list not available for public flavors."));
    }
    Ok(access_view(&flavor))
}

/// POST `action`: `addTenantAccess`, `removeTenantAccess`.
pub async fn action(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut flavor = find(&app, &who, &id).await?;
    let (add, arguments) = match (body.get("addTenantAccess"), body.get("removeTenantAccess")) {
        (Some(arguments), None) => (true, arguments),
        (None, Some(arguments)) => (false, arguments),
        _ => return Err(bad("There is no such action.")),
    };
    let project = required_text(arguments, "tenant", 255)?;
    if add {
        if flavor.is_public {
            return Err(conflict("Can not add access to a public flavor."));
        }
        if !flavor.projects.insert(project.clone()) {
            return Err(conflict(format!(
                "Flavor access already exists for flavor {id} and project {project} combination."
            )));
        }
    } else if !flavor.projects.remove(&project) {
        return Err(not_found(format!(
            "Flavor access not found for {id} / {project} combination."
        )));
    }
    flavors::save_flavor(&app.db, &flavor).await?;
    Ok(access_view(&flavor))
}

/// GET `os-extra_specs`.
pub async fn extra_specs(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(
        json!({"extra_specs": find(&app, &who, &id).await?.extra_specs}),
    ))
}

/// POST `os-extra_specs`.
pub async fn add_extra_specs(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut flavor = find(&app, &who, &id).await?;
    let new = super::servers::metadata(&body["extra_specs"])?;
    flavor.extra_specs.extend(new.clone());
    flavors::save_flavor(&app.db, &flavor).await?;
    Ok(Json(json!({"extra_specs": new})))
}

fn no_spec(id: &str, key: &str) -> ApiError {
    not_found(format!("Flavor {id} has no extra specs with key {key}."))
}

/// GET `os-extra_specs/{key}`.
pub async fn extra_spec(
    app: State,
    who: RequestContext,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let flavor = find(&app, &who, &id).await?;
    let value = flavor
        .extra_specs
        .get(&key)
        .ok_or_else(|| no_spec(&id, &key))?;
    Ok(Json(json!({key: value})))
}

/// PUT `os-extra_specs/{key}`.
pub async fn set_extra_spec(
    app: State,
    who: RequestContext,
    Path((id, key)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut flavor = find(&app, &who, &id).await?;
    let new = super::servers::metadata(&body)?;
    if new.len() != 1 || !new.contains_key(&key) {
        return Err(bad("Request body and URI mismatch"));
    }
    flavor.extra_specs.extend(new.clone());
    flavors::save_flavor(&app.db, &flavor).await?;
    Ok(Json(json!(new)))
}

/// DELETE `os-extra_specs/{key}`.
pub async fn delete_extra_spec(
    app: State,
    who: RequestContext,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let mut flavor = find(&app, &who, &id).await?;
    flavor
        .extra_specs
        .remove(&key)
        .ok_or_else(|| no_spec(&id, &key))?;
    flavors::save_flavor(&app.db, &flavor).await?;
    Ok(StatusCode::OK)
}
