//! `/v3/limits`: what one project or domain has instead of the registered limit of a resource, and the model by which
//! services hold them.

use super::{
    Shared,
    body::{Attributes, collection, or_null, single, v3},
    projects,
    registered_limits::{amount, resource_name},
};
use crate::{
    app::{duplicate, new_id, not_found},
    store::{
        entities::project,
        limits::{
            hold,
            limit::{Column, Entity, Model},
            registered,
        },
    },
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait,
    QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, Route, Rule, store};
use std::collections::{BTreeSet, HashMap};

/// Rows of the resource: a project sees its own.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::{Admin, Authenticated as Any};
    let (all, one) = ("/v3/limits", "/v3/limits/{id}");
    let model_path = "/v3/limits/model";
    vec![
        Route::new(Method::GET, model_path, "get_limit_model", Any, model),
        Route::new(Method::GET, all, "list_limits", Any, list),
        Route::new(Method::POST, all, "create_limits", Admin, create),
        Route::new(Method::GET, one, "get_limit", Any, show),
        Route::new(Method::PATCH, one, "update_limit", Admin, update),
        Route::new(Method::DELETE, one, "delete_limit", Admin, delete),
    ]
}

/// Limits by themselves: those of a project say nothing about the projects below it.
async fn model() -> Json<Value> {
    Json(json!({"model": {"name": "flat",
        "description": "Limit enforcement and validation does not take project hierarchy into consideration."}}))
}

fn view(row: &Model, of: &registered::Model) -> Value {
    json!({
        "id": row.id,
        "service_id": of.service_id,
        "region_id": or_null(&of.region_id),
        "project_id": or_null(&row.project_id),
        "domain_id": or_null(&row.domain_id),
        "resource_name": of.resource_name,
        "resource_limit": row.resource_limit,
        "description": or_null(&row.description),
    })
}

async fn views(app: &Shared, rows: &[Model]) -> Result<Vec<Value>, ApiError> {
    let registered = registered::Entity::find().all(&app.db).await?;
    let by_id: HashMap<&str, &registered::Model> = registered
        .iter()
        .map(|row| (row.id.as_str(), row))
        .collect();
    Ok(rows
        .iter()
        .filter_map(|row| Some(view(row, by_id.get(row.registered_limit_id.as_str())?)))
        .collect())
}

async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let mut select = Entity::find().order_by_asc(Column::Id);
    if !context.is_admin {
        select = if !context.project_id.is_empty() {
            select.filter(Column::ProjectId.eq(&context.project_id))
        } else if let Some(domain) = &context.token.domain {
            select.filter(Column::DomainId.eq(&domain.id))
        } else {
            return Err(ApiError::policy("identity:list_limits"));
        };
    }
    let rows = select.all(&app.db).await?;
    Ok(collection(
        "limits",
        "/limits",
        &v3(&app, &headers),
        &query,
        views(&app, &rows).await?,
    ))
}

/// A limit as a request asks for it.
struct Wanted {
    service: String,
    region: String,
    resource: String,
    row: Model,
}

fn wanted(mut given: Attributes) -> Result<Wanted, ApiError> {
    let resource_limit = amount(&mut given, "resource_limit")?;
    let row = Model {
        id: new_id(),
        registered_limit_id: String::new(),
        project_id: given.nullable("project_id")?.unwrap_or_default(),
        domain_id: given.nullable("domain_id")?.unwrap_or_default(),
        resource_limit: resource_limit.ok_or_else(|| given.missing("resource_limit"))?,
        description: given.nullable("description")?.unwrap_or_default(),
    };
    if row.project_id.is_empty() == row.domain_id.is_empty() {
        return Err(ApiError::bad_request(
            "BadRequest",
            "Expecting to find either project_id or domain_id in limit.",
        ));
    }
    let wanted = Wanted {
        service: given.required("service_id")?,
        region: given.nullable("region_id")?.unwrap_or_default(),
        resource: resource_name(given.required("resource_name")?)?,
        row,
    };
    given.finish()?;
    Ok(wanted)
}

/// Whether the projects and domains are there that limits are for.
async fn check_owners(app: &Shared, list: &[Wanted]) -> Result<(), ApiError> {
    let of = |pick: fn(&Model) -> &String| -> BTreeSet<&str> {
        let ids = list.iter().map(|wanted| pick(&wanted.row).as_str());
        ids.filter(|id| !id.is_empty()).collect()
    };
    let (projects, domains) = (of(|row| &row.project_id), of(|row| &row.domain_id));
    let rows = project::Entity::find()
        .filter(project::Column::Id.is_in(projects.iter().chain(&domains).copied()))
        .all(&app.db)
        .await?;
    for (ids, kind, is_domain) in [(projects, "project", false), (domains, "domain", true)] {
        for id in ids {
            let there = |row: &project::Model| row.id == id && row.is_domain == is_domain;
            if !rows.iter().any(there) {
                return Err(not_found(kind, id));
            }
        }
    }
    Ok(())
}

/// All of a request or none.
async fn create(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut list = Attributes::list("limits", "limit", body)?
        .into_iter()
        .map(wanted)
        .collect::<Result<Vec<_>, _>>()?;
    check_owners(&app, &list).await?;
    let services: BTreeSet<&str> = list.iter().map(|wanted| wanted.service.as_str()).collect();
    let known = registered::Entity::find()
        .filter(registered::Column::ServiceId.is_in(services))
        .all(&app.db)
        .await?;
    let mut views = Vec::new();
    for wanted in &mut list {
        let of = known.iter().find(|row| {
            row.service_id == wanted.service
                && row.region_id == wanted.region
                && row.resource_name == wanted.resource
        });
        let of = of.ok_or_else(no_reference)?;
        wanted.row.registered_limit_id = of.id.clone();
        views.push(view(&wanted.row, of));
    }
    let mut held: Vec<String> = list
        .iter()
        .map(|wanted| wanted.row.registered_limit_id.clone())
        .collect();
    held.sort();
    held.dedup();
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        if !hold(&tx, &held).await? {
            return Err(no_reference());
        }
        let rows = list
            .iter()
            .map(|wanted| wanted.row.clone().into_active_model());
        Entity::insert_many(rows)
            .exec_without_returning(&tx)
            .await
            .map_err(|error| match list.first() {
                Some(first) => duplicate("limit", &first.resource)(error),
                None => error.into(),
            })?;
        tx.commit().await.map_err(ApiError::from)
    })
    .await?;
    let body = collection(
        "limits",
        "/limits",
        &v3(&app, &headers),
        &Query::default(),
        views,
    );
    Ok((StatusCode::CREATED, body))
}

fn no_reference() -> ApiError {
    ApiError::forbidden(
        "Forbidden",
        "Unable to create a limit that has no corresponding registered limit.",
    )
}

async fn find(app: &Shared, id: &str) -> Result<Model, ApiError> {
    Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("limit", id))
}

async fn whole(app: &Shared, headers: &HeaderMap, row: &Model) -> Result<Json<Value>, ApiError> {
    let view = views(app, std::slice::from_ref(row)).await?.pop();
    let view = view.ok_or_else(|| not_found("limit", &row.id))?;
    Ok(Json(single("limit", "limits", &v3(app, headers), view)))
}

async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let row = match (find(&app, &id).await, context.is_admin) {
        (found, true) => found?,
        (Ok(row), false) if may_see(&app, &context, &row).await? => row,
        _ => return Err(ApiError::policy("identity:get_limit")),
    };
    whole(&app, &headers, &row).await
}

/// A project's own people, and those of its domain.
async fn may_see(app: &Shared, context: &RequestContext, row: &Model) -> Result<bool, ApiError> {
    if !row.project_id.is_empty() && row.project_id == context.project_id {
        return Ok(true);
    }
    let Some(domain) = &context.token.domain else {
        return Ok(false);
    };
    if row.domain_id == domain.id {
        return Ok(true);
    }
    let project = projects::find(app, &row.project_id).await;
    Ok(project.is_ok_and(|project| project.domain_id == domain.id))
}

async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut row = find(&app, &id).await?.into_active_model();
    let mut given = Attributes::open("limit", body)?;
    if let Some(limit) = amount(&mut given, "resource_limit")? {
        row.resource_limit = Set(limit);
    }
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    given.finish()?;
    let row = row.update(&app.db).await?;
    whole(&app, &headers, &row).await
}

async fn delete(State(app): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    find(&app, &id).await?.delete(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}
