//! `/v3/services`, `/v3/endpoints`, `/v3/regions`: what the catalogue is made of.

use super::{
    Shared,
    body::{Attributes, collection, or_null, single, v3},
};
use crate::{
    app::{duplicate, new_id, not_found},
    store::{
        endpoint_filter,
        entities::{endpoint, region, service},
        limits,
    },
};
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use openstack_types::Interface;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait,
    PaginatorTrait, QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, store};

fn service_view(row: &service::Model) -> Value {
    json!({"id": row.id, "type": row.service_type, "name": row.name, "description": row.description,
        "enabled": row.enabled})
}

async fn find_service(app: &Shared, id: &str) -> Result<service::Model, ApiError> {
    service::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("service", id))
}

pub async fn list_services(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = service::Entity::find()
        .order_by_asc(service::Column::ServiceType)
        .all(&app.db)
        .await?;
    Ok(collection(
        "services",
        "/services",
        &v3(&app, &headers),
        &query,
        rows.iter().map(service_view).collect(),
    ))
}

pub async fn create_service(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("service", body)?;
    let row = service::Model {
        id: new_id(),
        service_type: given.required("type")?,
        name: given.nullable("name")?.unwrap_or_default(),
        description: given.nullable("description")?.unwrap_or_default(),
        enabled: given.flag("enabled")?.unwrap_or(true),
    };
    service::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(single(
            "service",
            "services",
            &v3(&app, &headers),
            service_view(&row),
        )),
    ))
}

pub async fn show_service(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(single(
        "service",
        "services",
        &v3(&app, &headers),
        service_view(&find_service(&app, &id).await?),
    )))
}

pub async fn update_service(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut given = Attributes::open("service", body)?;
    let mut row = find_service(&app, &id).await?.into_active_model();
    if let Some(service_type) = given.text("type")? {
        row.service_type = Set(service_type);
    }
    if let Some(name) = given.nullable("name")? {
        row.name = Set(name);
    }
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    if let Some(enabled) = given.flag("enabled")? {
        row.enabled = Set(enabled);
    }
    let row = row.update(&app.db).await?;
    Ok(Json(single(
        "service",
        "services",
        &v3(&app, &headers),
        service_view(&row),
    )))
}

/// Deletes a service with its endpoints.
pub async fn delete_service(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find_service(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        let endpoints = endpoint::Entity::find()
            .filter(endpoint::Column::ServiceId.eq(&id))
            .all(&tx)
            .await?;
        let endpoints: Vec<String> = endpoints.into_iter().map(|row| row.id).collect();
        endpoint_filter::forget_endpoints(&tx, &endpoints).await?;
        endpoint::Entity::delete_many()
            .filter(endpoint::Column::ServiceId.eq(&id))
            .exec(&tx)
            .await?;
        limits::remove_of(&tx, limits::registered::Column::ServiceId, &id).await?;
        row.clone().delete(&tx).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An endpoint as the API prints it.
pub fn endpoint_view(row: &endpoint::Model) -> Value {
    let region = or_null(&row.region_id);
    json!({"id": row.id, "service_id": row.service_id, "interface": row.interface, "region_id": region,
        "region": region, "url": row.url, "enabled": row.enabled})
}

/// An endpoint, or 404.
pub async fn find_endpoint(app: &Shared, id: &str) -> Result<endpoint::Model, ApiError> {
    endpoint::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("endpoint", id))
}

fn interface_word(word: &str) -> Result<String, ApiError> {
    Interface::parse(word).map(|interface| interface.to_string()).ok_or_else(|| {
        ApiError::bad_request("BadRequest", format!("Invalid input for field 'interface': `{word}` is none of public, internal, admin."))
    })
}

/// The region that a request names. One that is named by `region_id` must exist; by `region`, as clients of v2 did it, one
/// that does not is made.
async fn named_region(app: &Shared, given: &mut Attributes) -> Result<Option<String>, ApiError> {
    let old = given.nullable("region")?;
    let (id, make) = match given.nullable("region_id")? {
        Some(id) => (id, false),
        None => match old {
            Some(id) => (id, true),
            None => return Ok(None),
        },
    };
    if id.is_empty()
        || region::Entity::find_by_id(&id)
            .one(&app.db)
            .await?
            .is_some()
    {
        return Ok(Some(id));
    }
    if !make {
        return Err(ApiError::bad_request(
            "BadRequest",
            format!("Invalid region: {id}"),
        ));
    }
    let row = region::Model {
        id: id.clone(),
        parent_region_id: String::new(),
        description: String::new(),
    };
    match region::Entity::insert(row.into_active_model())
        .exec_without_returning(&app.db)
        .await
    {
        // Somebody else has just made it.
        Err(error) if !store::is_duplicate(&error) => Err(error.into()),
        _ => Ok(Some(id)),
    }
}

pub async fn list_endpoints(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = endpoint::Entity::find()
        .order_by_asc(endpoint::Column::Id)
        .all(&app.db)
        .await?;
    Ok(collection(
        "endpoints",
        "/endpoints",
        &v3(&app, &headers),
        &query,
        rows.iter().map(endpoint_view).collect(),
    ))
}

pub async fn create_endpoint(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("endpoint", body)?;
    let service_id = given.required("service_id")?;
    if service::Entity::find_by_id(&service_id)
        .one(&app.db)
        .await?
        .is_none()
    {
        return Err(ApiError::bad_request(
            "BadRequest",
            format!("Invalid service: {service_id}"),
        ));
    }
    let row = endpoint::Model {
        id: new_id(),
        service_id,
        interface: interface_word(&given.required("interface")?)?,
        url: given.required("url")?,
        enabled: given.flag("enabled")?.unwrap_or(true),
        // Last: what is refused makes no region.
        region_id: named_region(&app, &mut given).await?.unwrap_or_default(),
    };
    endpoint::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(single(
            "endpoint",
            "endpoints",
            &v3(&app, &headers),
            endpoint_view(&row),
        )),
    ))
}

pub async fn show_endpoint(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(single(
        "endpoint",
        "endpoints",
        &v3(&app, &headers),
        endpoint_view(&find_endpoint(&app, &id).await?),
    )))
}

pub async fn update_endpoint(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut given = Attributes::open("endpoint", body)?;
    let mut row = find_endpoint(&app, &id).await?.into_active_model();
    if let Some(word) = given.text("interface")? {
        row.interface = Set(interface_word(&word)?);
    }
    if let Some(id) = given.text("service_id")? {
        find_service(&app, &id).await?;
        row.service_id = Set(id);
    }
    if let Some(url) = given.text("url")? {
        row.url = Set(url);
    }
    if let Some(enabled) = given.flag("enabled")? {
        row.enabled = Set(enabled);
    }
    // Last: what is refused makes no region.
    if let Some(region) = named_region(&app, &mut given).await? {
        row.region_id = Set(region);
    }
    let row = row.update(&app.db).await?;
    Ok(Json(single(
        "endpoint",
        "endpoints",
        &v3(&app, &headers),
        endpoint_view(&row),
    )))
}

pub async fn delete_endpoint(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find_endpoint(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        endpoint_filter::forget_endpoints(&tx, std::slice::from_ref(&id)).await?;
        row.clone().delete(&tx).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn region_view(row: &region::Model) -> Value {
    json!({"id": row.id, "description": row.description, "parent_region_id": or_null(&row.parent_region_id)})
}

async fn find_region(app: &Shared, id: &str) -> Result<region::Model, ApiError> {
    region::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("region", id))
}

pub async fn list_regions(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let rows = region::Entity::find()
        .order_by_asc(region::Column::Id)
        .all(&app.db)
        .await?;
    Ok(collection(
        "regions",
        "/regions",
        &v3(&app, &headers),
        &query,
        rows.iter().map(region_view).collect(),
    ))
}

pub async fn create_region(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("region", body)?;
    let id = given.nullable("id")?.filter(|id| !id.is_empty());
    insert_region(&app, &headers, id.unwrap_or_else(new_id), given).await
}

/// A new region, whose id the address says.
pub async fn put_region(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("region", body)?;
    if let Some(other) = given.text("id")?.filter(|other| *other != id) {
        return Err(ApiError::bad_request(
            "BadRequest",
            format!("Conflicting region IDs specified: {id} != {other}"),
        ));
    }
    insert_region(&app, &headers, id, given).await
}

async fn insert_region(
    app: &Shared,
    headers: &HeaderMap,
    id: String,
    mut given: Attributes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let row = region::Model {
        id,
        parent_region_id: given.nullable("parent_region_id")?.unwrap_or_default(),
        description: given.nullable("description")?.unwrap_or_default(),
    };
    if !row.parent_region_id.is_empty() {
        find_region(app, &row.parent_region_id).await?;
    }
    region::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(duplicate("region", &row.id))?;
    Ok((
        StatusCode::CREATED,
        Json(single(
            "region",
            "regions",
            &v3(app, headers),
            region_view(&row),
        )),
    ))
}

pub async fn show_region(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(single(
        "region",
        "regions",
        &v3(&app, &headers),
        region_view(&find_region(&app, &id).await?),
    )))
}

/// A region's parent is there, and not below the region.
async fn check_parent(app: &Shared, id: &str, parent: &str) -> Result<(), ApiError> {
    let rows = region::Entity::find().all(&app.db).await?;
    let above = |id: &str| {
        let row = rows.iter().find(|row| row.id == id)?;
        Some(row.parent_region_id.as_str())
    };
    let mut next = parent;
    // No more steps than there are regions: a loop that is there already ends, too.
    for _ in 0..=rows.len() {
        if next.is_empty() {
            return Ok(());
        }
        if next == id {
            break;
        }
        next = above(next).ok_or_else(|| not_found("region", next))?;
    }
    Err(ApiError::bad_request(
        "BadRequest",
        format!("The specified parent region {parent} would create a circular region hierarchy."),
    ))
}

pub async fn update_region(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut given = Attributes::open("region", body)?;
    let mut row = find_region(&app, &id).await?.into_active_model();
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    if let Some(parent) = given.nullable("parent_region_id")? {
        check_parent(&app, &id, &parent).await?;
        row.parent_region_id = Set(parent);
    }
    let row = row.update(&app.db).await?;
    Ok(Json(single(
        "region",
        "regions",
        &v3(&app, &headers),
        region_view(&row),
    )))
}

pub async fn delete_region(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find_region(&app, &id).await?;
    let used = endpoint::Entity::find()
        .filter(endpoint::Column::RegionId.eq(&id))
        .count(&app.db)
        .await?;
    if used > 0 {
        return Err(ApiError::forbidden(
            "Forbidden",
            format!(
                "Unable to delete region {id} because it or its child regions have associated endpoints."
            ),
        ));
    }
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        limits::remove_of(&tx, limits::registered::Column::RegionId, &id).await?;
        row.clone().delete(&tx).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
