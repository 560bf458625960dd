//! What the service can do: versions, functions, resource types; and checking a template.
use super::stacks::check_tenant;
use crate::{
    app::{App, definition::Definition},
    resources,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, RequestContext};
use std::sync::Arc;

pub async fn versions(State(app): State<Arc<App>>) -> Response {
    let answer = json!({"versions": [{
        "id": "v1.0", "status": "CURRENT",
        "links": [{"rel": "self", "href": format!("{}/v1/", app.public_url)}],
    }]});
    (StatusCode::MULTIPLE_CHOICES, Json(answer)).into_response()
}

pub async fn build_info(
    caller: RequestContext,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(
        json!({"api": {"revision": version}, "engine": {"revision": version}}),
    ))
}

pub async fn services(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    // The engine of this process; engines on other machines are not told of.
    Ok(Json(json!({"services": [{
        "binary": "heat-engine", "host": app.host, "hostname": app.host, "topic": "engine",
        "status": "up", "id": app.engine_id, "engine_id": app.engine_id, "report_interval": 60,
        "created_at": null, "updated_at": null, "deleted_at": null,
    }]})))
}

pub async fn validate(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path(tenant): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let definition = Definition::from_body(&body)?;
    let template = hot::parse("template", &definition.template)
        .map_err(|faults| crate::app::definition::invalid(faults.to_string()))?;
    for resource in template.resources.values() {
        if resources::find(&app.types, &resource.type_name).is_none() {
            let message = format!(
                "The Resource Type ({}) could not be found.",
                resource.type_name
            );
            return Err(crate::app::definition::invalid(message));
        }
    }
    let given = definition.given();
    let parameters: Map<String, Value> = template
        .parameters
        .iter()
        .map(|(name, parameter)| {
            let mut view = json!({
                "Type": parameter.kind.api_name(),
                "Description": parameter.description.as_deref().unwrap_or_default(),
                "Label": parameter.label.as_deref().unwrap_or(name),
                "NoEcho": parameter.hidden.to_string(),
            });
            if let Some(default) = &parameter.default {
                view["Default"] = default.clone();
            }
            if let Some(value) = given.get(name) {
                view["Value"] = value.clone();
            }
            (name.clone(), view)
        })
        .collect();
    Ok(Json(json!({
        "Description": template.description.as_deref().unwrap_or("No description"),
        "Parameters": parameters,
        "ParameterGroups": template.parameter_groups.iter().map(|group| json!({
            "label": group.label, "description": group.description, "parameters": group.parameters,
        })).collect::<Vec<_>>(),
        "Environment": definition.environment,
    })))
}

pub async fn resource_types(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let mut names: Vec<&str> = app.types.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    Ok(Json(json!({ "resource_types": names })))
}

pub async fn resource_type(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let Some(kind) = resources::find(&app.types, &name) else {
        let message = format!("The Resource Type ({name}) could not be found.");
        return Err(ApiError::not_found("EntityNotFound", message));
    };
    let properties: Map<String, Value> = kind
        .properties()
        .iter()
        .map(|property| (property.name.to_owned(), property.schema()))
        .collect();
    let attributes: Map<String, Value> = kind
        .attribute_names()
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                json!({"type": "any", "description": ""}),
            )
        })
        .collect();
    Ok(Json(json!({
        "resource_type": name,
        "properties": properties,
        "attributes": attributes,
        "support_status": {"status": "SUPPORTED", "version": null, "message": null, "previous_status": null},
    })))
}

/// A template with one resource of the type, its properties as parameters, its attributes as outputs.
pub async fn resource_type_template(
    State(app): State<Arc<App>>,
    caller: RequestContext,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let Some(kind) = resources::find(&app.types, &name) else {
        let message = format!("The Resource Type ({name}) could not be found.");
        return Err(ApiError::not_found("EntityNotFound", message));
    };
    let resource = name.rsplit("::").next().unwrap_or_default();
    let mut parameters = Map::new();
    let mut properties = Map::new();
    for property in kind.properties() {
        let parameter = json!({
            "type": property.kind.parameter_type(),
            "description": property.description,
        });
        parameters.insert(property.name.to_owned(), parameter);
        properties.insert(
            property.name.to_owned(),
            json!({"get_param": property.name}),
        );
    }
    let outputs: Map<String, Value> = kind
        .attribute_names()
        .iter()
        .map(|attribute| {
            let value = json!({"value": {"get_attr": [resource, attribute]}});
            ((*attribute).to_owned(), value)
        })
        .collect();
    Ok(Json(json!({
        "heat_template_version": "2016-10-14",
        "description": format!("Initial template of {resource}"),
        "parameters": parameters,
        "resources": {resource: {"type": name, "properties": properties}},
        "outputs": outputs,
    })))
}

pub async fn template_versions(
    caller: RequestContext,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let list: Vec<Value> = hot::VERSION_NAMES
        .iter()
        .map(|(name, _)| json!({"version": format!("heat_template_version.{name}"), "type": "hot", "aliases": []}))
        .collect();
    Ok(Json(json!({ "template_versions": list })))
}

pub async fn functions(
    caller: RequestContext,
    Path((tenant, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    check_tenant(&caller, &tenant)?;
    let name = version.trim_start_matches("heat_template_version.");
    let Some(version) = hot::Version::named(name) else {
        return Err(ApiError::not_found(
            "NotFound",
            format!("Template version {name} could not be found."),
        ));
    };
    let list: Vec<Value> = hot::FUNCTION_NAMES
        .iter()
        .filter(|(_, function)| version.knows(*function))
        .map(|(name, _)| json!({"functions": name, "description": ""}))
        .collect();
    Ok(Json(json!({ "template_functions": list })))
}
