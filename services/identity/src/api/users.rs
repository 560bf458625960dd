//! `/v3/users`.

use super::{
    Shared,
    auth::targets,
    body::{Attributes, add_extra, collection, merge_extra, or_null, single, v3},
    groups, projects,
};
use crate::{
    app::{
        bootstrap::DEFAULT_DOMAIN, duplicate, new_id, not_found, now_micros, passwords,
        roles::groups_of,
    },
    store::{
        credentials,
        entities::{application_credential, assignment, group, membership, user},
        trusts,
    },
};
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait,
    QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, store};

/// A user as the API prints it.
pub fn view(row: &user::Model) -> Value {
    let mut view = json!({
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "enabled": row.enabled,
        "password_expires_at": null,
        "options": {},
    });
    if !row.default_project_id.is_empty() {
        view["default_project_id"] = or_null(&row.default_project_id);
    }
    add_extra(&mut view, &row.extra);
    view
}

async fn find(app: &Shared, id: &str) -> Result<user::Model, ApiError> {
    user::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("user", id))
}

/// One's own, or for admins.
pub fn own(context: &RequestContext, user_id: &str, operation: &str) -> Result<(), ApiError> {
    if context.is_admin || context.user_id == user_id {
        Ok(())
    } else {
        Err(ApiError::policy(operation))
    }
}

pub async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = user::Entity::find()
        .order_by_asc(user::Column::Name)
        .all(&app.db)
        .await?;
    Ok(collection(
        "users",
        "/users",
        &v3(&app, &headers),
        &query,
        rows.iter().map(view).collect(),
    ))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("user", body)?;
    let name = given.required_name()?;
    let password_hash = match given.text("password")? {
        Some(password) => passwords::hash(&password, passwords::ROUNDS).await?,
        None => String::new(),
    };
    let domain_id = match given.text("domain_id")? {
        Some(id) => id,
        None if context.domain.id.is_empty() => DEFAULT_DOMAIN.to_owned(),
        None => context.domain.id.clone(),
    };
    projects::find_domain(&app, &domain_id).await?;
    let row = user::Model {
        id: new_id(),
        name,
        domain_id,
        default_project_id: given.nullable("default_project_id")?.unwrap_or_default(),
        enabled: given.flag("enabled")?.unwrap_or(true),
        password_hash,
        tokens_valid_from: 0,
        extra: merge_extra("{}", given.extra()),
    };
    user::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(duplicate("user", &row.name))?;
    Ok((
        StatusCode::CREATED,
        Json(single("user", "users", &v3(&app, &headers), view(&row))),
    ))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &id, "identity:get_user")?;
    Ok(Json(single(
        "user",
        "users",
        &v3(&app, &headers),
        view(&find(&app, &id).await?),
    )))
}

pub async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &id).await?;
    let mut given = Attributes::open("user", body)?;
    let (name, extra) = (row.name.clone(), row.extra.clone());
    let mut row = row.into_active_model();
    if given
        .text("domain_id")?
        .is_some_and(|domain| Set(domain) != row.domain_id)
    {
        return Err(ApiError::bad_request(
            "BadRequest",
            "Cannot change Domain ID",
        ));
    }
    if let Some(name) = given.name()? {
        row.name = Set(name);
    }
    if let Some(project) = given.nullable("default_project_id")? {
        row.default_project_id = Set(project);
    }
    if let Some(enabled) = given.flag("enabled")? {
        row.enabled = Set(enabled);
        if !enabled {
            row.tokens_valid_from = Set(now_micros());
        }
    }
    if let Some(password) = given.text("password")? {
        row.password_hash = Set(passwords::hash(&password, passwords::ROUNDS).await?);
        row.tokens_valid_from = Set(now_micros());
    }
    row.extra = Set(merge_extra(&extra, given.extra()));
    let row = row
        .update(&app.db)
        .await
        .map_err(duplicate("user", &name))?;
    Ok(Json(single(
        "user",
        "users",
        &v3(&app, &headers),
        view(&row),
    )))
}

pub async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        assignment::Entity::delete_many()
            .filter(assignment::Column::ActorKind.eq("user"))
            .filter(assignment::Column::ActorId.eq(&id))
            .exec(&tx)
            .await?;
        membership::Entity::delete_many()
            .filter(membership::Column::UserId.eq(&id))
            .exec(&tx)
            .await?;
        application_credential::Entity::delete_many()
            .filter(application_credential::Column::UserId.eq(&id))
            .exec(&tx)
            .await?;
        credentials::Entity::delete_many()
            .filter(credentials::Column::UserId.eq(&id))
            .exec(&tx)
            .await?;
        for party in [trusts::Column::TrustorUserId, trusts::Column::TrusteeUserId] {
            trusts::Entity::delete_many()
                .filter(party.eq(&id))
                .exec(&tx)
                .await?;
        }
        row.clone().delete(&tx).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn change_password(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    body: Json<Value>,
) -> Result<StatusCode, ApiError> {
    own(&context, &id, "identity:change_password")?;
    let mut given = Attributes::open("user", body)?;
    let (old, new) = (
        given.required("original_password")?,
        given.required("password")?,
    );
    let row = find(&app, &id).await?;
    if !passwords::verify(&old, &row.password_hash).await? {
        return Err(ApiError::unauthorized().with_cause("the original password is wrong"));
    }
    let mut row = row.into_active_model();
    row.password_hash = Set(passwords::hash(&new, passwords::ROUNDS).await?);
    row.tokens_valid_from = Set(now_micros());
    row.update(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn projects(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &id, "identity:list_user_projects")?;
    find(&app, &id).await?;
    let rows = targets(&app, &id, "project").await?;
    let path = format!("/users/{id}/projects");
    Ok(collection(
        "projects",
        &path,
        &v3(&app, &headers),
        &query,
        projects::views(&app, &rows).await?,
    ))
}

pub async fn groups(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &id, "identity:list_groups_for_user")?;
    find(&app, &id).await?;
    let ids = groups_of(&app.db, &id).await?;
    let rows = group::Entity::find()
        .filter(group::Column::Id.is_in(ids))
        .all(&app.db)
        .await?;
    let path = format!("/users/{id}/groups");
    Ok(collection(
        "groups",
        &path,
        &v3(&app, &headers),
        &query,
        rows.iter().map(groups::view).collect(),
    ))
}
