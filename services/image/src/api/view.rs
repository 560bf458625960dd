//! An image as the API prints it.

use crate::{app::has_data, store::entities::image};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

/// Attributes that are never properties of a user's own.
pub const BASE: [&str; 27] = [
    "id",
    "name",
    "owner",
    "status",
    "visibility",
    "protected",
    "os_hidden",
    "disk_format",
    "container_format",
    "min_disk",
    "min_ram",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "tags",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "locations",
    "direct_url",
    "is_public",
    "deleted",
    "stores",
];

/// `2026-11-23T19:00:00Z`
pub fn time(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn text(text: &str) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        text.into()
    }
}

fn number(number: i64) -> Value {
    if number < 0 {
        Value::Null
    } else {
        number.into()
    }
}

/// A user's own properties.
pub fn properties(row: &image::Model) -> Map<String, Value> {
    serde_json::from_str(&row.properties).unwrap_or_default()
}

/// Tags, sorted.
pub fn tags(row: &image::Model) -> Vec<String> {
    serde_json::from_str(&row.tags).unwrap_or_default()
}

/// The whole image, whose data are in `stores`.
pub fn image(row: &image::Model, stores: &[String]) -> Value {
    // Of data that are on their way, only the size is told.
    let whole = has_data(row);
    let digest = |digest: &str| text(if whole { digest } else { "" });
    let mut view = Value::Object(properties(row));
    let base = json!({
        "id": row.id,
        "name": text(&row.name),
        "status": row.status,
        "visibility": row.visibility,
        "protected": row.protected,
        "os_hidden": row.os_hidden,
        "checksum": digest(&row.checksum),
        "os_hash_algo": digest(if row.os_hash_value.is_empty() { "" } else { "sha512" }),
        "os_hash_value": digest(&row.os_hash_value),
        "size": number(row.size),
        "virtual_size": number(row.virtual_size),
        "owner": text(&row.owner),
        "disk_format": text(&row.disk_format),
        "container_format": text(&row.container_format),
        "min_disk": row.min_disk,
        "min_ram": row.min_ram,
        "tags": tags(row),
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "self": format!("/v2/images/{}", row.id),
        "file": format!("/v2/images/{}/file", row.id),
        "schema": "/v2/schemas/image",
    });
    if let (Some(view), Value::Object(base)) = (view.as_object_mut(), base) {
        view.extend(base);
        if !stores.is_empty() {
            view.insert("stores".to_owned(), stores.join(",").into());
        }
    }
    view
}
