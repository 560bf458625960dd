//! `/v2/images`.

use super::{Shared, patch, view};
use crate::{
    app::{now, quota},
    store::entities::{image, member},
};
use axum::{extract::State, response::IntoResponse};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext, page::next_url, store};
use std::collections::HashSet;

/// Images on a page unless the client says otherwise, and at most.
const PAGE: usize = 25;
const LARGEST_PAGE: usize = 1000;

/// A new image of the caller's that has nothing yet.
pub fn empty(context: &RequestContext, id: &str) -> image::Model {
    let now = now();
    image::Model {
        id: id.to_owned(),
        name: String::new(),
        owner: context.project_id.clone(),
        status: "queued".to_owned(),
        visibility: "shared".to_owned(),
        protected: false,
        os_hidden: false,
        disk_format: String::new(),
        container_format: String::new(),
        min_disk: 0,
        min_ram: 0,
        size: -1,
        virtual_size: -1,
        checksum: String::new(),
        os_hash_value: String::new(),
        tags: "[]".to_owned(),
        properties: "{}".to_owned(),
        upload_host: String::new(),
        stores: String::new(),
        created_at: now,
        updated_at: now,
        revision: 0,
    }
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Json(body): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let given = body
        .as_object()
        .ok_or_else(|| ApiError::bad_request("BadRequest", "Expected a JSON object."))?;
    let id = match given.get("id") {
        None | Some(Value::Null) => uuid::Uuid::new_v4().to_string(),
        Some(id) => id
            .as_str()
            .and_then(|text| uuid::Uuid::parse_str(text).ok())
            .map(|id| id.to_string())
            .ok_or_else(|| {
                ApiError::bad_request("BadRequest", "Invalid image id: expected a UUID.")
            })?,
    };
    let mut row = empty(&context, &id);
    for (name, value) in given {
        if name != "id" {
            patch::set(&context, &mut row, name, value)?;
        }
    }
    app.may_have_one_more(&context, &row.owner, quota::COUNT)
        .await?;
    image::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(|error| {
            if store::is_duplicate(&error) {
                ApiError::conflict("Conflict", format!("Image ID {id} already exists!"))
            } else {
                error.into()
            }
        })?;
    let place = HeaderValue::from_str(&format!("/v2/images/{id}")).map_err(ApiError::internal)?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(ApiError::internal);
    let methods: Vec<&str> = app.import_methods.iter().map(|way| way.name()).collect();
    let stores = app.stores.all().iter().map(|store| store.name.as_str());
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, place);
    headers.insert("openstack-image-import-methods", value(&methods.join(","))?);
    let stores: Vec<&str> = stores.collect();
    headers.insert("openstack-image-store-ids", value(&stores.join(","))?);
    Ok((
        StatusCode::CREATED,
        headers,
        Json(view::image(&row, &app.stores_of(&row))),
    ))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let row = app.visible(&context, &id).await?;
    Ok(Json(view::image(&row, &app.stores_of(&row))))
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let shared: HashSet<String> = member::Entity::find()
        .filter(member::Column::MemberId.eq(&context.project_id))
        .all(&app.db)
        .await?
        .into_iter()
        .filter(|row| match query.get("member_status") {
            Some("all") => true,
            Some(wanted) => row.status == wanted,
            None => row.status == "accepted",
        })
        .map(|row| row.image_id)
        .collect();
    let wanted_visibility = query.get("visibility");
    let mut rows: Vec<image::Model> = image::Entity::find().all(&app.db).await?;
    rows.retain(|row| {
        let mine = row.owner == context.project_id;
        let seen = match wanted_visibility {
            // Without a word an admin sees everything, a user what concerns him.
            None | Some("all") => {
                context.is_admin
                    || mine
                    || row.visibility == "public"
                    || (row.visibility == "shared" && shared.contains(&row.id))
                    || (wanted_visibility.is_some() && row.visibility == "community")
            }
            Some(wanted) => {
                row.visibility == wanted
                    && (context.is_admin
                        || mine
                        || matches!(wanted, "public" | "community")
                        || shared.contains(&row.id))
            }
        };
        let hidden = query.flag("os_hidden").unwrap_or(false);
        seen && row.os_hidden == hidden
    });
    let mut kept = Vec::new();
    for row in rows {
        let view = view::image(&row, &app.stores_of(&row));
        if matches(&view, &query)? {
            kept.push(view);
        }
    }
    sort(&mut kept, &query)?;
    let mut page = Page::from_query(&query, LARGEST_PAGE)?;
    page.limit.get_or_insert(PAGE);
    let (items, more) = page.cut(kept, |view| view["id"].as_str().unwrap_or_default())?;
    let mut answer =
        json!({"first": super::first_url("/v2/images", &query), "schema": "/v2/schemas/images"});
    if let (true, Some(last)) = (more, items.last()) {
        answer["next"] = next_url(
            "/v2/images",
            &query,
            last["id"].as_str().unwrap_or_default(),
        )
        .into();
    }
    answer["images"] = items.into();
    Ok(Json(answer))
}

/// Filters of the query that are not about visibility and pages.
fn matches(view: &Value, query: &Query) -> Result<bool, ApiError> {
    for (name, wanted) in &query.0 {
        let fits = match name.as_str() {
            "limit" | "marker" | "sort" | "sort_key" | "sort_dir" | "visibility"
            | "member_status" | "os_hidden" => true,
            "tag" => view["tags"]
                .as_array()
                .is_some_and(|tags| tags.iter().any(|tag| tag == wanted.as_str())),
            "size_min" | "size_max" => {
                let bound = query
                    .number(name)?
                    .and_then(|bound| i64::try_from(bound).ok())
                    .unwrap_or(i64::MAX);
                let size = view["size"].as_i64().unwrap_or(0);
                if name == "size_min" {
                    size >= bound
                } else {
                    size <= bound
                }
            }
            _ => match view.get(name) {
                Some(Value::Bool(flag)) => Some(*flag) == query.flag(name),
                Some(Value::Number(number)) => number.to_string() == *wanted,
                Some(Value::String(text)) => match wanted.strip_prefix("in:") {
                    Some(list) => list.split(',').any(|one| one.trim_matches('"') == text),
                    None => text == wanted,
                },
                _ => false,
            },
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `sort=name:asc,size`, or `sort_key` and `sort_dir`; newest first without.
fn sort(views: &mut [Value], query: &Query) -> Result<(), ApiError> {
    let mut keys: Vec<(String, bool)> = Vec::new();
    if let Some(text) = query.get("sort") {
        for part in text.split(',') {
            let (key, direction) = part.split_once(':').unwrap_or((part, "desc"));
            keys.push((key.to_owned(), direction == "asc"));
        }
    }
    let directions: Vec<&str> = query.all("sort_dir").collect();
    for (i, key) in query.all("sort_key").enumerate() {
        let direction = directions
            .get(i)
            .or(directions.first())
            .copied()
            .unwrap_or("desc");
        keys.push((key.to_owned(), direction == "asc"));
    }
    if let Some((key, _)) = keys
        .iter()
        .find(|(key, _)| !view::BASE.contains(&key.as_str()))
    {
        return Err(ApiError::bad_request(
            "BadRequest",
            format!("Invalid sort key: {key}."),
        ));
    }
    keys.push(("created_at".to_owned(), false));
    keys.push(("id".to_owned(), false));
    let text = |value: &Value| match value {
        Value::Number(number) => format!("{:020}", number.as_i64().unwrap_or(0)),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    views.sort_by(|a, b| {
        keys.iter()
            .fold(std::cmp::Ordering::Equal, |order, (key, ascending)| {
                order.then_with(|| {
                    let order = text(&a[key.as_str()]).cmp(&text(&b[key.as_str()]));
                    if *ascending { order } else { order.reverse() }
                })
            })
    });
    Ok(())
}

pub async fn update(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(changes): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let draft = kind.starts_with("application/openstack-images-v2.0-json-patch");
    if !draft
        && !kind.starts_with("application/openstack-images-v2.1-json-patch")
        && !kind.starts_with("application/json-patch+json")
    {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "HTTPUnsupportedMediaType",
            "Expected application/openstack-images-v2.1-json-patch.",
        ));
    }
    let mut row = app.own(&context, &id, "modify_image").await?;
    let changes = if draft {
        patch::of_draft(&changes)?
    } else {
        changes
    };
    patch::apply(&context, &mut row, &changes)?;
    let row = app.swap(row).await?;
    Ok(Json(view::image(&row, &app.stores_of(&row))))
}

pub async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.own(&context, &id, "delete_image").await?;
    app.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn switch(
    app: &Shared,
    context: &RequestContext,
    id: &str,
    operation: &str,
    (from, to): (&str, &str),
) -> Result<StatusCode, ApiError> {
    let mut row = app.own(context, id, operation).await?;
    if row.status == from {
        row.status = to.to_owned();
        app.swap(row).await?;
    } else if row.status != to {
        return Err(ApiError::forbidden(
            "Forbidden",
            format!(
                "Not allowed to change an image from status '{}'.",
                row.status
            ),
        ));
    }
    Ok(StatusCode::NO_CONTENT)
}

pub async fn deactivate(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let change = ("active", "deactivated");
    switch(&app, &context, &id, "deactivate", change).await
}

pub async fn reactivate(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let change = ("deactivated", "active");
    switch(&app, &context, &id, "reactivate", change).await
}

pub async fn add_tag(
    State(app): State<Shared>,
    context: RequestContext,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let mut row = app.own(&context, &id, "modify_image").await?;
    let mut tags = view::tags(&row);
    tags.push(tag);
    row.tags = patch::tag_list(&json!(tags))?;
    app.swap(row).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn delete_tag(
    State(app): State<Shared>,
    context: RequestContext,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let mut row = app.own(&context, &id, "modify_image").await?;
    let mut tags = view::tags(&row);
    let before = tags.len();
    tags.retain(|known| *known != tag);
    if tags.len() == before {
        return Err(ApiError::not_found("NotFound", "Tag not found."));
    }
    row.tags = json!(tags).to_string();
    app.swap(row).await?;
    Ok(StatusCode::NO_CONTENT)
}
