//! Setting attributes, at creation and by JSON patch (RFC 6902, as far as images need it).
//!
//! Knows no database: it changes a row in memory.

use super::view;
use crate::{app::wrong, store::entities::image};
use http::StatusCode;
use serde_json::{Value, json};
use service_kit::{ApiError, RequestContext};
use std::collections::BTreeSet;

const DISK_FORMATS: [&str; 11] = [
    "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
];
const CONTAINER_FORMATS: [&str; 8] = [
    "ami",
    "ari",
    "aki",
    "bare",
    "ovf",
    "ova",
    "docker",
    "compressed",
];
const VISIBILITIES: [&str; 4] = ["community", "public", "private", "shared"];
const READ_ONLY: [&str; 17] = [
    "id",
    "status",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "direct_url",
    "locations",
    "is_public",
    "deleted",
    "stores",
];
/// Properties whose names begin so are the service's own.
const RESERVED: &str = "os_glance";
/// Own properties of one image, and tags.
const MOST: usize = 128;
/// Bytes of all properties, or all tags, of one image as they are stored: MariaDB has no longer texts.
const LONGEST: usize = 65_000;

fn one_of(name: &str, value: &Value, allowed: &[&str]) -> Result<String, ApiError> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) if allowed.contains(&text.as_str()) => Ok(text.clone()),
        _ => Err(wrong(format!(
            "Invalid value {value} for {name}: expected one of {}.",
            allowed.join(", ")
        ))),
    }
}

fn text(name: &str, value: &Value) -> Result<String, ApiError> {
    match value {
        Value::Null => Ok(String::new()),
        // PostgreSQL has no room for NUL in a text.
        Value::String(text) if text.chars().count() <= 255 && !text.contains('\0') => {
            Ok(text.clone())
        }
        _ => Err(wrong(format!(
            "Invalid value for {name}: expected at most 255 characters, and no NUL."
        ))),
    }
}

fn flag(name: &str, value: &Value) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| {
        wrong(format!(
            "Invalid value {value} for {name}: expected true or false."
        ))
    })
}

fn count(name: &str, value: &Value) -> Result<i32, ApiError> {
    let number = value
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
        .filter(|number| *number >= 0);
    number.ok_or_else(|| {
        wrong(format!(
            "Invalid value {value} for {name}: expected a number ≥ 0."
        ))
    })
}

/// A tag list without repetitions.
pub fn tag_list(value: &Value) -> Result<String, ApiError> {
    let tags: Option<BTreeSet<&str>> = value.as_array().and_then(|list| {
        list.iter()
            .map(|tag| tag.as_str().filter(|t| t.len() <= 255))
            .collect()
    });
    let stored = tags
        .filter(|tags| tags.len() <= MOST)
        .map(|tags| json!(tags).to_string());
    match stored {
        Some(stored) if stored.len() <= LONGEST => Ok(stored),
        _ => Err(wrong(format!(
            "Invalid tags: expected at most {MOST} strings of at most 255 bytes."
        ))),
    }
}

/// Sets one attribute.
pub fn set(
    context: &RequestContext,
    row: &mut image::Model,
    name: &str,
    value: &Value,
) -> Result<(), ApiError> {
    match name {
        "name" => row.name = text(name, value)?,
        "visibility" => {
            let wanted = one_of(name, value, &VISIBILITIES)?;
            if wanted == "public" && row.visibility != "public" && !context.is_admin {
                return Err(ApiError::policy("publicize_image"));
            }
            row.visibility = wanted;
        }
        "protected" => row.protected = flag(name, value)?,
        "os_hidden" => row.os_hidden = flag(name, value)?,
        "min_disk" => row.min_disk = count(name, value)?,
        "min_ram" => row.min_ram = count(name, value)?,
        "tags" => row.tags = tag_list(value)?,
        "disk_format" | "container_format" => {
            if row.status != "queued" {
                return Err(ApiError::forbidden(
                    "Forbidden",
                    format!("Attribute '{name}' can be replaced only for a queued image."),
                ));
            }
            if name == "disk_format" {
                row.disk_format = one_of(name, value, &DISK_FORMATS)?;
            } else {
                row.container_format = one_of(name, value, &CONTAINER_FORMATS)?;
            }
        }
        "owner" => {
            let owner = text(name, value)?;
            if owner.len() > 64 {
                return Err(wrong(
                    "Invalid value for owner: expected at most 64 characters.",
                ));
            }
            if owner != row.owner && !context.is_admin {
                return Err(ApiError::forbidden(
                    "Forbidden",
                    "You are not permitted to change the image's owner.",
                ));
            }
            row.owner = owner;
        }
        _ if READ_ONLY.contains(&name) => {
            return Err(ApiError::forbidden(
                "Forbidden",
                format!("Attribute '{name}' is read-only."),
            ));
        }
        _ if name.starts_with(RESERVED) => {
            return Err(ApiError::forbidden(
                "Forbidden",
                format!("Attribute '{name}' is reserved."),
            ));
        }
        _ => {
            let Value::String(value) = value else {
                return Err(wrong(format!(
                    "Invalid value for property {name}: expected a string."
                )));
            };
            let mut properties = view::properties(row);
            properties.insert(name.to_owned(), value.clone().into());
            let many = properties.len() > MOST || name.len() > 255;
            let stored = Value::Object(properties).to_string();
            if many || stored.len() > LONGEST {
                return Err(ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestTooLarge",
                    format!("At most {MOST} properties of together {LONGEST} bytes are kept."),
                ));
            }
            row.properties = stored;
        }
    }
    Ok(())
}

/// What media type v2.0 means, in the words of v2.1: an early draft of RFC 6902, where the operation's name is the key of its
/// path, `[{"replace": "/name", "value": "x"}, ...]`.
pub fn of_draft(changes: &Value) -> Result<Value, ApiError> {
    let list = changes.as_array().ok_or_else(no_list)?;
    list.iter()
        .map(|change| {
            let mut named = ["add", "replace", "remove"]
                .into_iter()
                .filter_map(|op| Some((op, change.get(op)?)));
            let (Some((op, path)), None) = (named.next(), named.next()) else {
                return Err(wrong(
                    "Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".",
                ));
            };
            let mut plain = json!({ "op": op, "path": path });
            if let Some(value) = change.get("value") {
                plain["value"] = value.clone();
            }
            Ok(plain)
        })
        .collect()
}

fn no_list() -> ApiError {
    wrong("Request body must be a JSON array of operation objects.")
}

/// Applies `[{"op", "path", "value"}, ...]`.
pub fn apply(
    context: &RequestContext,
    row: &mut image::Model,
    changes: &Value,
) -> Result<(), ApiError> {
    let changes = changes.as_array().ok_or_else(no_list)?;
    for change in changes {
        let word = |name: &str| change.get(name).and_then(Value::as_str);
        let (Some(op), Some(path)) = (word("op"), word("path")) else {
            return Err(wrong("Each operation needs `op` and `path`."));
        };
        let name = path
            .strip_prefix('/')
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .ok_or_else(|| wrong(format!("Invalid path `{path}`: expected /NAME.")))?
            .replace("~1", "/")
            .replace("~0", "~");
        let known = view::BASE.contains(&name.as_str());
        match op {
            "add" | "replace" => {
                let value = change
                    .get("value")
                    .ok_or_else(|| wrong(format!("Operation {op} needs a value.")))?;
                if op == "replace" && !known && !view::properties(row).contains_key(&name) {
                    return Err(ApiError::conflict(
                        "Conflict",
                        format!("Property {name} does not exist."),
                    ));
                }
                set(context, row, &name, value)?;
            }
            "remove" if known => {
                return Err(ApiError::forbidden(
                    "Forbidden",
                    format!("Property {name} may not be removed."),
                ));
            }
            "remove" if name.starts_with(RESERVED) => {
                return Err(ApiError::forbidden(
                    "Forbidden",
                    format!("Attribute '{name}' is reserved."),
                ));
            }
            "remove" => {
                let mut properties = view::properties(row);
                if properties.remove(&name).is_none() {
                    return Err(ApiError::conflict(
                        "Conflict",
                        format!("Property {name} does not exist."),
                    ));
                }
                row.properties = Value::Object(properties).to_string();
            }
            _ => {
                return Err(wrong(format!(
                    "Operation `{op}` is none of add, replace, remove."
                )));
            }
        }
    }
    Ok(())
}
