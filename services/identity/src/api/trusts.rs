//! `/v3/OS-TRUST/trusts`: making, showing and ending trusts. What they give is in `app/trusts.rs`.

use super::{
    Shared,
    body::{Attributes, collection, collection_of, single, v3},
};
use crate::{
    app::{
        new_id, not_found,
        roles::{self, Target},
        tokens::time_text,
    },
    store::{
        entities::{role, user},
        trusts,
    },
};
use axum::extract::State;
use chrono::{NaiveDateTime, Utc};
use http::{HeaderMap, Method, StatusCode};
use openstack_types::NamedRef;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, Route, Rule};

const PATH: &str = "OS-TRUST/trusts";

/// Rows of the extension. The handlers decide: one may see and end one's own.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::Authenticated as Any;
    let one = "/v3/OS-TRUST/trusts/{trust_id}";
    let roles = "/v3/OS-TRUST/trusts/{trust_id}/roles";
    let role = "/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}";
    vec![
        Route::new(Method::GET, "/v3/OS-TRUST/trusts", "list_trusts", Any, list),
        Route::new(
            Method::POST,
            "/v3/OS-TRUST/trusts",
            "create_trust",
            Any,
            create,
        ),
        Route::new(Method::GET, one, "get_trust", Any, show),
        Route::new(Method::DELETE, one, "delete_trust", Any, delete),
        Route::new(
            Method::GET,
            roles,
            "list_roles_for_trust",
            Any,
            roles_of_trust,
        ),
        Route::new(Method::GET, role, "get_role_for_trust", Any, role_of_trust),
        Route::new(
            Method::HEAD,
            role,
            "check_role_for_trust",
            Any,
            role_of_trust,
        ),
    ]
}

async fn named_roles(app: &Shared, row: &trusts::Model) -> Result<Vec<Value>, ApiError> {
    let ids: Vec<String> = serde_json::from_str(&row.roles).unwrap_or_default();
    let rows = role::Entity::find()
        .filter(role::Column::Id.is_in(ids))
        .all(&app.db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|role| json!({"id": role.id, "name": role.name, "domain_id": null}))
        .collect())
}

fn view(row: &trusts::Model) -> Value {
    json!({
        "id": row.id,
        "trustor_user_id": row.trustor_user_id,
        "trustee_user_id": row.trustee_user_id,
        "project_id": row.project_id,
        "impersonation": row.impersonation,
        "expires_at": (row.expires_at != 0).then(|| time_text(row.expires_at)),
        "remaining_uses": (row.remaining_uses >= 0).then_some(row.remaining_uses),
        "redelegation_count": 0,
        "deleted_at": null,
    })
}

async fn whole(
    app: &Shared,
    headers: &HeaderMap,
    row: &trusts::Model,
) -> Result<Json<Value>, ApiError> {
    let base = v3(app, headers);
    let mut view = view(row);
    view["roles"] = named_roles(app, row).await?.into();
    view["roles_links"] = json!({
        "self": format!("{base}/{PATH}/{}/roles", row.id), "next": null, "previous": null,
    });
    Ok(Json(single("trust", PATH, &base, view)))
}

/// Roles of the trustor that the body names by id or name.
fn chosen(held: &[NamedRef], wanted: &Value) -> Result<Vec<String>, ApiError> {
    let wanted = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
    if wanted.is_empty() {
        return Err(ApiError::forbidden(
            "Forbidden",
            "At least one role should be specified.",
        ));
    }
    wanted
        .iter()
        .map(|role| {
            let text = |name: &str| role.get(name).and_then(Value::as_str);
            held.iter()
                .find(|held| text("id") == Some(&held.id) || text("name") == Some(&held.name))
                .map(|held| held.id.clone())
                .ok_or_else(|| {
                    let name = text("id").or(text("name")).unwrap_or_default();
                    not_found("role", name)
                })
        })
        .collect()
}

fn expiry(text: Option<String>) -> Result<i64, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
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
        })
}

async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if context.token.trust.is_some() {
        return Err(ApiError::forbidden(
            "Forbidden",
            "A trust's token cannot make further trusts.",
        ));
    }
    if let Some(credential) = &context.token.application_credential
        && credential["restricted"] != false
    {
        return Err(ApiError::forbidden(
            "Forbidden",
            "A restricted application credential cannot make trusts.",
        ));
    }
    let mut given = Attributes::open("trust", body)?;
    let missing = |name: &str| {
        ApiError::bad_request("BadRequest", format!("'{name}' is a required property"))
    };
    let trustor = given
        .text("trustor_user_id")?
        .ok_or_else(|| missing("trustor_user_id"))?;
    // Only for oneself: nobody may give away what is another's.
    if trustor != context.user_id {
        return Err(ApiError::forbidden(
            "Forbidden",
            "The authenticated user should match the trustor.",
        ));
    }
    let trustee = given
        .text("trustee_user_id")?
        .ok_or_else(|| missing("trustee_user_id"))?;
    if user::Entity::find_by_id(&trustee)
        .one(&app.db)
        .await?
        .is_none()
    {
        return Err(not_found("user", &trustee));
    }
    let project_id = given
        .text("project_id")?
        .ok_or_else(|| missing("project_id"))?;
    let impersonation = given
        .flag("impersonation")?
        .ok_or_else(|| missing("impersonation"))?;
    if given.flag("allow_redelegation")? == Some(true) {
        return Err(ApiError::forbidden(
            "Forbidden",
            "Redelegation of trusts is not offered.",
        ));
    }
    let mut held = roles::roles_on(&app.db, &trustor, Target::Project(&project_id)).await?;
    if context.token.application_credential.is_some() {
        held.retain(|role| context.token.roles.contains(role));
    }
    let wanted = given.value("roles").unwrap_or_default();
    let mut role_ids = chosen(&held, &wanted)?;
    role_ids.sort();
    role_ids.dedup();
    let remaining_uses = match given.value("remaining_uses") {
        None | Some(Value::Null) => -1,
        Some(number) => number.as_i64().filter(|uses| *uses > 0).ok_or_else(|| {
            ApiError::bad_request(
                "BadRequest",
                "remaining_uses must be a positive integer or null.",
            )
        })?,
    };
    let row = trusts::Model {
        id: new_id(),
        trustor_user_id: trustor,
        trustee_user_id: trustee,
        project_id,
        impersonation,
        roles: json!(role_ids).to_string(),
        expires_at: expiry(given.nullable("expires_at")?)?,
        remaining_uses,
    };
    trusts::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await?;
    Ok((StatusCode::CREATED, whole(&app, &headers, &row).await?))
}

async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let mut find = trusts::Entity::find();
    let mut own = context.is_admin;
    for (name, column) in [
        ("trustor_user_id", trusts::Column::TrustorUserId),
        ("trustee_user_id", trusts::Column::TrusteeUserId),
    ] {
        if let Some(id) = query.get(name) {
            own |= id == context.user_id;
            find = find.filter(column.eq(id));
        }
    }
    if !own {
        return Err(ApiError::policy("identity:list_trusts"));
    }
    let rows = find.all(&app.db).await?;
    Ok(collection_of(
        PATH,
        "trusts",
        "/OS-TRUST/trusts",
        &v3(&app, &headers),
        &query,
        rows.iter().map(view).collect(),
    ))
}

/// A trust that the caller has to do with.
async fn find(app: &Shared, context: &RequestContext, id: &str) -> Result<trusts::Model, ApiError> {
    let row = app.trust(id).await?.ok_or_else(|| not_found("trust", id))?;
    let party = [&row.trustor_user_id, &row.trustee_user_id].contains(&&context.user_id);
    if party || context.is_admin {
        Ok(row)
    } else {
        Err(ApiError::policy("identity:get_trust"))
    }
}

async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &context, &id).await?;
    whole(&app, &headers, &row).await
}

async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = trusts::Entity::find_by_id(&id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("trust", &id))?;
    if row.trustor_user_id != context.user_id && !context.is_admin {
        return Err(ApiError::policy("identity:delete_trust"));
    }
    row.delete(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn roles_of_trust(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &context, &id).await?;
    let views = named_roles(&app, &row).await?;
    let path = format!("/{PATH}/{id}/roles");
    Ok(collection(
        "roles",
        &path,
        &v3(&app, &headers),
        &query,
        views,
    ))
}

async fn role_of_trust(
    State(app): State<Shared>,
    context: RequestContext,
    Path((id, role_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &context, &id).await?;
    let role = named_roles(&app, &row)
        .await?
        .into_iter()
        .find(|role| role["id"] == role_id.as_str())
        .ok_or_else(|| not_found("role", &role_id))?;
    Ok(Json(single("role", "roles", &v3(&app, &headers), role)))
}
