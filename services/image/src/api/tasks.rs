//! `/v2/tasks` for administrators, and `/v2/images/{id}/tasks` for whoever owns the image.

use super::{Shared, images, patch, view::time};
use crate::{
    app::{tasks, wrong},
    store::entities::task,
};
use axum::{extract::State, response::IntoResponse};
use http::{HeaderValue, StatusCode, header};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext, page::next_url};

/// Tasks on a page unless the client says otherwise, and at most.
const PAGE: usize = 25;
const LARGEST_PAGE: usize = 1000;

/// A task in a list.
fn brief(row: &task::Model) -> Value {
    let mut view = json!({
        "id": row.id,
        "type": row.kind,
        "status": row.status,
        "owner": row.owner,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "self": format!("/v2/tasks/{}", row.id),
        "schema": "/v2/schemas/task",
    });
    if row.expires_at > 0 {
        view["expires_at"] = time(row.expires_at).into();
    }
    view
}

/// All of a task.
fn whole(row: &task::Model) -> Value {
    let mut view = brief(row);
    let json_or_null = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    view["input"] = json_or_null(&row.input);
    view["result"] = json_or_null(&row.result);
    view["message"] = row.message.as_str().into();
    view["image_id"] = row.image_id.as_str().into();
    view["request_id"] = row.request_id.as_str().into();
    view["user_id"] = row.user_id.as_str().into();
    view
}

/// A task that makes an image of what is at an address.
pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Json(body): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let kind = body.get("type").and_then(Value::as_str);
    if kind != Some("import") {
        return Err(wrong("Expected the task's `type`, which can be `import`."));
    }
    let input = body.get("input").filter(|input| input.is_object());
    let input = input.ok_or_else(|| wrong("Expected the task's `input`, an object."))?;
    let word = |name: &str| {
        let text = input.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| wrong(format!("Input does not contain '{name}' field")))
    };
    let (address, format) = (word("import_from")?, word("import_from_format")?);
    let url = app.web.rules.check(address).map_err(wrong)?;
    let properties = input.get("image_properties").and_then(Value::as_object);
    let properties =
        properties.ok_or_else(|| wrong("Input does not contain 'image_properties' field"))?;
    let mut row = images::empty(&context, &uuid::Uuid::new_v4().to_string());
    for (name, value) in properties {
        patch::set(&context, &mut row, name, value)?;
    }
    if row.disk_format.is_empty() {
        patch::set(&context, &mut row, "disk_format", &json!(format))?;
    }
    if row.disk_format != format {
        return Err(wrong(
            "import_from_format and the image's disk_format differ: data are taken as they are.",
        ));
    }
    if row.container_format.is_empty() {
        row.container_format = "bare".to_owned();
    }
    let task = tasks::new(&context, "import", &row.id, input);
    app.import_new(&context, row, task.clone(), url.to_string())
        .await?;
    let place = format!("/v2/tasks/{}", task.id);
    let place = HeaderValue::from_str(&place).map_err(ApiError::internal)?;
    let headers = [(header::LOCATION, place)];
    Ok((StatusCode::CREATED, headers, Json(whole(&task))))
}

pub async fn list(State(app): State<Shared>, query: Query) -> Result<Json<Value>, ApiError> {
    let mut find = task::Entity::find();
    if let Some(kind) = query.get("type") {
        find = find.filter(task::Column::Kind.eq(kind));
    }
    if let Some(status) = query.get("status") {
        if !["pending", "processing", "success", "failure"].contains(&status) {
            return Err(wrong(format!("Invalid status value: {status}")));
        }
        find = find.filter(task::Column::Status.eq(status));
    }
    if let Some(owner) = query.get("owner") {
        find = find.filter(task::Column::Owner.eq(owner));
    }
    let column = match query.get("sort_key").unwrap_or("created_at") {
        "id" => task::Column::Id,
        "type" => task::Column::Kind,
        "status" => task::Column::Status,
        "created_at" => task::Column::CreatedAt,
        "updated_at" => task::Column::UpdatedAt,
        "expires_at" => task::Column::ExpiresAt,
        other => return Err(wrong(format!("Invalid sort key: {other}."))),
    };
    let order = match query.get("sort_dir").unwrap_or("desc") {
        "asc" => sea_orm::Order::Asc,
        "desc" => sea_orm::Order::Desc,
        other => return Err(wrong(format!("Invalid sort direction: {other}"))),
    };
    let rows = find
        .order_by(column, order)
        .order_by_asc(task::Column::Id)
        .all(&app.db)
        .await?;
    let mut page = Page::from_query(&query, LARGEST_PAGE)?;
    page.limit.get_or_insert(PAGE);
    let (rows, more) = page.cut(rows, |row| row.id.as_str())?;
    let mut answer = json!({
        "tasks": rows.iter().map(brief).collect::<Vec<_>>(),
        "first": super::first_url("/v2/tasks", &query),
        "schema": "/v2/schemas/tasks",
    });
    if let (true, Some(last)) = (more, rows.last()) {
        answer["next"] = next_url("/v2/tasks", &query, &last.id).into();
    }
    Ok(Json(answer))
}

pub async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let row = task::Entity::find_by_id(&id).one(&app.db).await?;
    let missing = || ApiError::not_found("NotFound", format!("Task not found for task_id {id}"));
    Ok(Json(whole(&row.ok_or_else(missing)?)))
}

pub async fn of_image(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let image = app.visible(&context, &id).await?;
    let mut rows = task::Entity::find()
        .filter(task::Column::ImageId.eq(&image.id))
        .order_by_asc(task::Column::CreatedAt)
        .all(&app.db)
        .await?;
    rows.retain(|row| context.owns(&row.owner) || context.owns(&image.owner));
    let tasks: Vec<Value> = rows.iter().map(whole).collect();
    Ok(Json(json!({ "tasks": tasks })))
}
