//! `/v3/auth`: tokens, and what the caller may do with them.

use super::{
    Shared,
    body::{collection, v3},
    projects,
};
use crate::{
    app::{
        memory::Known,
        not_found,
        proofs::AuthRequest,
        roles::{assignments_of, targets_of},
    },
    store::entities::project,
};
use axum::{extract::State, response::IntoResponse};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use openstack_types::{Token, TokenEnvelope};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Query, RequestContext, Rule};
use std::sync::Arc;

const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");

pub async fn create(
    State(app): State<Shared>,
    query: Query,
    Json(body): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let auth = body.get("auth").cloned().ok_or_else(|| {
        ApiError::bad_request("BadRequest", "Expecting to find auth in request body.")
    })?;
    // serde's message may quote a value, and values here are secrets.
    let request: AuthRequest = serde_json::from_value(auth).map_err(|_| {
        ApiError::bad_request(
            "BadRequest",
            "The auth object of the request does not have the form that API v3 asks for.",
        )
    })?;
    let (text, mut token) = app.authenticate(request).await?;
    if query.get("nocatalog").is_some() {
        token.catalog = None;
    }
    Ok((
        StatusCode::CREATED,
        [(SUBJECT, secret_header(&text)?)],
        Json(TokenEnvelope { token }),
    ))
}

/// Who does not know of access rules would not hold them: to them a token that has some is none.
fn knows_access_rules(token: &Token, headers: &HeaderMap) -> Result<(), ApiError> {
    let credential = token.application_credential.as_ref();
    let has_rules = credential.is_some_and(|credential| credential.get("access_rules").is_some());
    if has_rules && !headers.contains_key("openstack-identity-access-rules") {
        return Err(not_found("token", "(not valid)"));
    }
    Ok(())
}

/// The token in `X-Subject-Token`: one's own, or anybody's for services and admins.
async fn subject(
    app: &Shared,
    context: &RequestContext,
    headers: &HeaderMap,
    catalog: bool,
) -> Result<(String, Arc<Known>), ApiError> {
    let text = headers
        .get(SUBJECT)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| {
            ApiError::bad_request("BadRequest", "The header X-Subject-Token is required.")
        })?;
    let found = app.validate_text(text, catalog).await?;
    let Some(known) = found else {
        return Err(not_found("token", "(not valid)"));
    };
    if known.token.user.id != context.user_id && !context.allows(Rule::Service) {
        return Err(ApiError::policy("identity:validate_token"));
    }
    Ok((text.to_owned(), known))
}

pub fn secret_header(text: &str) -> Result<HeaderValue, ApiError> {
    let mut value = HeaderValue::from_str(text).map_err(ApiError::internal)?;
    value.set_sensitive(true);
    Ok(value)
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let with_catalog = query.get("nocatalog").is_none();
    let (text, known) = subject(&app, &context, &headers, with_catalog).await?;
    knows_access_rules(&known.token, &headers)?;
    let json = HeaderValue::from_static("application/json");
    let headers = [
        (SUBJECT, secret_header(&text)?),
        (header::CONTENT_TYPE, json),
    ];
    Ok((headers, known.json()))
}

pub async fn check(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (_, known) = subject(&app, &context, &headers, false).await?;
    knows_access_rules(&known.token, &headers)?;
    Ok(StatusCode::OK)
}

pub async fn revoke(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (text, _) = subject(&app, &context, &headers, false).await?;
    app.revoke(&text).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn catalog(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    if !context.token.is_scoped() {
        return Err(ApiError::forbidden(
            "Forbidden",
            "An unscoped token has no catalog.",
        ));
    }
    let project = Some(context.project_id.as_str()).filter(|id| !id.is_empty());
    let all = app.all_endpoints_without_filter;
    let catalog = crate::app::catalog::catalog(&app.db, &context.user_id, project, all).await?;
    Ok(Json(
        json!({"catalog": catalog, "links": {"self": format!("{}/auth/catalog", v3(&app, &headers))}}),
    ))
}

/// Projects (or domains) on which a user has a role.
pub async fn targets(
    app: &Shared,
    user_id: &str,
    kind: &str,
) -> Result<Vec<project::Model>, ApiError> {
    let ids = targets_of(&app.db, user_id, kind).await?;
    let rows = project::Entity::find()
        .filter(project::Column::Id.is_in(ids))
        .filter(project::Column::Enabled.eq(true))
        .order_by_asc(project::Column::Name)
        .all(&app.db)
        .await?;
    Ok(rows)
}

pub async fn projects(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = targets(&app, &context.user_id, "project").await?;
    let views = projects::views(&app, &rows).await?;
    Ok(collection(
        "projects",
        "/auth/projects",
        &v3(&app, &headers),
        &query,
        views,
    ))
}

pub async fn domains(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = targets(&app, &context.user_id, "domain").await?;
    let views = rows.iter().map(projects::domain_view).collect();
    Ok(collection(
        "domains",
        "/auth/domains",
        &v3(&app, &headers),
        &query,
        views,
    ))
}

pub async fn system(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let any = assignments_of(&app.db, &context.user_id)
        .await?
        .iter()
        .any(|row| row.target_kind == "system");
    let system = if any {
        json!([{"all": true}])
    } else {
        json!([])
    };
    Ok(Json(
        json!({"system": system, "links": {"self": format!("{}/auth/system", v3(&app, &headers))}}),
    ))
}
