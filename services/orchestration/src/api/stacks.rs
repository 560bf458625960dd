//! Stacks.
use super::views;
use crate::{
    app::{App, definition::Definition},
    engine,
    resources::{self, property},
    store::Stack,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, Uri, header};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext};
use std::sync::Arc;

type Named = Path<(String, String, String)>;

/// Sub-resources that may follow a stack's name instead of its id.
const SUB_RESOURCES: &[&str] = &[
    "resources",
    "events",
    "template",
    "environment",
    "files",
    "outputs",
    "actions",
];

/// The project in the path must be the caller's.
pub fn check_tenant(caller: &RequestContext, tenant: &str) -> Result<(), ApiError> {
    if caller.is_admin || caller.project_id == tenant {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "Forbidden",
        "You are not authorized to use this tenant's stacks.",
    ))
}

/// The stack of a path with name and id.
pub async fn named(app: &App, caller: &RequestContext, path: &Named) -> Result<Stack, ApiError> {
    let Path((tenant, name, id)) = path;
    check_tenant(caller, tenant)?;
    let stack = app.stack_find(caller, id).await?;
    if stack.name != *name {
        return Err(ApiError::not_found(
            "EntityNotFound",
            format!("The Stack ({name}) could not be found."),
        ));
    }
    Ok(stack)
}

fn redirect(location: String) -> Response {
    // As Heat: a 302 whatever the method, clients repeat the method.
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

async fn page(
    app: &App,
    caller: &RequestContext,
    tenant: &str,
    query: &Query,
) -> Result<Vec<Stack>, ApiError> {
    check_tenant(caller, tenant)?;
    let everywhere = caller.is_admin
        && query
            .get("global_tenant")
            .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let mut stacks = app
        .store
        .stacks((!everywhere).then_some(caller.project_id.as_str()))
        .await?;
    let matches = |name: &str, value: &dyn Fn(&Stack) -> String, stack: &Stack| {
        let wanted: Vec<&str> = query.all(name).collect();
        wanted.is_empty() || wanted.contains(&value(stack).as_str())
    };
    stacks.retain(|stack| {
        matches("id", &|s| s.id.clone(), stack)
            && matches("name", &|s| s.name.clone(), stack)
            && matches("stack_name", &|s| s.name.clone(), stack)
            && matches("status", &|s| s.status.clone(), stack)
            && matches("action", &|s| s.action.clone(), stack)
    });
    if query.get("sort_dir") == Some("asc") {
        stacks.reverse();
    }
    Ok(Page::from_query(query, 1000)?
        .cut(stacks, |stack| &stack.id)?
        .0)
}

pub async fn list(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path(tenant): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let stacks = page(&app, &caller, &tenant, &query).await?;
    let mut answer =
        json!({"stacks": stacks.iter().map(|stack| views::brief(&app, stack)).collect::<Vec<_>>()});
    if query
        .get("with_count")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    {
        answer["count"] = json!(stacks.len());
    }
    Ok(Json(answer))
}

pub async fn detail(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path(tenant): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let mut out = Vec::new();
    for stack in page(&app, &caller, &tenant, &query).await? {
        out.push(views::full(&app, &stack, false).await?);
    }
    Ok(Json(json!({ "stacks": out })))
}

pub async fn create(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path(tenant): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    check_tenant(&caller, &tenant)?;
    let stack = app.stack_create(&caller, &body).await?;
    let answer = json!({"stack": {"id": stack.id, "links": views::links(&app, &stack)}});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub async fn preview(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path(tenant): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let definition = Definition::from_body(&body)?;
    let name = body["stack_name"].as_str().unwrap_or_default();
    let pseudo = hot::Pseudo {
        stack_name: name.to_owned(),
        project_id: caller.project_id.clone(),
        region: app.region.clone(),
        ..hot::Pseudo::default()
    };
    let bound = app.validate(&definition, &pseudo)?;
    let resources: Vec<Value> = bound
        .resources()
        .map(|(name, resource)| {
            json!({
                "resource_name": name,
                "resource_type": resource.type_name,
                "resource_status": "INIT_COMPLETE",
                "properties": bound.properties(resource, &hot::Static(&bound)).unwrap_or(Value::Null),
                "required_by": [],
                "resource_identity": {"stack_name": pseudo.stack_name, "tenant": caller.project_id, "path": format!("/resources/{name}"), "stack_id": null},
            })
        })
        .collect();
    Ok(Json(json!({"stack": {
        "stack_name": name,
        "description": bound.template.description,
        "parameters": app.shown_parameters(&bound),
        "resources": resources,
        "disable_rollback": true,
        "timeout_mins": body["timeout_mins"],
    }})))
}

/// `/stacks/NAME`, any method: where the stack is.
pub async fn lookup(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    check_tenant(&caller, &tenant)?;
    let stack = app.stack_find(&caller, &name).await?;
    Ok(redirect(views::stack_url(&app, &stack)))
}

/// `POST /stacks/NAME/actions`: where that is.
pub async fn lookup_subpath(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path((tenant, name, last)): Named,
) -> Result<Response, ApiError> {
    check_tenant(&caller, &tenant)?;
    if !SUB_RESOURCES.contains(&last.as_str()) {
        return Err(ApiError::not_found(
            "HTTPNotFound",
            "The resource could not be found.",
        ));
    }
    let stack = app.stack_find(&caller, &name).await?;
    Ok(redirect(format!(
        "{}/{last}",
        views::stack_url(&app, &stack)
    )))
}

pub async fn show(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
    query: Query,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Path((tenant, name, last)) = &path;
    if SUB_RESOURCES.contains(&last.as_str()) {
        check_tenant(&caller, tenant)?;
        let stack = app.stack_find(&caller, name).await?;
        let query = uri
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        return Ok(redirect(format!(
            "{}/{last}{query}",
            views::stack_url(&app, &stack)
        )));
    }
    let stack = named(&app, &caller, &path).await?;
    let resolve = !query
        .get("resolve_outputs")
        .is_some_and(|v| v.eq_ignore_ascii_case("false"));
    Ok(Json(json!({"stack": views::full(&app, &stack, resolve).await?})).into_response())
}

async fn change(
    app: &App,
    caller: &RequestContext,
    path: &Named,
    body: &Value,
    patch: bool,
) -> Result<Response, ApiError> {
    let stack = named(app, caller, path).await?;
    let link = views::links(app, &stack);
    let id = stack.id.clone();
    app.stack_update(caller, stack, body, patch).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({"stack": {"id": id, "links": link}})),
    )
        .into_response())
}

pub async fn update(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    change(&app, &caller, &path, &body, false).await
}

pub async fn patch(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    change(&app, &caller, &path, &body, true).await
}

pub async fn delete(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
) -> Result<StatusCode, ApiError> {
    let stack = named(&app, &caller, &path).await?;
    app.stack_delete(stack).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn preview_update(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    changes(&app, &caller, &path, &body, false).await
}

pub async fn preview_patch(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    changes(&app, &caller, &path, &body, true).await
}

/// What an update would do to each resource, by the engine's own decision.
async fn changes(
    app: &App,
    caller: &RequestContext,
    path: &Named,
    body: &Value,
    patch: bool,
) -> Result<Json<Value>, ApiError> {
    let stack = named(app, caller, path).await?;
    let definition = app.updated_definition(&stack, body, patch)?;
    let bound = app.validate(&definition, &engine::pseudo(&stack, &app.region))?;
    let rows = app.store.resources(&stack.id).await?;
    let scope = engine::StackScope::new(&bound, &app.types);
    for row in rows.iter().filter(|row| !row.replaced) {
        if let Some(id) = &row.physical_id {
            let snapshot = engine::Snapshot {
                type_name: row.type_name.clone(),
                physical_id: id.clone(),
                attributes: serde_json::from_str(&row.attributes).unwrap_or_default(),
            };
            scope.put(&row.name, snapshot);
        }
    }
    let mut lists: Map<String, Value> = ["added", "deleted", "replaced", "updated", "unchanged"]
        .iter()
        .map(|name| ((*name).to_owned(), json!([])))
        .collect();
    let mut tell = |list: &str, name: &str, type_name: &str| {
        if let Some(Value::Array(list)) = lists.get_mut(list) {
            list.push(json!({"resource_name": name, "resource_type": type_name}));
        }
    };
    for (name, resource) in bound.resources() {
        let row = rows.iter().find(|row| row.name == *name && !row.replaced);
        let Some(kind) = resources::find(&app.types, &resource.type_name) else {
            continue;
        };
        // What needs a resource that is yet to be made is not known now, and counts as changed.
        let wanted = match bound.properties(resource, &scope) {
            Ok(Value::Object(values)) => {
                property::check(kind.properties(), &values).unwrap_or(values)
            }
            _ => Map::new(),
        };
        let list = match engine::decide(row, &resource.type_name, kind.properties(), &wanted) {
            engine::Decision::Create | engine::Decision::Resume => "added",
            engine::Decision::Update => "updated",
            engine::Decision::Replace => "replaced",
            engine::Decision::Nothing => "unchanged",
        };
        tell(list, name, &resource.type_name);
    }
    for row in rows
        .iter()
        .filter(|row| !row.replaced && !bound.resources().any(|(name, _)| *name == row.name))
    {
        tell("deleted", &row.name, &row.type_name);
    }
    Ok(Json(json!({ "resource_changes": lists })))
}

/// Actions on a stack. Those that are not here yet say so.
pub async fn action(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
    Json(body): Json<Value>,
) -> Result<StatusCode, ApiError> {
    named(&app, &caller, &path).await?;
    let name = body
        .as_object()
        .and_then(|body| body.keys().next())
        .cloned()
        .unwrap_or_default();
    Err(ApiError::bad_request(
        "NotSupported",
        format!("The action \"{name}\" is not supported."),
    ))
}

fn stored(stack: &Stack) -> Result<Definition, ApiError> {
    serde_json::from_str(&stack.definition).map_err(ApiError::internal)
}

pub async fn template(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
) -> Result<Json<Value>, ApiError> {
    let stack = named(&app, &caller, &path).await?;
    let text = stored(&stack)?.template;
    Ok(Json(
        serde_yaml::from_str(&text).map_err(ApiError::internal)?,
    ))
}

pub async fn environment(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
) -> Result<Json<Value>, ApiError> {
    let stack = named(&app, &caller, &path).await?;
    let definition = stored(&stack)?;
    let mut environment = definition.environment.clone();
    let bound = views::bound(&app, &stack)?;
    let shown = app.shown_parameters(&bound);
    // Hidden ones as stars, in whichever section they are given.
    let mask = |values: Map<String, Value>| -> Value {
        let hidden = |name: &String| {
            bound
                .template
                .parameters
                .get(name)
                .is_some_and(|parameter| parameter.hidden)
        };
        let values = values.into_iter().map(|(name, value)| {
            let value = if hidden(&name) {
                shown.get(&name).cloned().unwrap_or(Value::Null)
            } else {
                value
            };
            (name, value)
        });
        Value::Object(values.collect())
    };
    environment.insert("parameters".to_owned(), mask(definition.given()));
    if let Some(Value::Object(defaults)) = environment.remove("parameter_defaults") {
        environment.insert("parameter_defaults".to_owned(), mask(defaults));
    }
    for section in ["parameter_defaults", "resource_registry"] {
        environment.entry(section).or_insert_with(|| json!({}));
    }
    Ok(Json(Value::Object(environment)))
}

pub async fn files(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
) -> Result<Json<Value>, ApiError> {
    let stack = named(&app, &caller, &path).await?;
    Ok(Json(Value::Object(stored(&stack)?.files)))
}

pub async fn outputs(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    path: Named,
) -> Result<Json<Value>, ApiError> {
    let stack = named(&app, &caller, &path).await?;
    let bound = views::bound(&app, &stack)?;
    let list: Vec<Value> = bound
        .outputs()
        .map(|(name, output)| {
            json!({"output_key": name, "description": output.description.as_deref().unwrap_or("No description given")})
        })
        .collect();
    Ok(Json(json!({ "outputs": list })))
}

pub async fn output(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path((tenant, name, id, key)): Path<(String, String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let stack = named(&app, &caller, &Path((tenant, name, id))).await?;
    let bound = views::bound(&app, &stack)?;
    let outputs = views::outputs(&app, &stack, &bound).await?;
    match outputs
        .into_iter()
        .find(|output| output["output_key"] == key.as_str())
    {
        Some(output) => Ok(Json(json!({ "output": output }))),
        None => Err(ApiError::not_found(
            "NotFound",
            format!("Specified output key {key} not found."),
        )),
    }
}
