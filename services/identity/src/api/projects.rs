//! `/v3/projects` and `/v3/domains`: a domain is a project with `is_domain`.

use super::{
    Shared,
    body::{Attributes, add_extra, collection, merge_extra, or_null, single, v3},
    groups, roles, users,
};
use crate::{
    app::{bootstrap::DEFAULT_DOMAIN, duplicate, inheritance::inherited, new_id, not_found, tags},
    store::{
        credentials, endpoint_filter,
        entities::{assignment, group, project, role, user},
        limits::limit,
        tags as stored_tags,
    },
};
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    IntoActiveModel, ModelTrait, PaginatorTrait, QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, store};

/// The longest name of a project or a domain.
const NAME: usize = 64;

fn required_name(given: &mut Attributes) -> Result<String, ApiError> {
    let name = given.name_within(NAME)?;
    name.ok_or_else(|| given.missing("name"))
}

/// Projects as the API prints them.
pub async fn views(app: &Shared, rows: &[project::Model]) -> Result<Vec<Value>, ApiError> {
    let mut tags = super::tags::of(app, rows).await?;
    Ok(rows
        .iter()
        .map(|row| view(row, tags.remove(&row.id).unwrap_or_default()))
        .collect())
}

/// A project with its tags.
fn view(row: &project::Model, tags: Vec<String>) -> Value {
    let mut view = json!({
        "id": row.id,
        "name": row.name,
        "domain_id": or_null(&row.domain_id),
        "parent_id": or_null(&row.parent_id),
        "is_domain": row.is_domain,
        "enabled": row.enabled,
        "description": row.description,
        "tags": tags,
        "options": {},
    });
    add_extra(&mut view, &row.extra);
    view
}

/// A domain as the API prints it.
pub fn domain_view(row: &project::Model) -> Value {
    let mut view = json!({
        "id": row.id,
        "name": row.name,
        "enabled": row.enabled,
        "description": row.description,
        "tags": [],
        "options": {},
    });
    add_extra(&mut view, &row.extra);
    view
}

/// A project, or 404.
pub async fn find(app: &Shared, id: &str) -> Result<project::Model, ApiError> {
    let row = project::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .filter(|row| !row.is_domain);
    row.ok_or_else(|| not_found("project", id))
}

/// A project, also one that acts as a domain, or 404.
async fn find_any(app: &Shared, id: &str) -> Result<project::Model, ApiError> {
    project::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("project", id))
}

/// A domain, or 404.
pub async fn find_domain(app: &Shared, id: &str) -> Result<project::Model, ApiError> {
    let row = project::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .filter(|row| row.is_domain);
    row.ok_or_else(|| not_found("domain", id))
}

async fn all(app: &Shared, domains: bool) -> Result<Vec<project::Model>, ApiError> {
    Ok(project::Entity::find()
        .filter(project::Column::IsDomain.eq(domains))
        .order_by_asc(project::Column::Name)
        .all(&app.db)
        .await?)
}

pub async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    // Projects that act as domains are there for those who ask for them.
    let domains = query.get("is_domain").is_some() && query.flag("is_domain") != Some(false);
    let rows = all(&app, domains).await?;
    let mut tags = super::tags::of(&app, &rows).await?;
    let filter = tags::Filter::of(&query);
    let views = rows
        .iter()
        .filter_map(|row| {
            let tags = tags.remove(&row.id).unwrap_or_default();
            filter.fits(&tags).then(|| view(row, tags))
        })
        .collect();
    // Tags have filters of their own kind.
    let rest = query.0.into_iter().filter(|(name, _)| name != "tags");
    let query = Query(rest.collect());
    Ok(collection(
        "projects",
        "/projects",
        &v3(&app, &headers),
        &query,
        views,
    ))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("project", body)?;
    if given.flag("is_domain")?.unwrap_or(false) {
        for name in ["domain_id", "parent_id"] {
            if given.nullable(name)?.is_some_and(|id| !id.is_empty()) {
                return Err(ApiError::bad_request(
                    "BadRequest",
                    format!("A project that acts as a domain has no {name}."),
                ));
            }
        }
        let row = insert_domain(&app, given).await?;
        return Ok((StatusCode::CREATED, whole(&app, &headers, &row).await?));
    }
    let name = required_name(&mut given)?;
    let parent_id = given.nullable("parent_id")?.filter(|id| !id.is_empty());
    let domain_id = match given.text("domain_id")? {
        Some(id) => id,
        None => match &parent_id {
            Some(parent) => match find(&app, parent).await {
                Ok(parent) => parent.domain_id,
                Err(_) => parent.clone(),
            },
            None if context.domain.id.is_empty() => DEFAULT_DOMAIN.to_owned(),
            None => context.domain.id.clone(),
        },
    };
    find_domain(&app, &domain_id).await?;
    let tags = given_tags(&mut given)?.unwrap_or_default();
    let row = project::Model {
        id: new_id(),
        name,
        parent_id: parent_id.unwrap_or_else(|| domain_id.clone()),
        domain_id,
        is_domain: false,
        enabled: given.flag("enabled")?.unwrap_or(true),
        description: given.nullable("description")?.unwrap_or_default(),
        extra: merge_extra("{}", given.extra()),
    };
    insert(&app, &row, &tags, "project").await?;
    Ok((
        StatusCode::CREATED,
        Json(single(
            "project",
            "projects",
            &v3(&app, &headers),
            view(&row, tags),
        )),
    ))
}

fn given_tags(given: &mut Attributes) -> Result<Option<Vec<String>>, ApiError> {
    match given.value("tags") {
        None => Ok(None),
        Some(value) => tags::parse(&value).map(Some),
    }
}

async fn insert(
    app: &Shared,
    row: &project::Model,
    tags: &[String],
    what: &'static str,
) -> Result<(), ApiError> {
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        project::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(&tx)
            .await?;
        stored_tags::replace(&tx, &row.id, tags).await?;
        tx.commit().await
    })
    .await
    .map_err(duplicate(what, &row.name))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    if !context.owns(&id) {
        return Err(ApiError::policy("identity:get_project"));
    }
    whole(&app, &headers, &find_any(&app, &id).await?).await
}

/// A project's answer.
pub async fn whole(
    app: &Shared,
    headers: &HeaderMap,
    row: &project::Model,
) -> Result<Json<Value>, ApiError> {
    let mut views = views(app, std::slice::from_ref(row)).await?;
    let view = views.pop().unwrap_or_default();
    Ok(Json(single("project", "projects", &v3(app, headers), view)))
}

/// What PATCH changes on a project or a domain.
async fn change(
    app: &Shared,
    row: project::Model,
    mut given: Attributes,
) -> Result<project::Model, ApiError> {
    let (old_name, extra, domain_id) = (row.name.clone(), row.extra.clone(), row.domain_id.clone());
    let is_domain = row.is_domain;
    let mut row = row.into_active_model();
    if given.text("domain_id")?.is_some_and(|id| id != domain_id) {
        return Err(ApiError::bad_request(
            "BadRequest",
            "Cannot change Domain ID",
        ));
    }
    let _ = given.value("parent_id");
    if let Some(name) = given.name_within(NAME)? {
        row.name = Set(name);
    }
    if let Some(enabled) = given.flag("enabled")? {
        row.enabled = Set(enabled);
    }
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    let tags = if is_domain {
        None
    } else {
        given_tags(&mut given)?
    };
    row.extra = Set(merge_extra(&extra, given.extra()));
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        let row = row.clone().update(&tx).await?;
        if let Some(tags) = &tags {
            stored_tags::replace(&tx, &row.id, tags).await?;
        }
        tx.commit().await?;
        Ok(row)
    })
    .await
    .map_err(duplicate("project", &old_name))
}

pub async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let row = change(
        &app,
        find_any(&app, &id).await?,
        Attributes::open("project", body)?,
    )
    .await?;
    whole(&app, &headers, &row).await
}

/// Deletes a project or domain with what is on it.
async fn forget(db: &impl ConnectionTrait, row: project::Model) -> Result<(), DbErr> {
    let kind = if row.is_domain { "domain" } else { "project" };
    assignment::Entity::delete_many()
        .filter(assignment::Column::TargetKind.is_in([kind, inherited(kind)]))
        .filter(assignment::Column::TargetId.eq(&row.id))
        .exec(db)
        .await?;
    stored_tags::replace(db, &row.id, &[]).await?;
    for owner in [limit::Column::ProjectId, limit::Column::DomainId] {
        limit::Entity::delete_many()
            .filter(owner.eq(&row.id))
            .exec(db)
            .await?;
    }
    endpoint_filter::forget_project(db, &row.id).await?;
    credentials::Entity::delete_many()
        .filter(credentials::Column::ProjectId.eq(&row.id))
        .exec(db)
        .await?;
    row.delete(db).await?;
    Ok(())
}

pub async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find_any(&app, &id).await?;
    if row.is_domain {
        remove_domain(&app, row).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let children = project::Entity::find()
        .filter(project::Column::ParentId.eq(&id))
        .count(&app.db)
        .await?;
    if children > 0 {
        let message =
            format!("Cannot delete the project {id} since it is not a leaf in the hierarchy.");
        return Err(ApiError::forbidden("Forbidden", message));
    }
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        forget(&tx, row.clone()).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn list_domains(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = all(&app, true).await?;
    Ok(collection(
        "domains",
        "/domains",
        &v3(&app, &headers),
        &query,
        rows.iter().map(domain_view).collect(),
    ))
}

pub async fn create_domain(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let row = insert_domain(&app, Attributes::open("domain", body)?).await?;
    Ok((
        StatusCode::CREATED,
        Json(single(
            "domain",
            "domains",
            &v3(&app, &headers),
            domain_view(&row),
        )),
    ))
}

/// A new domain, which is a project that lies in nothing.
async fn insert_domain(app: &Shared, mut given: Attributes) -> Result<project::Model, ApiError> {
    let row = project::Model {
        id: new_id(),
        name: required_name(&mut given)?,
        domain_id: String::new(),
        parent_id: String::new(),
        is_domain: true,
        enabled: given.flag("enabled")?.unwrap_or(true),
        description: given.nullable("description")?.unwrap_or_default(),
        extra: merge_extra("{}", given.extra()),
    };
    insert(app, &row, &[], "domain").await?;
    Ok(row)
}

pub async fn show_domain(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    if !context.is_admin && context.domain.id != id && context.token.user.domain.id != id {
        return Err(ApiError::policy("identity:get_domain"));
    }
    Ok(Json(single(
        "domain",
        "domains",
        &v3(&app, &headers),
        domain_view(&find_domain(&app, &id).await?),
    )))
}

pub async fn update_domain(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let row = change(
        &app,
        find_domain(&app, &id).await?,
        Attributes::open("domain", body)?,
    )
    .await?;
    Ok(Json(single(
        "domain",
        "domains",
        &v3(&app, &headers),
        domain_view(&row),
    )))
}

pub async fn delete_domain(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    remove_domain(&app, find_domain(&app, &id).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a domain with all its projects, users, groups and roles. Only a disabled one: that is the moment to think again.
async fn remove_domain(app: &Shared, row: project::Model) -> Result<(), ApiError> {
    if row.id == DEFAULT_DOMAIN {
        return Err(ApiError::forbidden(
            "Forbidden",
            "You are not authorized to perform the requested action: delete the default domain.",
        ));
    }
    if row.enabled {
        return Err(ApiError::forbidden(
            "Forbidden",
            "Cannot delete a domain that is enabled, please disable it first.",
        ));
    }
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        let users = user::Entity::find().filter(user::Column::DomainId.eq(&row.id));
        for inside in users.all(&tx).await? {
            users::forget(&tx, inside).await?;
        }
        let groups = group::Entity::find().filter(group::Column::DomainId.eq(&row.id));
        for inside in groups.all(&tx).await? {
            groups::forget(&tx, inside).await?;
        }
        let projects = project::Entity::find().filter(project::Column::DomainId.eq(&row.id));
        for inside in projects.all(&tx).await? {
            forget(&tx, inside).await?;
        }
        let roles = role::Entity::find().filter(role::Column::DomainId.eq(&row.id));
        for inside in roles.all(&tx).await? {
            roles::forget(&tx, inside).await?;
        }
        forget(&tx, row.clone()).await?;
        tx.commit().await
    })
    .await
    .map_err(ApiError::from)
}
