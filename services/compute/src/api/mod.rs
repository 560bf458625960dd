//! HTTP: the route table, version documents, and what all handlers share. Each file decodes, calls `app/`, encodes.

pub mod actions;
pub mod aggregates;
pub mod flavors;
pub mod hosts;
pub mod internal;
pub mod key_pairs;
pub mod projects;
pub mod routes;
pub mod server_parts;
pub mod servers;
pub mod views;

use std::sync::Arc;

use http::HeaderMap;
use openstack_types::Microversion;
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Microversions};

use crate::app::App;

/// The state of every handler.
pub type State = axum::extract::State<Arc<App>>;

/// Versions that are spoken.
pub const MICROVERSIONS: Microversions = Microversions {
    service: "compute",
    legacy_header: Some("x-openstack-nova-api-version"),
    min: Microversion::new(2, 1),
    max: Microversion::new(2, 79),
};

pub(crate) fn bad(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("badRequest", message)
}

pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::not_found("itemNotFound", message)
}

pub(crate) fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::conflict("conflictingRequest", message)
}

/// `2026-11-23T19:00:00Z`.
pub(crate) fn time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// `2026-11-23T19:00:00.000000`, as the older parts of the API print times.
pub(crate) fn long_time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%S%.6f")
        .to_string()
}

/// A text of a body within its limits.
pub(crate) fn text(body: &Value, name: &str, max: usize) -> Result<Option<String>, ApiError> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= max => Ok(Some(text.clone())),
        Value::String(_) => Err(bad(format!(
            "Invalid input for field/attribute {name}. It is too long: at most {max} characters are allowed."
        ))),
        other => Err(bad(format!(
            "Invalid input for field/attribute {name}. Value: {other}. {other} is not of type 'string'"
        ))),
    }
}

/// A text that must be there and not be blank.
pub(crate) fn required_text(body: &Value, name: &str, max: usize) -> Result<String, ApiError> {
    match text(body, name, max)? {
        Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Some(_) => Err(bad(format!(
            "Invalid input for field/attribute {name}. It must not be empty."
        ))),
        None => Err(bad(format!(
            "Invalid input: '{name}' is a required property"
        ))),
    }
}

/// A whole number; clients send numbers as texts, too.
pub(crate) fn number(body: &Value, name: &str) -> Result<Option<i64>, ApiError> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::Number(number) if number.as_i64().is_some() => Ok(number.as_i64()),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => text.parse().map(Some).map_err(|_| {
            bad(format!(
                "Invalid input for field/attribute {name}. Value: {text}. It is not a number."
            ))
        }),
        other => Err(bad(format!(
            "Invalid input for field/attribute {name}. Value: {other}. It is not an integer."
        ))),
    }
}

/// A flag; clients send flags as texts, too.
pub(crate) fn flag(body: &Value, name: &str) -> Result<Option<bool>, ApiError> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" | "t" | "y" => Ok(Some(true)),
            "false" | "0" | "off" | "no" | "f" | "n" | "" => Ok(Some(false)),
            _ => Err(bad(format!(
                "Invalid input for field/attribute {name}. Value: {text}. It is not a boolean."
            ))),
        },
        other => Err(bad(format!(
            "Invalid input for field/attribute {name}. Value: {other}. It is not a boolean."
        ))),
    }
}

fn version_entry(base: &str, id: &str, status: &str, micro: bool) -> Value {
    let url = format!("{base}/{}/", if id == "v2.0" { "v2" } else { "v2.1" });
    let (max, min) = if micro {
        (MICROVERSIONS.max.to_string(), MICROVERSIONS.min.to_string())
    } else {
        (String::new(), String::new())
    };
    json!({
        "id": id, "status": status, "version": max, "min_version": min, "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": url}],
    })
}

/// `GET /`.
pub async fn versions(app: State, headers: HeaderMap) -> Json<Value> {
    let base = service_kit::request::base_url(&headers, &app.public_url);
    Json(json!({"versions": [version_entry(&base, "v2.1", "CURRENT", true)]}))
}

/// `GET /v2.1`.
pub async fn version(app: State, headers: HeaderMap) -> Json<Value> {
    let base = service_kit::request::base_url(&headers, &app.public_url);
    let mut entry = version_entry(&base, "v2.1", "CURRENT", true);
    if let Some(links) = entry["links"].as_array_mut() {
        links.push(json!({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}));
    }
    entry["media-types"] = json!([{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]);
    Json(json!({"version": entry}))
}

/// Extensions of the API as old clients ask for them.
const EXTENSIONS: [(&str, &str); 12] = [
    ("os-aggregates", "Aggregates"),
    ("os-availability-zone", "AvailabilityZone"),
    ("os-flavor-access", "FlavorAccess"),
    ("os-flavor-extra-specs", "FlavorExtraSpecs"),
    ("os-flavor-manage", "FlavorManage"),
    ("os-hypervisors", "Hypervisors"),
    ("os-instance-actions", "InstanceActions"),
    ("os-keypairs", "Keypairs"),
    ("os-quota-sets", "Quotas"),
    ("os-server-groups", "ServerGroups"),
    ("os-services", "Services"),
    ("os-simple-tenant-usage", "SimpleTenantUsage"),
];

fn extension(alias: &str, name: &str) -> Value {
    json!({"alias": alias, "name": name, "description": name, "links": [], "namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z"})
}

/// `GET /v2.1/extensions`.
pub async fn extensions() -> Json<Value> {
    Json(
        json!({"extensions": EXTENSIONS.iter().map(|(alias, name)| extension(alias, name)).collect::<Vec<_>>()}),
    )
}

/// `GET /v2.1/extensions/{alias}`.
pub async fn show_extension(
    service_kit::Path(alias): service_kit::Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = EXTENSIONS.iter().find(|(known, _)| *known == alias);
    found
        .map(|(alias, name)| Json(json!({"extension": extension(alias, name)})))
        .ok_or_else(|| not_found("The resource could not be found."))
}
