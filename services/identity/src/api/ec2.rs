//! `/v3/users/{user_id}/credentials/OS-EC2` and `POST /v3/ec2tokens`: pairs of keys for EC2 clients, and tokens for
//! requests that were signed with one. Signatures are checked in `app/ec2.rs`.

use super::{
    Shared,
    auth::secret_header,
    body::{collection, v3},
    credentials::{bond, within_reach},
    users::own,
};
use crate::{
    app::{
        credentials::{EC2, Ec2Blob, ec2_id},
        ec2::SignedRequest,
        not_found,
        payload::TokenScope,
    },
    store::{
        credentials::{Column, Entity, Model},
        entities::{application_credential, project, user},
        trusts,
    },
};
use axum::{extract::State, response::IntoResponse};
use chrono::Utc;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use openstack_types::TokenEnvelope;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, Route, Rule};

/// Rows of the extension. Keys are their user's; signatures are checked for services only, for whoever has a signed request
/// of another in his hands must not get that one's token (as upstream since 2025).
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::{Authenticated as Any, Service};
    let all = "/v3/users/{user_id}/credentials/OS-EC2";
    let one = "/v3/users/{user_id}/credentials/OS-EC2/{access}";
    vec![
        Route::new(Method::GET, all, "ec2_list_credentials", Any, list),
        Route::new(Method::POST, all, "ec2_create_credential", Any, create),
        Route::new(Method::GET, one, "ec2_get_credential", Any, show),
        Route::new(Method::DELETE, one, "ec2_delete_credential", Any, delete),
        Route::new(
            Method::POST,
            "/v3/ec2tokens",
            "ec2_authenticate",
            Service,
            authenticate,
        ),
    ]
}

fn plural(user_id: &str) -> String {
    format!("users/{user_id}/credentials/OS-EC2")
}

fn view(row: &Model, blob: &Ec2Blob, base: &str) -> Value {
    json!({
        "user_id": row.user_id,
        "tenant_id": row.project_id,
        "access": blob.access,
        "secret": blob.secret,
        "trust_id": blob.bond.trust,
        "links": {"self": format!("{base}/{}/{}", plural(&row.user_id), blob.access)},
    })
}

async fn check_user(app: &Shared, id: &str) -> Result<(), ApiError> {
    match user::Entity::find_by_id(id).one(&app.db).await? {
        Some(_) => Ok(()),
        None => Err(not_found("user", id)),
    }
}

/// The pairs of a user that the caller may see.
async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(user_id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &user_id, "identity:ec2_list_credentials")?;
    check_user(&app, &user_id).await?;
    let rows = Entity::find()
        .filter(Column::UserId.eq(&user_id))
        .filter(Column::Kind.eq(EC2))
        .order_by_asc(Column::Id)
        .all(&app.db)
        .await?;
    let base = v3(&app, &headers);
    let mut views = Vec::new();
    for row in &rows {
        let text = app.unseal(row)?;
        if let Some(blob) = Ec2Blob::parse(&text)
            && within_reach(&context, row, &text)
        {
            views.push(view(row, &blob, &base));
        }
    }
    let path = format!("/{}", plural(&user_id));
    let Json(mut body) = collection("credentials", &path, &base, &Query::default(), views);
    // They have no `id`, by which links are made elsewhere.
    for view in body["credentials"].as_array_mut().into_iter().flatten() {
        let access = view["access"].as_str().unwrap_or_default();
        view["links"] = json!({"self": format!("{base}{path}/{access}")});
    }
    Ok(Json(body))
}

async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Path(user_id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    own(&context, &user_id, "identity:ec2_create_credential")?;
    let bond = bond(&context)?;
    let project_id = body
        .get("tenant_id")
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::bad_request("BadRequest", "'tenant_id' is a required property"))?;
    check_user(&app, &user_id).await?;
    if project::Entity::find_by_id(project_id)
        .one(&app.db)
        .await?
        .is_none()
    {
        return Err(not_found("project", project_id));
    }
    let blob = Ec2Blob::generate(bond);
    let row = Model {
        id: ec2_id(&blob.access),
        user_id,
        project_id: project_id.to_owned(),
        kind: EC2.to_owned(),
        sealed: app.seal(&blob.to_text()),
        extra: "{}".to_owned(),
    };
    Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await?;
    let view = view(&row, &blob, &v3(&app, &headers));
    Ok((StatusCode::CREATED, Json(json!({ "credential": view }))))
}

/// A pair by its access key.
async fn find(
    app: &Shared,
    context: &RequestContext,
    user_id: &str,
    access: &str,
    operation: &str,
) -> Result<(Model, Ec2Blob), ApiError> {
    own(context, user_id, operation)?;
    check_user(app, user_id).await?;
    let row = Entity::find_by_id(ec2_id(access)).one(&app.db).await?;
    let row = row
        .filter(|row| row.user_id == user_id && row.kind.eq_ignore_ascii_case(EC2))
        .ok_or_else(|| not_found("credential", access))?;
    let text = app.unseal(&row)?;
    let blob = Ec2Blob::parse(&text).ok_or_else(|| not_found("credential", access))?;
    if !within_reach(context, &row, &text) {
        return Err(ApiError::policy(operation));
    }
    Ok((row, blob))
}

async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path((user_id, access)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let operation = "identity:ec2_get_credential";
    let (row, blob) = find(&app, &context, &user_id, &access, operation).await?;
    let view = view(&row, &blob, &v3(&app, &headers));
    Ok(Json(json!({ "credential": view })))
}

async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path((user_id, access)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let operation = "identity:ec2_delete_credential";
    bond(&context)?;
    let (row, _) = find(&app, &context, &user_id, &access, operation).await?;
    row.delete(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A token of the key's user for a request that was signed with it.
async fn authenticate(
    State(app): State<Shared>,
    Json(body): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let given = body.get("credentials").or(body.get("ec2Credentials"));
    let given = given.cloned().unwrap_or_default();
    if given.get("access").and_then(Value::as_str).is_none() {
        return Err(refused("EC2 signature not supplied."));
    }
    // serde's message may quote what was signed.
    let request: SignedRequest = serde_json::from_value(given).map_err(|_| {
        ApiError::bad_request(
            "BadRequest",
            "The credentials object of the request does not have the form of a signed EC2 request.",
        )
    })?;
    let row = Entity::find_by_id(ec2_id(&request.access))
        .one(&app.db)
        .await?
        .filter(|row| row.kind.eq_ignore_ascii_case(EC2))
        .ok_or_else(|| refused("EC2 access key not found."))?;
    let blob =
        Ec2Blob::parse(&app.unseal(&row)?).ok_or_else(|| refused("EC2 access key not found."))?;
    request
        .check(&blob.secret, Utc::now(), app.ec2_skew)
        .map_err(|refusal| refused(&refusal.to_string()))?;
    let (user_id, scope, credential) = reach(&app, row, &blob).await?;
    let (text, token) = app.token_for_ec2(user_id, scope, credential).await?;
    let header = HeaderName::from_static("x-subject-token");
    Ok((
        StatusCode::OK,
        [(header, secret_header(&text)?)],
        Json(TokenEnvelope { token }),
    ))
}

/// Whose token it becomes, for what, and by which application credential: no more than what made the pair.
async fn reach(
    app: &Shared,
    row: Model,
    blob: &Ec2Blob,
) -> Result<(String, TokenScope, String), ApiError> {
    if let Some(id) = &blob.bond.trust {
        let trust = trusts::Entity::find_by_id(id).one(&app.db).await?;
        let trust = trust.ok_or_else(ApiError::unauthorized)?;
        return Ok((
            trust.trustee_user_id,
            TokenScope::Trust(trust.id),
            String::new(),
        ));
    }
    let Some(id) = &blob.bond.application_credential else {
        return Ok((
            row.user_id,
            TokenScope::Project(row.project_id),
            String::new(),
        ));
    };
    let credential = application_credential::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .filter(|credential| credential.user_id == row.user_id)
        .filter(|credential| {
            credential.expires_at == 0 || credential.expires_at > Utc::now().timestamp()
        })
        .ok_or_else(ApiError::unauthorized)?;
    let scope = TokenScope::Project(credential.project_id);
    Ok((credential.user_id, scope, credential.id))
}

fn refused(message: &str) -> ApiError {
    let mut error = ApiError::unauthorized().with_cause(message);
    error.message = message.to_owned();
    error
}
