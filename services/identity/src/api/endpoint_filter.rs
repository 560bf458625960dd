//! `/v3/OS-EP-FILTER`: groups of endpoints, and which endpoints a project's catalogue shows. All of it is for
//! administrators. What follows is in `app/endpoint_filter.rs`.

use super::{
    Shared,
    body::{Attributes, collection, single, v3},
    catalog::{endpoint_view, find_endpoint},
    projects,
};
use crate::{
    app::{
        endpoint_filter::{Association, Filters, groups_of},
        new_id, not_found,
    },
    store::{
        endpoint_filter::{group, project_endpoint, project_group},
        entities::{endpoint, project},
    },
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, IntoActiveModel,
    ModelTrait, QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, Route, Rule, store};

const GROUPS: &str = "OS-EP-FILTER/endpoint_groups";

/// Rows of the extension.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::Admin;
    let mut rows = Vec::new();
    let all = "/v3/OS-EP-FILTER/endpoint_groups";
    let one = "/v3/OS-EP-FILTER/endpoint_groups/{id}";
    rows.extend([
        Route::new(Method::GET, all, "list_endpoint_groups", Admin, list),
        Route::new(Method::POST, all, "create_endpoint_group", Admin, create),
        Route::new(Method::GET, one, "get_endpoint_group", Admin, show),
        Route::new(Method::PATCH, one, "update_endpoint_group", Admin, update),
        Route::new(Method::DELETE, one, "delete_endpoint_group", Admin, delete),
    ]);
    let projects = "/v3/OS-EP-FILTER/endpoint_groups/{id}/projects";
    let project = "/v3/OS-EP-FILTER/endpoint_groups/{id}/projects/{project_id}";
    let endpoints = "/v3/OS-EP-FILTER/endpoint_groups/{id}/endpoints";
    let groups = "/v3/OS-EP-FILTER/projects/{project_id}/endpoint_groups";
    rows.extend([
        Route::new(
            Method::GET,
            projects,
            "list_projects_associated_with_endpoint_group",
            Admin,
            projects_of_group,
        ),
        Route::new(
            Method::GET,
            endpoints,
            "list_endpoints_associated_with_endpoint_group",
            Admin,
            endpoints_of_group,
        ),
        Route::new(
            Method::GET,
            groups,
            "list_endpoint_groups_for_project",
            Admin,
            groups_of_project,
        ),
        Route::new(
            Method::PUT,
            project,
            "add_endpoint_group_to_project",
            Admin,
            add_group,
        ),
        Route::new(
            Method::GET,
            project,
            "get_endpoint_group_in_project",
            Admin,
            check_group,
        ),
        Route::new(
            Method::DELETE,
            project,
            "remove_endpoint_group_from_project",
            Admin,
            remove_group,
        ),
    ]);
    let endpoints = "/v3/OS-EP-FILTER/projects/{project_id}/endpoints";
    let endpoint = "/v3/OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}";
    let projects = "/v3/OS-EP-FILTER/endpoints/{endpoint_id}/projects";
    rows.extend([
        Route::new(
            Method::GET,
            endpoints,
            "list_endpoints_for_project",
            Admin,
            endpoints_of_project,
        ),
        Route::new(
            Method::GET,
            projects,
            "list_projects_for_endpoint",
            Admin,
            projects_of_endpoint,
        ),
        Route::new(
            Method::PUT,
            endpoint,
            "add_endpoint_to_project",
            Admin,
            add_endpoint,
        ),
        Route::new(
            Method::GET,
            endpoint,
            "check_endpoint_in_project",
            Admin,
            check_endpoint,
        ),
        Route::new(
            Method::DELETE,
            endpoint,
            "remove_endpoint_from_project",
            Admin,
            remove_endpoint,
        ),
    ]);
    rows
}

fn view(row: &group::Model) -> Value {
    let filters: Value = serde_json::from_str(&row.filters).unwrap_or_default();
    json!({"id": row.id, "name": row.name, "description": row.description, "filters": filters})
}

async fn find(app: &Shared, id: &str) -> Result<group::Model, ApiError> {
    group::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("endpoint group", id))
}

async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = group::Entity::find()
        .order_by_asc(group::Column::Id)
        .all(&app.db)
        .await?;
    let views = rows.iter().map(view).collect();
    let path = format!("/{GROUPS}");
    let base = v3(&app, &headers);
    Ok(groups_body(collection(GROUPS, &path, &base, &query, views)))
}

/// The path's word, by which links are made, is longer than the body's.
fn groups_body(Json(mut body): Json<Value>) -> Json<Value> {
    Json(json!({"endpoint_groups": body[GROUPS].take(), "links": body["links"].take()}))
}

async fn create(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("endpoint_group", body)?;
    let filters = given
        .value("filters")
        .ok_or_else(|| given.missing("filters"))?;
    let row = group::Model {
        id: new_id(),
        name: given.required_name()?,
        description: given.nullable("description")?.unwrap_or_default(),
        filters: json!(Filters::read(&filters)?).to_string(),
    };
    group::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await?;
    let body = single("endpoint_group", GROUPS, &v3(&app, &headers), view(&row));
    Ok((StatusCode::CREATED, Json(body)))
}

async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let view = view(&find(&app, &id).await?);
    Ok(Json(single(
        "endpoint_group",
        GROUPS,
        &v3(&app, &headers),
        view,
    )))
}

async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut row = find(&app, &id).await?.into_active_model();
    let mut given = Attributes::open("endpoint_group", body)?;
    if let Some(name) = given.name()? {
        row.name = Set(name);
    }
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    if let Some(filters) = given.value("filters") {
        row.filters = Set(json!(Filters::read(&filters)?).to_string());
    }
    let row = row.update(&app.db).await?;
    Ok(Json(single(
        "endpoint_group",
        GROUPS,
        &v3(&app, &headers),
        view(&row),
    )))
}

async fn delete(State(app): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let row = find(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        project_group::Entity::delete_many()
            .filter(project_group::Column::EndpointGroupId.eq(&id))
            .exec(&tx)
            .await?;
        row.clone().delete(&tx).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn named_projects(
    app: &Shared,
    headers: &HeaderMap,
    path: &str,
    ids: Vec<String>,
) -> Result<Json<Value>, ApiError> {
    let rows = project::Entity::find()
        .filter(project::Column::Id.is_in(ids))
        .order_by_asc(project::Column::Name)
        .all(&app.db)
        .await?;
    let views = projects::views(app, &rows).await?;
    let base = v3(app, headers);
    Ok(collection(
        "projects",
        path,
        &base,
        &Query::default(),
        views,
    ))
}

async fn chosen_endpoints(
    app: &Shared,
    headers: &HeaderMap,
    path: &str,
    chosen: impl Fn(&endpoint::Model) -> bool,
) -> Result<Json<Value>, ApiError> {
    let rows = endpoint::Entity::find()
        .order_by_asc(endpoint::Column::Id)
        .all(&app.db)
        .await?;
    let views = rows.iter().filter(|row| chosen(row)).map(endpoint_view);
    let base = v3(app, headers);
    Ok(collection(
        "endpoints",
        path,
        &base,
        &Query::default(),
        views.collect(),
    ))
}

async fn projects_of_group(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    find(&app, &id).await?;
    let rows = project_group::Entity::find()
        .filter(project_group::Column::EndpointGroupId.eq(&id))
        .all(&app.db)
        .await?;
    let ids = rows.into_iter().map(|row| row.project_id).collect();
    named_projects(&app, &headers, &format!("/{GROUPS}/{id}/projects"), ids).await
}

async fn endpoints_of_group(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let group = find(&app, &id).await?;
    let path = format!("/{GROUPS}/{id}/endpoints");
    chosen_endpoints(&app, &headers, &path, |row| group.fits(row)).await
}

async fn groups_of_project(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    projects::find(&app, &id).await?;
    let rows = groups_of(&app.db, &id).await?;
    let path = format!("/OS-EP-FILTER/projects/{id}/endpoint_groups");
    let base = v3(&app, &headers);
    let views = rows.iter().map(view).collect();
    Ok(groups_body(collection(
        GROUPS,
        &path,
        &base,
        &Query::default(),
        views,
    )))
}

async fn add_group(
    State(app): State<Shared>,
    Path((id, project_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    find(&app, &id).await?;
    projects::find(&app, &project_id).await?;
    let row = project_group::ActiveModel {
        project_id: Set(project_id),
        endpoint_group_id: Set(id),
    };
    added(
        project_group::Entity::insert(row)
            .exec_without_returning(&app.db)
            .await,
    )
}

/// What is there already is well.
fn added<T>(result: Result<T, DbErr>) -> Result<StatusCode, ApiError> {
    match result {
        Err(error) if !store::is_duplicate(&error) => Err(error.into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

async fn check_group(
    State(app): State<Shared>,
    Path((id, project_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    find(&app, &id).await?;
    let row = projects::find(&app, &project_id).await?;
    if project_group::Entity::find_by_id((project_id.clone(), id))
        .one(&app.db)
        .await?
        .is_none()
    {
        return Err(not_found("project endpoint group", &project_id));
    }
    projects::whole(&app, &headers, &row).await
}

async fn remove_group(
    State(app): State<Shared>,
    Path((id, project_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    find(&app, &id).await?;
    let done = project_group::Entity::delete_by_id((project_id.clone(), id))
        .exec(&app.db)
        .await?;
    if done.rows_affected == 0 {
        return Err(not_found("project endpoint group", &project_id));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Those that are associated by groups, too.
async fn endpoints_of_project(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    projects::find(&app, &id).await?;
    let association = Association::of(&app.db, &id).await?;
    let path = format!("/OS-EP-FILTER/projects/{id}/endpoints");
    chosen_endpoints(&app, &headers, &path, |row| association.holds(row)).await
}

async fn projects_of_endpoint(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    find_endpoint(&app, &id).await?;
    let rows = project_endpoint::Entity::find()
        .filter(project_endpoint::Column::EndpointId.eq(&id))
        .all(&app.db)
        .await?;
    let ids = rows.into_iter().map(|row| row.project_id).collect();
    let path = format!("/OS-EP-FILTER/endpoints/{id}/projects");
    named_projects(&app, &headers, &path, ids).await
}

async fn add_endpoint(
    State(app): State<Shared>,
    Path((project_id, endpoint_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    find_endpoint(&app, &endpoint_id).await?;
    projects::find(&app, &project_id).await?;
    let row = project_endpoint::ActiveModel {
        project_id: Set(project_id),
        endpoint_id: Set(endpoint_id),
    };
    added(
        project_endpoint::Entity::insert(row)
            .exec_without_returning(&app.db)
            .await,
    )
}

async fn check_endpoint(
    State(app): State<Shared>,
    Path((project_id, endpoint_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    find_endpoint(&app, &endpoint_id).await?;
    projects::find(&app, &project_id).await?;
    match project_endpoint::Entity::find_by_id((project_id, endpoint_id.clone()))
        .one(&app.db)
        .await?
    {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(not_found("endpoint in project", &endpoint_id)),
    }
}

async fn remove_endpoint(
    State(app): State<Shared>,
    Path((project_id, endpoint_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let done = project_endpoint::Entity::delete_by_id((project_id, endpoint_id.clone()))
        .exec(&app.db)
        .await?;
    if done.rows_affected == 0 {
        return Err(not_found("endpoint in project", &endpoint_id));
    }
    Ok(StatusCode::NO_CONTENT)
}
