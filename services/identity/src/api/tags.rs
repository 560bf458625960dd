//! `/v3/projects/{id}/tags`. What may be a tag is in `app/tags.rs`.

use super::{Shared, body::v3, projects};
use crate::{
    app::{not_found, tags},
    store::{
        entities::project,
        tags::{Column, Entity, digest, replace, row},
    },
};
use axum::{extract::State, response::IntoResponse};
use http::{HeaderMap, Method, StatusCode, header};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, RequestContext, Route, Rule, store};
use std::collections::HashMap;

/// With more projects than this, all tags are read rather than those of a list of ids.
const IDS: usize = 500;

/// Rows of the resource: the project's own people may look.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::{Admin, Authenticated as Any};
    let (all, one) = ("/v3/projects/{id}/tags", "/v3/projects/{id}/tags/{tag}");
    vec![
        Route::new(Method::GET, all, "list_project_tags", Any, list),
        Route::new(Method::PUT, all, "update_project_tags", Admin, update),
        Route::new(Method::DELETE, all, "delete_project_tags", Admin, clear),
        Route::new(Method::GET, one, "get_project_tag", Any, check),
        Route::new(Method::PUT, one, "create_project_tag", Admin, add),
        Route::new(Method::DELETE, one, "delete_project_tag", Admin, remove),
    ]
}

/// The tags of many projects, by project.
pub async fn of(
    app: &Shared,
    rows: &[project::Model],
) -> Result<HashMap<String, Vec<String>>, ApiError> {
    let mut select = Entity::find();
    if rows.len() <= IDS {
        select = select.filter(Column::ProjectId.is_in(rows.iter().map(|row| &row.id)));
    }
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for row in select.order_by_asc(Column::Name).all(&app.db).await? {
        found.entry(row.project_id).or_default().push(row.name);
    }
    Ok(found)
}

async fn names(app: &Shared, id: &str) -> Result<Vec<String>, ApiError> {
    let rows = Entity::find()
        .filter(Column::ProjectId.eq(id))
        .order_by_asc(Column::Name)
        .all(&app.db)
        .await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

fn body(app: &Shared, headers: &HeaderMap, id: &str, names: &[String]) -> Json<Value> {
    let link = format!("{}/projects/{id}/tags", v3(app, headers));
    Json(json!({"tags": names, "links": {"self": link, "previous": null, "next": null}}))
}

async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    if !context.owns(&id) {
        return Err(ApiError::policy("identity:list_project_tags"));
    }
    projects::find(&app, &id).await?;
    Ok(body(&app, &headers, &id, &names(&app, &id).await?))
}

async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(given): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let wanted = tags::parse(given.get("tags").unwrap_or(&Value::Null))?;
    set(&app, &id, &wanted).await?;
    Ok(body(&app, &headers, &id, &wanted))
}

async fn clear(State(app): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    set(&app, &id, &[]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set(app: &Shared, id: &str, wanted: &[String]) -> Result<(), ApiError> {
    projects::find(app, id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        replace(&tx, id, wanted).await?;
        tx.commit().await
    })
    .await
    .map_err(ApiError::from)
}

async fn check(
    State(app): State<Shared>,
    context: RequestContext,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    if !context.owns(&id) {
        return Err(ApiError::policy("identity:get_project_tag"));
    }
    projects::find(&app, &id).await?;
    match Entity::find_by_id((id, digest(&tag))).one(&app.db).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(not_found("project tag", &tag)),
    }
}

async fn add(
    State(app): State<Shared>,
    Path((id, tag)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    projects::find(&app, &id).await?;
    tags::check(&tag)?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        let others = Entity::find()
            .filter(Column::ProjectId.eq(&id))
            .filter(Column::Digest.ne(digest(&tag)))
            .count(&tx)
            .await?;
        tags::check_number(
            usize::try_from(others)
                .unwrap_or(usize::MAX)
                .saturating_add(1),
        )?;
        match Entity::insert(row(&id, &tag))
            .exec_without_returning(&tx)
            .await
        {
            Err(error) if !store::is_duplicate(&error) => Err(error.into()),
            // PostgreSQL takes nothing more in a transaction in which a statement failed.
            Err(_) => tx.rollback().await.map_err(ApiError::from),
            Ok(_) => tx.commit().await.map_err(ApiError::from),
        }
    })
    .await?;
    let link = format!("{}/projects/{id}/tags/{tag}", v3(&app, &headers));
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, encode_path(&link))],
    ))
}

/// A tag may hold what a header may not.
fn encode_path(link: &str) -> String {
    let mut out = String::with_capacity(link.len());
    for byte in link.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

async fn remove(
    State(app): State<Shared>,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    projects::find(&app, &id).await?;
    let done = Entity::delete_by_id((id, digest(&tag)))
        .exec(&app.db)
        .await?;
    if done.rows_affected == 0 {
        return Err(not_found("project tag", &tag));
    }
    Ok(StatusCode::NO_CONTENT)
}
