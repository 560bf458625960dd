//! `/v3/credentials`: what users let identity keep for them. Everybody has their own; admins see all.
//! What is in them is `app/credentials.rs`'s.

use super::{
    Shared,
    body::{Attributes, add_extra, collection, merge_extra, or_null, single, v3},
};
use crate::{
    app::{
        credentials::{self, Bond, EC2, Ec2Blob},
        duplicate, not_found,
    },
    store::{
        credentials::{Column, Entity, Model},
        entities::{project, user},
    },
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait,
    QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, Route, Rule};

/// Rows of the resource. The handlers decide: one may see and change one's own.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::Authenticated as Any;
    let (all, one) = ("/v3/credentials", "/v3/credentials/{id}");
    vec![
        Route::new(Method::GET, all, "list_credentials", Any, list),
        Route::new(Method::POST, all, "create_credential", Any, create),
        Route::new(Method::GET, one, "get_credential", Any, show),
        Route::new(Method::PATCH, one, "update_credential", Any, update),
        Route::new(Method::DELETE, one, "delete_credential", Any, delete),
    ]
}

fn view(row: &Model, blob: &str) -> Value {
    let mut view = json!({
        "id": row.id,
        "user_id": row.user_id,
        "project_id": or_null(&row.project_id),
        "type": row.kind,
        "blob": blob,
    });
    add_extra(&mut view, &row.extra);
    view
}

/// What a token binds the credentials to that are made with it. A restricted application credential makes none.
pub fn bond(context: &RequestContext) -> Result<Bond, ApiError> {
    if restricted(context) {
        return Err(ApiError::forbidden(
            "Forbidden",
            "A restricted application credential cannot manage credentials.",
        ));
    }
    let id = |value: &Option<Value>| Some(value.as_ref()?.get("id")?.as_str()?.to_owned());
    Ok(Bond {
        trust: id(&context.token.trust),
        application_credential: id(&context.token.application_credential),
    })
}

fn restricted(context: &RequestContext) -> bool {
    let credential = context.token.application_credential.as_ref();
    credential.is_some_and(|credential| credential["restricted"] != false)
}

/// Whether the token's rights reach as far as the credential's: one that was lent does not see the keys to more.
pub fn within_reach(context: &RequestContext, row: &Model, blob: &str) -> bool {
    let same = |held: &Option<Value>, bound: &Option<String>| {
        let held = held.as_ref().and_then(|held| held["id"].as_str());
        held.is_some() && held == bound.as_deref()
    };
    let lent = context.token.trust.is_some();
    if !lent && !restricted(context) {
        return true;
    }
    let bound = row
        .kind
        .eq_ignore_ascii_case(EC2)
        .then(|| Ec2Blob::parse(blob))
        .flatten();
    bound.is_some_and(|blob| {
        same(&context.token.trust, &blob.bond.trust)
            || same(
                &context.token.application_credential,
                &blob.bond.application_credential,
            )
    })
}

/// A credential of the caller, or any for admins, with its blob. To others what is not there is the same as what is not
/// theirs.
async fn find(
    app: &Shared,
    context: &RequestContext,
    id: &str,
    operation: &str,
) -> Result<(Model, String), ApiError> {
    let row = match Entity::find_by_id(id).one(&app.db).await? {
        Some(row) if context.is_admin || row.user_id == context.user_id => row,
        None if context.is_admin => return Err(not_found("credential", id)),
        _ => return Err(ApiError::policy(operation)),
    };
    let blob = app.unseal(&row)?;
    if !within_reach(context, &row, &blob) {
        return Err(ApiError::policy(operation));
    }
    Ok((row, blob))
}

fn type_word(kind: Option<String>) -> Result<Option<String>, ApiError> {
    match kind {
        Some(kind) if kind.is_empty() || kind.chars().count() > 255 => Err(ApiError::bad_request(
            "BadRequest",
            "Invalid input for field 'type' of credential: expected 1 to 255 characters.",
        )),
        other => Ok(other),
    }
}

async fn check_ends(app: &Shared, user_id: &str, project_id: &str) -> Result<(), ApiError> {
    if user::Entity::find_by_id(user_id)
        .one(&app.db)
        .await?
        .is_none()
    {
        return Err(not_found("user", user_id));
    }
    if !project_id.is_empty()
        && project::Entity::find_by_id(project_id)
            .one(&app.db)
            .await?
            .is_none()
    {
        return Err(not_found("project", project_id));
    }
    Ok(())
}

fn needs_project(kind: &str, project_id: &str) -> Result<(), ApiError> {
    if kind.eq_ignore_ascii_case(EC2) && project_id.is_empty() {
        return Err(ApiError::bad_request(
            "BadRequest",
            "Expecting to find project_id in credential: one of type ec2 needs it.",
        ));
    }
    Ok(())
}

async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let mut select = Entity::find().order_by_asc(Column::Id);
    if !context.is_admin {
        select = select.filter(Column::UserId.eq(&context.user_id));
    }
    for (name, column) in [("user_id", Column::UserId), ("type", Column::Kind)] {
        if let Some(wanted) = query.get(name) {
            select = select.filter(column.eq(wanted));
        }
    }
    let rows = select.all(&app.db).await?;
    let mut views = Vec::new();
    for row in &rows {
        let blob = app.unseal(row)?;
        if within_reach(&context, row, &blob) {
            views.push(view(row, &blob));
        }
    }
    let base = v3(&app, &headers);
    Ok(collection(
        "credentials",
        "/credentials",
        &base,
        &query,
        views,
    ))
}

async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let bond = bond(&context)?;
    let mut given = Attributes::open("credential", body)?;
    let kind = given.required("type")?;
    let kind = type_word(Some(kind))?.unwrap_or_default();
    let blob = given.required("blob")?;
    let user_id = given
        .text("user_id")?
        .unwrap_or_else(|| context.user_id.clone());
    if !context.is_admin && user_id != context.user_id {
        return Err(ApiError::policy("identity:create_credential"));
    }
    let project_id = given.nullable("project_id")?.unwrap_or_default();
    needs_project(&kind, &project_id)?;
    let (id, blob) = credentials::prepare(&kind, blob, &bond)?;
    check_ends(&app, &user_id, &project_id).await?;
    let row = Model {
        id,
        user_id,
        project_id,
        kind,
        sealed: app.seal(&blob),
        extra: merge_extra("{}", given.extra()),
    };
    Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(duplicate("credential", &row.id))?;
    let body = single(
        "credential",
        "credentials",
        &v3(&app, &headers),
        view(&row, &blob),
    );
    Ok((StatusCode::CREATED, Json(body)))
}

async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let (row, blob) = find(&app, &context, &id, "identity:get_credential").await?;
    let view = view(&row, &blob);
    Ok(Json(single(
        "credential",
        "credentials",
        &v3(&app, &headers),
        view,
    )))
}

async fn update(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    bond(&context)?;
    let (row, old) = find(&app, &context, &id, "identity:update_credential").await?;
    let mut given = Attributes::open("credential", body)?;
    let kind = type_word(given.text("type")?)?.unwrap_or_else(|| row.kind.clone());
    let user_id = given
        .text("user_id")?
        .unwrap_or_else(|| row.user_id.clone());
    // Given away, it would act for somebody who never asked for it.
    if !context.is_admin && user_id != context.user_id {
        return Err(ApiError::policy("identity:update_credential"));
    }
    let project_id = given
        .nullable("project_id")?
        .unwrap_or_else(|| row.project_id.clone());
    needs_project(&kind, &project_id)?;
    let blob = given.text("blob")?.unwrap_or_else(|| old.clone());
    credentials::check_change((&row.kind, &old), (&kind, &blob))?;
    check_ends(&app, &user_id, &project_id).await?;
    let extra = merge_extra(&row.extra, given.extra());
    let mut row = row.into_active_model();
    row.kind = Set(kind);
    row.user_id = Set(user_id);
    row.project_id = Set(project_id);
    row.sealed = Set(app.seal(&blob));
    row.extra = Set(extra);
    let row = row.update(&app.db).await?;
    Ok(Json(single(
        "credential",
        "credentials",
        &v3(&app, &headers),
        view(&row, &blob),
    )))
}

async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    bond(&context)?;
    let (row, _) = find(&app, &context, &id, "identity:delete_credential").await?;
    row.delete(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}
