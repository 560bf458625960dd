//! `/v3/users/{user_id}/application_credentials`.

use super::{
    Shared,
    body::{Attributes, collection_of, or_null, single, v3},
    users::own,
};
use crate::{
    app::{
        App,
        access_rules::{parse, view as rule_view},
        duplicate, not_found, passwords,
        tokens::time_text,
    },
    store::{
        access_rules::{self, held as held_rules},
        entities::{application_credential, role},
    },
};
use axum::extract::State;
use chrono::{NaiveDateTime, Utc};
use http::{HeaderMap, StatusCode};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, store};
use std::collections::{BTreeSet, HashMap};

/// Roles by their ids.
type Roles = HashMap<String, role::Model>;

fn held(row: &application_credential::Model) -> Vec<String> {
    serde_json::from_str(&row.roles).unwrap_or_default()
}

async fn roles_of(app: &Shared, rows: &[application_credential::Model]) -> Result<Roles, ApiError> {
    let ids: BTreeSet<String> = rows.iter().flat_map(held).collect();
    let roles = role::Entity::find()
        .filter(role::Column::Id.is_in(ids))
        .all(&app.db)
        .await?;
    Ok(roles
        .into_iter()
        .map(|role| (role.id.clone(), role))
        .collect())
}

/// Credentials with their access rules.
async fn views(
    app: &Shared,
    rows: &[application_credential::Model],
) -> Result<Vec<Value>, ApiError> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let rules = access_rules::of(&app.db, &ids).await?;
    let roles = roles_of(app, rows).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let mut view = view(row, &roles);
            if let Some(rules) = rules.get(&row.id) {
                let rules: Vec<Value> = rules.iter().map(rule_view).collect();
                view["access_rules"] = rules.into();
            }
            view
        })
        .collect())
}

fn view(row: &application_credential::Model, roles: &Roles) -> Value {
    let roles: Vec<Value> = held(row)
        .iter()
        .filter_map(|id| roles.get(id))
        .map(|role| json!({ "id": role.id, "name": role.name, "domain_id": or_null(&role.domain_id) }))
        .collect();
    let expires =
        (row.expires_at != 0).then(|| time_text(row.expires_at).trim_end_matches('Z').to_owned());
    json!({
        "id": row.id,
        "name": row.name,
        "description": or_null(&row.description),
        "project_id": row.project_id,
        "user_id": row.user_id,
        "roles": roles,
        "unrestricted": row.unrestricted,
        "expires_at": expires,
        "system": null,
    })
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(user_id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &user_id, "identity:list_application_credentials")?;
    let rows = application_credential::Entity::find()
        .filter(application_credential::Column::UserId.eq(&user_id))
        .all(&app.db)
        .await?;
    let path = format!("/users/{user_id}/application_credentials");
    let base = v3(&app, &headers);
    Ok(collection_of(
        path.trim_start_matches('/'),
        "application_credentials",
        &path,
        &base,
        &query,
        views(&app, &rows).await?,
    ))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Path(user_id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    // Only for oneself: nobody may mint credentials of another.
    if context.user_id != user_id || context.project_id.is_empty() {
        return Err(ApiError::policy("identity:create_application_credential"));
    }
    if context.token.application_credential.is_some() {
        return Err(ApiError::forbidden(
            "Forbidden",
            "Application credentials cannot make further ones.",
        ));
    }
    if context.token.trust.is_some() {
        return Err(ApiError::forbidden(
            "Forbidden",
            "A trust's token cannot make application credentials.",
        ));
    }
    let mut given = Attributes::open("application_credential", body)?;
    let (id, generated) = App::new_credential();
    let chosen = given.text("secret")?;
    let rounds = if chosen.is_some() {
        passwords::ROUNDS
    } else {
        passwords::ROUNDS_RANDOM
    };
    let secret = chosen.unwrap_or(generated);
    let held = &context.token.roles;
    let roles: Vec<String> = match given.value("roles") {
        None | Some(Value::Null) => held.iter().map(|role| role.id.clone()).collect(),
        Some(wanted) => wanted
            .as_array()
            .into_iter()
            .flatten()
            .map(|role| {
                let text = |name: &str| role.get(name).and_then(Value::as_str);
                held.iter()
                    .find(|kept| text("id") == Some(&kept.id) || text("name") == Some(&kept.name))
                    .map(|kept| kept.id.clone())
                    .ok_or_else(|| {
                        ApiError::bad_request(
                            "BadRequest",
                            "A role is asked for that the token does not have.",
                        )
                    })
            })
            .collect::<Result<_, _>>()?,
    };
    let expires_at = match given
        .nullable("expires_at")?
        .filter(|text| !text.is_empty())
    {
        None => 0,
        Some(text) => {
            NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f")
                .map(|time| time.and_utc())
                .ok()
                .filter(|time| *time > Utc::now())
                .map(|time| time.timestamp_micros())
                .ok_or_else(|| {
                    ApiError::bad_request(
                        "BadRequest",
                        "expires_at must be a time in the future, ISO 8601.",
                    )
                })?
        }
    };
    let wanted = parse(given.value("access_rules"))?;
    let row = application_credential::Model {
        id,
        name: given.required_name()?,
        user_id: user_id.clone(),
        project_id: context.project_id.clone(),
        secret_hash: passwords::hash(&secret, rounds).await?,
        description: given.nullable("description")?.unwrap_or_default(),
        roles: json!(roles).to_string(),
        unrestricted: given.flag("unrestricted")?.unwrap_or(false),
        expires_at,
    };
    let rules = match &wanted {
        Some(wanted) => app.access_rules(&user_id, wanted).await?,
        None => Vec::new(),
    };
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        application_credential::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(&tx)
            .await?;
        if !rules.is_empty() {
            let held = rules.iter().map(|rule| held_rules::ActiveModel {
                application_credential_id: Set(row.id.clone()),
                access_rule_id: Set(rule.id.clone()),
            });
            held_rules::Entity::insert_many(held)
                .exec_without_returning(&tx)
                .await?;
        }
        tx.commit().await
    })
    .await
    .map_err(duplicate("application credential", &row.name))?;
    let mut view = view(&row, &roles_of(&app, std::slice::from_ref(&row)).await?);
    if wanted.is_some() {
        let rules: Vec<Value> = rules.iter().map(rule_view).collect();
        view["access_rules"] = rules.into();
    }
    // Shown this once.
    view["secret"] = secret.into();
    let plural = format!("users/{user_id}/application_credentials");
    Ok((
        StatusCode::CREATED,
        Json(single(
            "application_credential",
            &plural,
            &v3(&app, &headers),
            view,
        )),
    ))
}

async fn find(
    app: &Shared,
    user_id: &str,
    id: &str,
) -> Result<application_credential::Model, ApiError> {
    let row = application_credential::Entity::find_by_id(id)
        .one(&app.db)
        .await?;
    row.filter(|row| row.user_id == user_id)
        .ok_or_else(|| not_found("application credential", id))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path((user_id, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &user_id, "identity:get_application_credential")?;
    let row = find(&app, &user_id, &id).await?;
    let view = views(&app, &[row]).await?.pop().unwrap_or_default();
    let plural = format!("users/{user_id}/application_credentials");
    Ok(Json(single(
        "application_credential",
        &plural,
        &v3(&app, &headers),
        view,
    )))
}

pub async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path((user_id, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    own(&context, &user_id, "identity:delete_application_credential")?;
    let row = find(&app, &user_id, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        access_rules::forget_credential(&tx, &id).await?;
        row.clone().delete(&tx).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
