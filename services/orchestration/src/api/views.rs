//! What the API shows of stacks, resources and events.
use crate::{
    app::App,
    engine::{self, Snapshot, StackScope},
    store::{Event, Resource, Stack},
};
use chrono::{DateTime, SecondsFormat};
use hot::Bound;
use serde_json::{Map, Value, json};
use service_kit::ApiError;

/// `2026-01-01T00:00:00Z`.
pub fn time(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn maybe_time(milliseconds: Option<i64>) -> Value {
    milliseconds.map_or(Value::Null, |at| json!(time(at)))
}

pub fn stack_url(app: &App, stack: &Stack) -> String {
    format!(
        "{}/v1/{}/stacks/{}/{}",
        app.public_url, stack.project_id, stack.name, stack.id
    )
}

pub fn links(app: &App, stack: &Stack) -> Value {
    json!([{"href": stack_url(app, stack), "rel": "self"}])
}

/// A row of the list.
pub fn brief(app: &App, stack: &Stack) -> Value {
    let template = crate::app::definition::description(&stack.definition);
    json!({
        "id": stack.id,
        "stack_name": stack.name,
        "project": stack.project_id,
        "description": template,
        "links": links(app, stack),
        "stack_status": format!("{}_{}", stack.action, stack.status),
        "stack_status_reason": stack.status_reason,
        "creation_time": time(stack.created_at),
        "updated_time": maybe_time(stack.updated_at),
        "deletion_time": maybe_time(stack.deleted_at),
        "stack_owner": stack.user_name,
        "parent": null,
        "stack_user_project_id": stack.project_id,
        "tags": tags(stack),
    })
}

fn tags(stack: &Stack) -> Value {
    if stack.tags.is_empty() {
        Value::Null
    } else {
        json!(stack.tags.split(',').collect::<Vec<_>>())
    }
}

/// A stack with everything.
pub async fn full(app: &App, stack: &Stack, resolve_outputs: bool) -> Result<Value, ApiError> {
    let mut view = brief(app, stack);
    let bound = bound(app, stack)?;
    let outputs = if resolve_outputs {
        json!(outputs(app, stack, &bound).await?)
    } else {
        json!([])
    };
    let more = json!({
        "parameters": app.shown_parameters(&bound),
        "outputs": outputs,
        "disable_rollback": stack.disable_rollback,
        "timeout_mins": stack.timeout_mins,
        "template_description": view["description"],
        "capabilities": [],
        "notification_topics": [],
    });
    if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
        view.extend(more);
    }
    Ok(view)
}

pub fn bound(app: &App, stack: &Stack) -> Result<Bound, ApiError> {
    let definition: crate::app::definition::Definition =
        serde_json::from_str(&stack.definition).map_err(ApiError::internal)?;
    definition.bind(&engine::pseudo(stack, &app.region))
}

/// Every output whose condition holds, with its value as far as it is known.
pub async fn outputs(app: &App, stack: &Stack, bound: &Bound) -> Result<Vec<Value>, ApiError> {
    let scope = StackScope::new(bound, &app.types);
    for row in app
        .store
        .resources(&stack.id)
        .await?
        .into_iter()
        .filter(|row| !row.replaced)
    {
        if let Some(id) = &row.physical_id {
            let snapshot = Snapshot {
                type_name: row.type_name.clone(),
                physical_id: id.clone(),
                attributes: serde_json::from_str(&row.attributes).unwrap_or_default(),
            };
            scope.put(&row.name, snapshot);
        }
    }
    Ok(bound
        .outputs()
        .map(|(name, output)| {
            let mut view = Map::new();
            view.insert("output_key".to_owned(), json!(name));
            view.insert(
                "description".to_owned(),
                json!(
                    output
                        .description
                        .as_deref()
                        .unwrap_or("No description given")
                ),
            );
            match hot::resolve_value(&output.value, &scope) {
                Ok(value) => view.insert("output_value".to_owned(), value),
                Err(error) => {
                    view.insert("output_error".to_owned(), json!(error.to_string()));
                    view.insert("output_value".to_owned(), Value::Null)
                }
            };
            Value::Object(view)
        })
        .collect())
}

/// A resource.
pub fn resource(
    app: &App,
    stack: &Stack,
    row: &Resource,
    with_attributes: bool,
    required_by: &[String],
) -> Value {
    let mut view = json!({
        "resource_name": row.name,
        "logical_resource_id": row.name,
        "physical_resource_id": row.physical_id.as_deref().unwrap_or_default(),
        "resource_type": row.type_name,
        "resource_status": format!("{}_{}", row.action, row.status),
        "resource_status_reason": row.status_reason,
        "creation_time": time(row.created_at),
        "updated_time": time(row.updated_at),
        "required_by": required_by,
        "links": [
            {"href": format!("{}/resources/{}", stack_url(app, stack), row.name), "rel": "self"},
            {"href": stack_url(app, stack), "rel": "stack"},
        ],
    });
    if with_attributes {
        view["attributes"] = serde_json::from_str(&row.attributes).unwrap_or(Value::Null);
        view["description"] = json!("");
        view["parent_resource"] = Value::Null;
    }
    view
}

/// An event.
pub fn event(app: &App, stack: &Stack, event: &Event) -> Value {
    let url = stack_url(app, stack);
    json!({
        "id": event.id,
        "event_time": time(event.time),
        "resource_name": event.resource_name,
        "logical_resource_id": event.resource_name,
        "physical_resource_id": event.physical_id,
        "resource_type": event.type_name,
        "resource_status": format!("{}_{}", event.action, event.status),
        "resource_status_reason": event.reason,
        "links": [
            {"href": format!("{url}/resources/{}/events/{}", event.resource_name, event.id), "rel": "self"},
            {"href": format!("{url}/resources/{}", event.resource_name), "rel": "resource"},
            {"href": url, "rel": "stack"},
        ],
    })
}
