//! `/v3/users`.

use super::{
    Shared,
    auth::targets,
    body::{Attributes, add_extra, collection, merge_extra, or_null, single, v3},
    groups, projects,
};
use crate::{
    app::{
        accounts::Options, bootstrap::DEFAULT_DOMAIN, duplicate, new_id, not_found, now_micros,
        passwords, roles::groups_of, tokens::short_time,
    },
    store::{
        access_rules,
        accounts::{self, account},
        credentials,
        entities::{application_credential, assignment, group, membership, user},
        trusts,
    },
};
use axum::extract::State;
use chrono::NaiveDateTime;
use http::{HeaderMap, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    IntoActiveModel, ModelTrait, QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, store};
use std::collections::HashMap;

/// With more users than this, all accounts are read rather than those of a list of ids.
const IDS: usize = 500;
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.f";
const OPERATORS: [&str; 6] = ["lt", "lte", "gt", "gte", "eq", "neq"];

/// Users as the API prints them.
pub async fn views(app: &Shared, rows: &[user::Model]) -> Result<Vec<Value>, ApiError> {
    let mut select = account::Entity::find();
    if rows.len() <= IDS {
        select = select.filter(account::Column::UserId.is_in(rows.iter().map(|row| &row.id)));
    }
    let accounts = select.all(&app.db).await?;
    let by_id: HashMap<&str, &account::Model> = accounts
        .iter()
        .map(|row| (row.user_id.as_str(), row))
        .collect();
    Ok(rows
        .iter()
        .map(|row| view(row, by_id.get(row.id.as_str()).copied()))
        .collect())
}

fn view(row: &user::Model, account: Option<&account::Model>) -> Value {
    let expires_at = account.map_or(0, |account| account.password_expires_at);
    let options = account.map(|account| Options::read(&account.options).0);
    let mut view = json!({
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "enabled": row.enabled,
        "password_expires_at": (expires_at != 0).then(|| short_time(expires_at)),
        "options": options.unwrap_or_default(),
    });
    if !row.default_project_id.is_empty() {
        view["default_project_id"] = or_null(&row.default_project_id);
    }
    add_extra(&mut view, &row.extra);
    view
}

async fn whole(app: &Shared, headers: &HeaderMap, row: &user::Model) -> Result<Value, ApiError> {
    let view = views(app, std::slice::from_ref(row)).await?.pop();
    let view = view.unwrap_or_default();
    Ok(single("user", "users", &v3(app, headers), view))
}

/// Takes `password_expires_at=OPERATOR:TIME` out of a list's query, and the users out of the list that do not fit.
pub fn by_expiry(query: Query, views: &mut Vec<Value>) -> Result<Query, ApiError> {
    let (wanted, rest): (Vec<_>, Vec<_>) = query
        .0
        .into_iter()
        .partition(|(name, _)| name == "password_expires_at");
    for (_, text) in wanted {
        let (operator, time) = text.split_once(':').unwrap_or(("eq", text.as_str()));
        let time = NaiveDateTime::parse_from_str(time.trim_end_matches('Z'), TIME);
        let (Ok(time), true) = (time, OPERATORS.contains(&operator)) else {
            return Err(ApiError::bad_request(
                "BadRequest",
                "password_expires_at must be OPERATOR:TIME, with lt, lte, gt, gte, eq or neq and a time in ISO 8601.",
            ));
        };
        views.retain(|view| {
            let expires = view["password_expires_at"].as_str();
            let expires = expires.and_then(|at| NaiveDateTime::parse_from_str(at, TIME).ok());
            // One that never expires is not in question.
            expires.is_some_and(|expires| match operator {
                "lt" => expires < time,
                "lte" => expires <= time,
                "gt" => expires > time,
                "gte" => expires >= time,
                "neq" => expires != time,
                _ => expires == time,
            })
        });
    }
    Ok(Query(rest))
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
    let mut views = views(&app, &rows).await?;
    let query = by_expiry(query, &mut views)?;
    let base = v3(&app, &headers);
    Ok(collection("users", "/users", &base, &query, views))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("user", body)?;
    let name = given.required_name()?;
    let password = given.text("password")?;
    if let Some(password) = &password {
        app.password_rules.check_strength(password)?;
    }
    let mut options = Options::default();
    if let Some(given) = given.value("options") {
        options.change(&given)?;
    }
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
        password_hash: match &password {
            Some(password) => passwords::hash(password, passwords::ROUNDS).await?,
            None => String::new(),
        },
        tokens_valid_from: 0,
        extra: merge_extra("{}", given.extra()),
    };
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        user::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(&tx)
            .await?;
        if password.is_some() {
            app.password_was_set(&tx, &row.id, &row.password_hash, false, &options)
                .await?;
        } else if !options.0.is_empty() {
            app.store_options(&tx, &row.id, &options).await?;
        }
        tx.commit().await
    })
    .await
    .map_err(duplicate("user", &row.name))?;
    Ok((
        StatusCode::CREATED,
        Json(whole(&app, &headers, &row).await?),
    ))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &id, "identity:get_user")?;
    let row = find(&app, &id).await?;
    Ok(Json(whole(&app, &headers, &row).await?))
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
    let mut options = Options::read(&app.account(&id).await?.options);
    let changed = given.value("options");
    if let Some(changed) = &changed {
        options.change(changed)?;
    }
    let mut new_hash = None;
    if let Some(password) = given.text("password")? {
        app.password_rules.check_strength(&password)?;
        let hash = passwords::hash(&password, passwords::ROUNDS).await?;
        row.password_hash = Set(hash.clone());
        row.tokens_valid_from = Set(now_micros());
        new_hash = Some(hash);
    }
    row.extra = Set(merge_extra(&extra, given.extra()));
    let row = store::retry(async || {
        let tx = store::begin(&app.db).await?;
        let row = row.clone().update(&tx).await?;
        if let Some(hash) = &new_hash {
            app.password_was_set(&tx, &id, hash, false, &options)
                .await?;
        } else if changed.is_some() {
            app.store_options(&tx, &id, &options).await?;
        }
        tx.commit().await?;
        Ok(row)
    })
    .await
    .map_err(duplicate("user", &name))?;
    Ok(Json(whole(&app, &headers, &row).await?))
}

pub async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        forget(&tx, row.clone()).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a user with what he has.
pub async fn forget(db: &impl ConnectionTrait, row: user::Model) -> Result<(), DbErr> {
    assignment::Entity::delete_many()
        .filter(assignment::Column::ActorKind.eq("user"))
        .filter(assignment::Column::ActorId.eq(&row.id))
        .exec(db)
        .await?;
    membership::Entity::delete_many()
        .filter(membership::Column::UserId.eq(&row.id))
        .exec(db)
        .await?;
    application_credential::Entity::delete_many()
        .filter(application_credential::Column::UserId.eq(&row.id))
        .exec(db)
        .await?;
    credentials::Entity::delete_many()
        .filter(credentials::Column::UserId.eq(&row.id))
        .exec(db)
        .await?;
    accounts::forget(db, &row.id).await?;
    access_rules::forget_user(db, &row.id).await?;
    for party in [trusts::Column::TrustorUserId, trusts::Column::TrusteeUserId] {
        trusts::Entity::delete_many()
            .filter(party.eq(&row.id))
            .exec(db)
            .await?;
    }
    row.delete(db).await?;
    Ok(())
}

/// Without a token: the old password is the proof, and one that has expired gives no token.
pub async fn change_password(
    State(app): State<Shared>,
    Path(id): Path<String>,
    body: Json<Value>,
) -> Result<StatusCode, ApiError> {
    let mut given = Attributes::open("user", body)?;
    let (old, new) = (
        given.required("original_password")?,
        given.required("password")?,
    );
    app.change_password(&id, &old, &new).await?;
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
