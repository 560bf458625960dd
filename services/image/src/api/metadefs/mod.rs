//! `/v2/metadefs`: the catalogue of metadata definitions, and its rows of the route table.
//!
//! Everybody may read what is public or his own project's; only administrators write, as upstream's defaults have it.

mod fields;
mod namespaces;
mod objects;
mod properties;
mod resource_types;
pub mod schemas;
mod tags;

use super::{Shared, view::time};
use crate::{
    app::{App, wrong},
    store::metadefs::{self, Kind, item, namespace},
};
use axum::extract::State;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sea_orm::DbErr;
use serde_json::{Map, Value};
use service_kit::{ApiError, Page, Path, Query, RequestContext, Route, Rule, store};

/// Items on a page unless the client says otherwise, and at most.
const PAGE: usize = 25;
const LARGEST_PAGE: usize = 1000;

/// A namespace that the caller may see; others do not exist for him.
async fn visible(
    app: &App,
    context: &RequestContext,
    name: &str,
) -> Result<namespace::Model, ApiError> {
    let row = metadefs::find(&app.db, name).await?;
    row.filter(|row| row.visibility == "public" || context.owns(&row.owner))
        .ok_or_else(|| {
            ApiError::not_found(
                "NotFound",
                format!("Metadata definition namespace={name} was not found."),
            )
        })
}

/// One whose content may be removed.
async fn unprotected(
    app: &App,
    context: &RequestContext,
    name: &str,
) -> Result<namespace::Model, ApiError> {
    let row = visible(app, context, name).await?;
    if row.protected {
        return Err(ApiError::forbidden(
            "Forbidden",
            format!(
                "Metadata definition namespace {name} is protected: nothing of it can be deleted."
            ),
        ));
    }
    Ok(row)
}

async fn found(
    app: &App,
    namespace: &namespace::Model,
    kind: Kind,
    name: &str,
) -> Result<item::Model, ApiError> {
    let row = metadefs::item(&app.db, &namespace.id, kind, name).await?;
    row.ok_or_else(|| missing(namespace, kind, name))
}

fn missing(namespace: &namespace::Model, kind: Kind, name: &str) -> ApiError {
    ApiError::not_found(
        "NotFound",
        format!(
            "The metadata definition {} with name={name} was not found in namespace={}.",
            kind.word(),
            namespace.namespace
        ),
    )
}

/// A new item, as `read` makes it for the id of its namespace.
async fn added(
    app: &App,
    context: &RequestContext,
    namespace: &str,
    read: impl FnOnce(&str) -> Result<item::Model, ApiError>,
) -> Result<(namespace::Model, item::Model), ApiError> {
    let namespace = visible(app, context, namespace).await?;
    let row = read(&namespace.id)?;
    store::retry(async || metadefs::add(&app.db, std::slice::from_ref(&row)).await)
        .await
        .map_err(taken(&row.kind, &row.name))?;
    Ok((namespace, row))
}

/// An item in the place of the one called `name`.
async fn replaced(
    app: &App,
    context: &RequestContext,
    namespace: &str,
    kind: Kind,
    name: &str,
    read: impl FnOnce(&str) -> Result<item::Model, ApiError>,
) -> Result<(namespace::Model, item::Model), ApiError> {
    let namespace = visible(app, context, namespace).await?;
    let old = found(app, &namespace, kind, name).await?;
    let mut row = read(&namespace.id)?;
    row.created_at = old.created_at;
    metadefs::replace(&app.db, &old, &row)
        .await
        .map_err(taken(kind.word(), &row.name))?;
    Ok((namespace, row))
}

/// What a handler that removes promises.
type Removal = BoxFuture<'static, Result<StatusCode, ApiError>>;

/// The handler that removes one item of a kind.
fn delete_one(
    kind: Kind,
) -> impl Fn(State<Shared>, RequestContext, Path<(String, String)>) -> Removal
+ Clone
+ Send
+ Sync
+ 'static {
    move |State(app): State<Shared>,
          context: RequestContext,
          Path((namespace, name)): Path<(String, String)>| {
        async move { remove(&app, &context, &namespace, kind, Some(&name)).await }.boxed()
    }
}

/// The handler that removes all items of a kind.
fn delete_all(
    kind: Kind,
) -> impl Fn(State<Shared>, RequestContext, Path<String>) -> Removal + Clone + Send + Sync + 'static
{
    move |State(app): State<Shared>, context: RequestContext, Path(namespace): Path<String>| {
        async move { remove(&app, &context, &namespace, kind, None).await }.boxed()
    }
}

/// Removes one item, or all of a kind.
async fn remove(
    app: &App,
    context: &RequestContext,
    namespace: &str,
    kind: Kind,
    name: Option<&str>,
) -> Result<StatusCode, ApiError> {
    let namespace = unprotected(app, context, namespace).await?;
    let removed = metadefs::remove(&app.db, &namespace.id, kind, name).await?;
    match name {
        Some(name) if removed == 0 => Err(missing(&namespace, kind, name)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// The fault of a name that is taken, or of the database.
fn taken(kind: &str, name: &str) -> impl Fn(DbErr) -> ApiError {
    move |error| {
        if store::is_duplicate(&error) {
            ApiError::conflict(
                "Conflict",
                format!("A metadata definition {kind} with name={name} already exists."),
            )
        } else {
            error.into()
        }
    }
}

/// What an item's body says.
fn body(row: &item::Model) -> Map<String, Value> {
    serde_json::from_str(&row.body).unwrap_or_default()
}

/// Adds when an item was made and changed.
fn dated(mut view: Map<String, Value>, row: &item::Model) -> Map<String, Value> {
    view.insert("created_at".to_owned(), time(row.created_at).into());
    view.insert("updated_at".to_owned(), time(row.updated_at).into());
    view
}

fn place(url: &str) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    // Names may have letters that a header has not.
    let url: String = url
        .bytes()
        .map(|byte| match byte {
            b'!'..=b'~' if byte != b'%' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let value = HeaderValue::from_str(&url).map_err(ApiError::internal)?;
    headers.insert(header::LOCATION, value);
    Ok(headers)
}

/// One page of a list, as sorted by the query, with the links to others.
fn page<T>(
    mut rows: Vec<T>,
    query: &Query,
    url: &str,
    key: impl Fn(&T, &str) -> Option<String>,
    name: impl Fn(&T) -> &str,
) -> Result<(Vec<T>, Map<String, Value>), ApiError> {
    let by = query.get("sort_key").unwrap_or("created_at");
    if rows.first().is_some_and(|row| key(row, by).is_none()) {
        return Err(wrong(format!("Invalid sort key: {by}.")));
    }
    let ascending = match query.get("sort_dir").unwrap_or("desc") {
        "asc" => true,
        "desc" => false,
        other => return Err(wrong(format!("Invalid sort direction: {other}"))),
    };
    rows.sort_by(|a, b| {
        let order = key(a, by)
            .cmp(&key(b, by))
            .then_with(|| name(a).cmp(name(b)));
        if ascending { order } else { order.reverse() }
    });
    let mut wanted = Page::from_query(query, LARGEST_PAGE)?;
    wanted.limit.get_or_insert(PAGE);
    let (rows, more) = wanted.cut(rows, &name)?;
    let mut links = Map::new();
    links.insert("first".to_owned(), super::first_url(url, query).into());
    if let (true, Some(last)) = (more, rows.last()) {
        let next = service_kit::page::next_url(url, query, name(last));
        links.insert("next".to_owned(), next.into());
    }
    Ok((rows, links))
}

/// By what items are sorted.
fn item_key(row: &item::Model, by: &str) -> Option<String> {
    Some(match by {
        "name" => row.name.clone(),
        "created_at" => format!("{:020}", row.created_at),
        "updated_at" => format!("{:020}", row.updated_at),
        _ => return None,
    })
}

/// The rows of the route table.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::{Admin, Reader};
    const NAMESPACES: &str = "/v2/metadefs/namespaces";
    const NAMESPACE: &str = "/v2/metadefs/namespaces/{namespace}";
    const OBJECTS: &str = "/v2/metadefs/namespaces/{namespace}/objects";
    const OBJECT: &str = "/v2/metadefs/namespaces/{namespace}/objects/{name}";
    const PROPERTIES: &str = "/v2/metadefs/namespaces/{namespace}/properties";
    const PROPERTY: &str = "/v2/metadefs/namespaces/{namespace}/properties/{name}";
    const TAGS: &str = "/v2/metadefs/namespaces/{namespace}/tags";
    const TAG: &str = "/v2/metadefs/namespaces/{namespace}/tags/{name}";
    const TYPES: &str = "/v2/metadefs/namespaces/{namespace}/resource_types";
    const TYPE: &str = "/v2/metadefs/namespaces/{namespace}/resource_types/{name}";
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let known = "/v2/metadefs/resource_types";
    vec![
        Route::new(
            get.clone(),
            NAMESPACES,
            "get_metadef_namespaces",
            Reader,
            namespaces::list,
        ),
        Route::new(
            post.clone(),
            NAMESPACES,
            "add_metadef_namespace",
            Admin,
            namespaces::create,
        ),
        Route::new(
            get.clone(),
            NAMESPACE,
            "get_metadef_namespace",
            Reader,
            namespaces::show,
        ),
        Route::new(
            put.clone(),
            NAMESPACE,
            "modify_metadef_namespace",
            Admin,
            namespaces::update,
        ),
        Route::new(
            delete.clone(),
            NAMESPACE,
            "delete_metadef_namespace",
            Admin,
            namespaces::delete,
        ),
        Route::new(
            get.clone(),
            OBJECTS,
            "get_metadef_objects",
            Reader,
            objects::list,
        ),
        Route::new(
            post.clone(),
            OBJECTS,
            "add_metadef_object",
            Admin,
            objects::create,
        ),
        Route::new(
            delete.clone(),
            OBJECTS,
            "delete_metadef_objects",
            Admin,
            delete_all(Kind::Object),
        ),
        Route::new(
            get.clone(),
            OBJECT,
            "get_metadef_object",
            Reader,
            objects::show,
        ),
        Route::new(
            put.clone(),
            OBJECT,
            "modify_metadef_object",
            Admin,
            objects::update,
        ),
        Route::new(
            delete.clone(),
            OBJECT,
            "delete_metadef_object",
            Admin,
            delete_one(Kind::Object),
        ),
        Route::new(
            get.clone(),
            PROPERTIES,
            "get_metadef_properties",
            Reader,
            properties::list,
        ),
        Route::new(
            post.clone(),
            PROPERTIES,
            "add_metadef_property",
            Admin,
            properties::create,
        ),
        Route::new(
            delete.clone(),
            PROPERTIES,
            "delete_metadef_properties",
            Admin,
            delete_all(Kind::Property),
        ),
        Route::new(
            get.clone(),
            PROPERTY,
            "get_metadef_property",
            Reader,
            properties::show,
        ),
        Route::new(
            put.clone(),
            PROPERTY,
            "modify_metadef_property",
            Admin,
            properties::update,
        ),
        Route::new(
            delete.clone(),
            PROPERTY,
            "remove_metadef_property",
            Admin,
            delete_one(Kind::Property),
        ),
        Route::new(get.clone(), TAGS, "get_metadef_tags", Reader, tags::list),
        Route::new(
            post.clone(),
            TAGS,
            "add_metadef_tags",
            Admin,
            tags::create_all,
        ),
        Route::new(
            delete.clone(),
            TAGS,
            "delete_metadef_tags",
            Admin,
            delete_all(Kind::Tag),
        ),
        Route::new(get.clone(), TAG, "get_metadef_tag", Reader, tags::show),
        Route::new(post.clone(), TAG, "add_metadef_tag", Admin, tags::create),
        Route::new(put, TAG, "modify_metadef_tag", Admin, tags::update),
        Route::new(
            delete.clone(),
            TAG,
            "delete_metadef_tag",
            Admin,
            delete_one(Kind::Tag),
        ),
        Route::new(
            get.clone(),
            known,
            "list_metadef_resource_types",
            Reader,
            resource_types::known,
        ),
        Route::new(
            get,
            TYPES,
            "get_metadef_resource_type",
            Reader,
            resource_types::list,
        ),
        Route::new(
            post,
            TYPES,
            "add_metadef_resource_type_association",
            Admin,
            resource_types::create,
        ),
        Route::new(
            delete,
            TYPE,
            "remove_metadef_resource_type_association",
            Admin,
            delete_one(Kind::Association),
        ),
    ]
}
