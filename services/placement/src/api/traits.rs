//! `/traits` and `/resource_classes`: names.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query};

use super::State;
use crate::app::candidates;
use crate::app::names::{self, Kind};

/// GET `/traits`, with `name=startswith:X`, `name=in:A,B`, `associated=true`.
pub async fn list(app: State, query: Query) -> Result<Json<Value>, ApiError> {
    let mut all = names::all(&app.db, Kind::Trait).await?;
    if let Some(filter) = query.get("name") {
        if let Some(prefix) = filter.strip_prefix("startswith:") {
            all.retain(|name| name.starts_with(prefix));
        } else if let Some(list) = filter.strip_prefix("in:") {
            all.retain(|name| list.split(',').any(|wanted| wanted == name));
        } else {
            return Err(super::bad("`name` must begin with `startswith:` or `in:`."));
        }
    }
    if let Some(associated) = query.flag("associated") {
        let snapshot = candidates::snapshot(&app.db).await?;
        all.retain(|name| {
            snapshot
                .iter()
                .any(|provider| provider.traits.contains(name))
                == associated
        });
    }
    Ok(Json(json!({"traits": all})))
}

async fn known(app: &State, kind: Kind, name: &str) -> Result<(), ApiError> {
    if names::all(&app.db, kind)
        .await?
        .iter()
        .any(|known| known == name)
    {
        Ok(())
    } else {
        Err(ApiError::not_found(
            "placement.undefined_code",
            format!("No such name: {name}."),
        ))
    }
}

/// GET `/traits/{name}`.
pub async fn show(app: State, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    known(&app, Kind::Trait, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// PUT `/traits/{name}`.
pub async fn ensure(app: State, Path(name): Path<String>) -> Result<Response, ApiError> {
    let made = names::add(&app.db, Kind::Trait, &name).await?;
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    };
    Ok((status, [(header::LOCATION, format!("/traits/{name}"))]).into_response())
}

/// DELETE `/traits/{name}`, unless a provider has it.
pub async fn delete(app: State, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    if candidates::snapshot(&app.db)
        .await?
        .iter()
        .any(|provider| provider.traits.contains(&name))
    {
        return Err(ApiError::conflict(
            "placement.undefined_code",
            format!("The trait {name} is in use by a resource provider."),
        ));
    }
    names::remove(&app.db, Kind::Trait, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn class_view(name: &str) -> Value {
    json!({"name": name, "links": [{"rel": "self", "href": format!("/resource_classes/{name}")}]})
}

/// GET `/resource_classes`.
pub async fn classes(app: State) -> Result<Json<Value>, ApiError> {
    let all = names::all(&app.db, Kind::Class).await?;
    Ok(Json(
        json!({"resource_classes": all.iter().map(|name| class_view(name)).collect::<Vec<_>>()}),
    ))
}

/// Body of POST.
#[derive(Debug, Deserialize)]
pub struct ClassBody {
    name: String,
}

/// POST `/resource_classes`.
pub async fn create_class(app: State, Json(body): Json<ClassBody>) -> Result<Response, ApiError> {
    if !names::add(&app.db, Kind::Class, &body.name).await? {
        return Err(ApiError::conflict(
            "placement.undefined_code",
            format!("Conflicting resource class already exists: {}", body.name),
        ));
    }
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/resource_classes/{}", body.name))],
    )
        .into_response())
}

/// GET `/resource_classes/{name}`.
pub async fn show_class(app: State, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    known(&app, Kind::Class, &name).await?;
    Ok(Json(class_view(&name)))
}

/// PUT `/resource_classes/{name}` (from 1.7: makes it if needed).
pub async fn ensure_class(app: State, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let made = names::add(&app.db, Kind::Class, &name).await?;
    Ok(if made {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    })
}

/// DELETE `/resource_classes/{name}`, unless a provider offers it.
pub async fn delete_class(app: State, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    if candidates::snapshot(&app.db)
        .await?
        .iter()
        .any(|provider| provider.offers.contains_key(&name))
    {
        return Err(ApiError::conflict(
            "placement.undefined_code",
            format!("Error in delete resource class: {name} is in use in inventory."),
        ));
    }
    names::remove(&app.db, Kind::Class, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
