//! `/v2/metadefs/namespaces`.

use super::{
    body, fields, page, place, resource_types::view as association, taken, unprotected, visible,
};
use crate::{
    api::{Shared, metadefs::properties, view::time},
    app::{now, wrong},
    store::metadefs::{self, Kind, item, namespace},
};
use axum::{extract::State, response::IntoResponse};
use http::StatusCode;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, store};
use std::collections::{HashMap, HashSet};

const URL: &str = "/v2/metadefs/namespaces";
/// What a namespace says of itself, and then what is in it. Clients send all of it back as they were shown it.
const NAMES: [&str; 10] = [
    "namespace",
    "display_name",
    "description",
    "visibility",
    "protected",
    "owner",
    "objects",
    "tags",
    "resource_type_associations",
    "properties",
];

fn view(row: &namespace::Model) -> Map<String, Value> {
    let mut view = Map::new();
    let mut add = |name: &str, value: Value| view.insert(name.to_owned(), value);
    add("namespace", row.namespace.as_str().into());
    for (name, text) in [
        ("display_name", &row.display_name),
        ("description", &row.description),
    ] {
        if !text.is_empty() {
            add(name, text.as_str().into());
        }
    }
    add("visibility", row.visibility.as_str().into());
    add("protected", row.protected.into());
    add("owner", row.owner.as_str().into());
    add("created_at", time(row.created_at).into());
    add("updated_at", time(row.updated_at).into());
    add("self", format!("{URL}/{}", row.namespace).into());
    add("schema", "/v2/schemas/metadefs/namespace".into());
    view
}

fn key(row: &namespace::Model, by: &str) -> Option<String> {
    Some(match by {
        "namespace" => row.namespace.clone(),
        "display_name" => row.display_name.clone(),
        "visibility" => row.visibility.clone(),
        "owner" => row.owner.clone(),
        "created_at" => format!("{:020}", row.created_at),
        "updated_at" => format!("{:020}", row.updated_at),
        _ => return None,
    })
}

pub async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let mut rows = namespace::Entity::find().all(&app.db).await?;
    rows.retain(|row| row.visibility == "public" || context.owns(&row.owner));
    match query.get("visibility") {
        None => {}
        Some(wanted @ ("public" | "private")) => rows.retain(|row| row.visibility == wanted),
        Some(other) => return Err(wrong(format!("Invalid visibility value: {other}"))),
    }
    let associations = item::Entity::find()
        .filter(item::Column::Kind.eq(Kind::Association.word()))
        .all(&app.db)
        .await?;
    let mut of: HashMap<&str, Vec<&item::Model>> = HashMap::new();
    for row in &associations {
        of.entry(row.namespace_id.as_str()).or_default().push(row);
    }
    if let Some(wanted) = query.get("resource_types") {
        let wanted: HashSet<&str> = wanted.split(',').collect();
        rows.retain(|row| {
            let mine = of.get(row.id.as_str());
            mine.is_some_and(|mine| mine.iter().any(|one| wanted.contains(one.name.as_str())))
        });
    }
    let (rows, mut answer) = page(rows, &query, URL, key, |row| &row.namespace)?;
    let views = rows.iter().map(|row| {
        let mut view = view(row);
        if let Some(mine) = of.get(row.id.as_str()) {
            let mine: Vec<Value> = mine.iter().map(|row| association(row)).collect();
            view.insert("resource_type_associations".to_owned(), mine.into());
        }
        Value::Object(view)
    });
    answer.insert("namespaces".to_owned(), views.collect::<Vec<_>>().into());
    answer.insert(
        "schema".to_owned(),
        "/v2/schemas/metadefs/namespaces".into(),
    );
    Ok(Json(Value::Object(answer)))
}

/// Reads what a namespace says of itself into a row.
fn read(row: &mut namespace::Model, given: &Map<String, Value>) -> Result<(), ApiError> {
    row.namespace = fields::name(given, "namespace")?.to_owned();
    let text = |name: &str, most| fields::text(given, name, most);
    row.display_name = text("display_name", 80)?.unwrap_or_default().to_owned();
    row.description = text("description", 500)?.unwrap_or_default().to_owned();
    row.protected = fields::flag(given, "protected")?;
    row.visibility = match text("visibility", 80)? {
        None => "private".to_owned(),
        Some(wanted @ ("public" | "private")) => wanted.to_owned(),
        Some(_) => return Err(wrong("A namespace's `visibility` is public or private.")),
    };
    if let Some(owner) = text("owner", 255)? {
        row.owner = owner.to_owned();
    }
    row.updated_at = now();
    Ok(())
}

/// What comes with a new namespace.
fn content(id: &str, given: &Map<String, Value>) -> Result<Vec<item::Model>, ApiError> {
    let list = |name: &str| match given.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.iter().collect()),
        Some(_) => Err(wrong(format!("Expected a list for `{name}`."))),
    };
    let mut items = Vec::new();
    for value in list("objects")? {
        items.push(fields::object_item(id, value)?);
    }
    for value in list("tags")? {
        items.push(fields::tag(id, value)?);
    }
    for value in list("resource_type_associations")? {
        items.push(fields::association(id, value)?);
    }
    match given.get("properties") {
        None | Some(Value::Null) => {}
        Some(Value::Object(properties)) => {
            for (name, value) in properties {
                items.push(fields::property(id, value, Some(name))?);
            }
        }
        Some(_) => return Err(wrong("Expected an object for `properties`.")),
    }
    Ok(items)
}

pub async fn create(
    State(app): State<Shared>,
    context: RequestContext,
    Json(given): Json<Value>,
) -> Result<impl IntoResponse, ApiError> {
    let given = fields::object(&given, &NAMES)?;
    let mut row = namespace::Model {
        id: uuid::Uuid::new_v4().to_string(),
        namespace: String::new(),
        display_name: String::new(),
        description: String::new(),
        visibility: String::new(),
        protected: false,
        owner: context.project_id.clone(),
        created_at: now(),
        updated_at: now(),
    };
    read(&mut row, given)?;
    let items = content(&row.id, given)?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        let new = row.clone().into_active_model().reset_all();
        namespace::Entity::insert(new)
            .exec_without_returning(&tx)
            .await?;
        metadefs::add(&tx, &items).await?;
        tx.commit().await
    })
    .await
    .map_err(taken("namespace", &row.namespace))?;
    let headers = place(&format!("{URL}/{}", row.namespace))?;
    let view = whole(&app, &row, None).await?;
    Ok((StatusCode::CREATED, headers, Json(view)))
}

/// A namespace with all that is in it; properties by the names that a kind of resources has them under.
async fn whole(
    app: &Shared,
    row: &namespace::Model,
    resource_type: Option<&str>,
) -> Result<Value, ApiError> {
    let mut answer = view(row);
    let of = async |kind| metadefs::items(&app.db, &row.id, kind).await;
    let associations = of(Kind::Association).await?;
    let prefix = properties::prefix(&associations, resource_type);
    let objects = of(Kind::Object).await?;
    let objects: Vec<Value> = objects
        .iter()
        .map(|item| super::objects::view(row, item, &prefix))
        .collect();
    let tags = of(Kind::Tag).await?;
    let tags: Vec<Value> = tags.iter().map(|tag| json!({"name": tag.name})).collect();
    let properties = of(Kind::Property).await?;
    let properties: Map<String, Value> = properties
        .iter()
        .map(|item| (format!("{prefix}{}", item.name), Value::Object(body(item))))
        .collect();
    let associations: Vec<Value> = associations.iter().map(association).collect();
    for (name, list) in [
        ("objects", objects),
        ("tags", tags),
        ("resource_type_associations", associations),
    ] {
        if !list.is_empty() {
            answer.insert(name.to_owned(), list.into());
        }
    }
    if !properties.is_empty() {
        answer.insert("properties".to_owned(), properties.into());
    }
    Ok(Value::Object(answer))
}

pub async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let row = visible(&app, &context, &name).await?;
    Ok(Json(whole(&app, &row, query.get("resource_type")).await?))
}

pub async fn update(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
    Json(given): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut row = visible(&app, &context, &name).await?;
    // Only what it says of itself is changed.
    read(&mut row, fields::object(&given, &NAMES)?)?;
    let changed = row.clone().into_active_model().reset_all();
    store::retry(|| namespace::Entity::update(changed.clone()).exec(&app.db))
        .await
        .map_err(taken("namespace", &row.namespace))?;
    Ok(Json(Value::Object(view(&row))))
}

pub async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = unprotected(&app, &context, &name).await?;
    metadefs::remove_namespace(&app.db, &row.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
