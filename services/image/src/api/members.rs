//! `/v2/images/{id}/members`: projects with which an image is shared.

use super::{Shared, view::time};
use crate::{app::now, store::entities::member};
use axum::extract::State;
use http::StatusCode;
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, IntoActiveModel, ModelTrait};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, RequestContext, store};

fn view(row: &member::Model) -> Value {
    json!({"image_id": row.image_id, "member_id": row.member_id, "status": row.status,
        "created_at": time(row.created_at), "updated_at": time(row.updated_at), "schema": "/v2/schemas/member"})
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let image = app.visible(&context, &id).await?;
    let mut rows = app.members(&id).await?;
    // A member sees only itself.
    rows.retain(|row| context.owns(&image.owner) || row.member_id == context.project_id);
    let members: Vec<Value> = rows.iter().map(view).collect();
    Ok(Json(
        json!({"members": members, "schema": "/v2/schemas/members"}),
    ))
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let image = app.own(&context, &id, "add_member").await?;
    if image.visibility != "shared" {
        return Err(ApiError::forbidden(
            "Forbidden",
            "Only shared images have members.",
        ));
    }
    let member_id = body
        .get("member")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty() && text.len() <= 64 && !text.contains('\0'))
        .ok_or_else(|| {
            ApiError::bad_request(
                "BadRequest",
                "Expected a member in the form: {\"member\": \"project_id\"}",
            )
        })?;
    let row = member::Model {
        image_id: id,
        member_id: member_id.to_owned(),
        status: "pending".to_owned(),
        created_at: now(),
        updated_at: now(),
    };
    member::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(|error| {
            if store::is_duplicate(&error) {
                ApiError::conflict(
                    "Conflict",
                    format!("Member {member_id} is duplicated for image."),
                )
            } else {
                error.into()
            }
        })?;
    Ok(Json(view(&row)))
}

async fn find(
    app: &Shared,
    context: &RequestContext,
    id: &str,
    member_id: &str,
) -> Result<(bool, member::Model), ApiError> {
    let image = app.visible(context, id).await?;
    let owner = context.owns(&image.owner);
    let row = member::Entity::find_by_id((id.to_owned(), member_id.to_owned()))
        .one(&app.db)
        .await?;
    match row.filter(|row| owner || row.member_id == context.project_id) {
        Some(row) => Ok((owner, row)),
        None => Err(ApiError::not_found(
            "NotFound",
            format!("{member_id} not found in the member list of the image {id}."),
        )),
    }
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path((id, member_id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(view(&find(&app, &context, &id, &member_id).await?.1)))
}

/// Only the member itself (or an admin) says yes or no.
pub async fn update(
    State(app): State<Shared>,
    context: RequestContext,
    Path((id, member_id)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let (_, row) = find(&app, &context, &id, &member_id).await?;
    if !context.is_admin && context.project_id != member_id {
        return Err(ApiError::policy("modify_member"));
    }
    let status = body
        .get("status")
        .and_then(Value::as_str)
        .filter(|status| ["pending", "accepted", "rejected"].contains(status))
        .ok_or_else(|| {
            ApiError::bad_request(
                "BadRequest",
                "status must be one of pending, accepted, rejected.",
            )
        })?;
    let mut row = row.into_active_model();
    row.status = Set(status.to_owned());
    row.updated_at = Set(now());
    Ok(Json(view(&row.update(&app.db).await?)))
}

pub async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path((id, member_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (owner, row) = find(&app, &context, &id, &member_id).await?;
    if !owner {
        return Err(ApiError::policy("delete_member"));
    }
    row.delete(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}
