//! Version documents, schemas and what clients ask before they begin.
//!
//! glanceclient reads `/v2/schemas/image` to know which attributes exist.

use super::Shared;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, request::base_url};

fn document(app: &Shared, headers: &HeaderMap) -> Value {
    let url = format!("{}/v2/", base_url(headers, &app.public_url));
    // Those in between are about the cache, which is not offered.
    let supported = [
        "v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3",
        "v2.2", "v2.1", "v2.0",
    ];
    let mut versions =
        vec![json!({"id": "v2.15", "status": "CURRENT", "links": [{"rel": "self", "href": url}]})];
    versions.extend(supported.map(
        |id| json!({"id": id, "status": "SUPPORTED", "links": [{"rel": "self", "href": url}]}),
    ));
    json!({ "versions": versions })
}

pub async fn versions(State(app): State<Shared>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    (StatusCode::MULTIPLE_CHOICES, Json(document(&app, &headers)))
}

pub async fn versions_ok(State(app): State<Shared>, headers: HeaderMap) -> Json<Value> {
    Json(document(&app, &headers))
}

pub async fn show(Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let schema = match name.as_str() {
        "image" => image(),
        "images" => json!({
            "name": "images",
            "properties": {
                "images": {"type": "array", "items": image()},
                "first": {"type": "string"},
                "next": {"type": "string"},
                "schema": {"type": "string"},
            },
            "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"},
                {"rel": "describedby", "href": "{schema}"}],
        }),
        "task" => task(true),
        "tasks" => json!({
            "name": "tasks",
            "properties": {
                "tasks": {"type": "array", "items": task(false)},
                "first": {"type": "string"},
                "next": {"type": "string"},
                "schema": {"type": "string"},
            },
            "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"},
                {"rel": "describedby", "href": "{schema}"}],
        }),
        "member" => member(),
        "members" => json!({
            "name": "members",
            "properties": {"members": {"type": "array", "items": member()}, "schema": {"type": "string"}},
            "links": [{"rel": "describedby", "href": "{schema}"}],
        }),
        _ => {
            return Err(ApiError::not_found(
                "NotFound",
                format!("There is no schema {name}."),
            ));
        }
    };
    Ok(Json(schema))
}

/// A task, in lists without what it was told and what it tells.
fn task(whole: bool) -> Value {
    let mut schema = json!({
        "name": "task",
        "properties": {
            "id": {"type": "string", "description": "An identifier for the task"},
            "type": {"type": "string", "enum": ["import", "api_image_import"]},
            "status": {"type": "string", "enum": ["pending", "processing", "success", "failure"]},
            "owner": {"type": "string", "description": "The project that the task belongs to"},
            "created_at": {"type": "string"},
            "updated_at": {"type": "string"},
            "expires_at": {"type": "string", "description": "When the task will be forgotten"},
            "self": {"type": "string", "readOnly": true},
            "schema": {"type": "string", "readOnly": true},
        },
    });
    if whole {
        for (name, kind) in [
            ("input", "object"),
            ("result", "object"),
            ("message", "string"),
            ("image_id", "string"),
            ("request_id", "string"),
            ("user_id", "string"),
        ] {
            schema["properties"][name] = json!({ "type": kind });
        }
    }
    schema
}

fn member() -> Value {
    json!({
        "name": "member",
        "properties": {
            "member_id": {"type": "string", "description": "An identifier for the image member (tenantId)"},
            "image_id": {"type": "string", "description": "An identifier for the image"},
            "created_at": {"type": "string"},
            "updated_at": {"type": "string"},
            "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
            "schema": {"type": "string", "readOnly": true},
        },
    })
}

fn image() -> Value {
    let mut properties = Map::new();
    let mut add = |name: &str, kind: Value, read_only: bool, description: &str| {
        let mut property = json!({"type": kind, "description": description});
        if read_only {
            property["readOnly"] = true.into();
        }
        properties.insert(name.to_owned(), property);
    };
    let (text, or_null, number) = (json!("string"), json!(["null", "string"]), json!("integer"));
    add("id", text.clone(), false, "An identifier for the image");
    add(
        "name",
        or_null.clone(),
        false,
        "Descriptive name for the image",
    );
    add("status", text.clone(), true, "Status of the image");
    add(
        "visibility",
        text.clone(),
        false,
        "Scope of image accessibility",
    );
    add(
        "protected",
        json!("boolean"),
        false,
        "If true, image will not be deletable.",
    );
    add(
        "os_hidden",
        json!("boolean"),
        false,
        "If true, image will not appear in default image list response.",
    );
    add(
        "checksum",
        or_null.clone(),
        true,
        "md5 hash of image contents.",
    );
    add(
        "os_hash_algo",
        or_null.clone(),
        true,
        "Algorithm to calculate the os_hash_value",
    );
    add(
        "os_hash_value",
        or_null.clone(),
        true,
        "Hexdigest of the image contents using the algorithm specified by the os_hash_algo",
    );
    add("owner", or_null.clone(), false, "Owner of the image");
    add(
        "size",
        json!(["null", "integer"]),
        true,
        "Size of image file in bytes",
    );
    add(
        "virtual_size",
        json!(["null", "integer"]),
        true,
        "Virtual size of image in bytes",
    );
    add(
        "container_format",
        or_null.clone(),
        false,
        "Format of the container",
    );
    add("disk_format", or_null, false, "Format of the disk");
    add(
        "min_ram",
        number.clone(),
        false,
        "Amount of ram (in MB) required to boot image.",
    );
    add(
        "min_disk",
        number,
        false,
        "Amount of disk space (in GB) required to boot image.",
    );
    add(
        "created_at",
        text.clone(),
        true,
        "Date and time of image registration",
    );
    add(
        "updated_at",
        text.clone(),
        true,
        "Date and time of the last image modification",
    );
    add(
        "tags",
        json!("array"),
        false,
        "List of strings related to the image",
    );
    add("self", text.clone(), true, "An image self url");
    add("file", text.clone(), true, "An image file url");
    add("schema", text, true, "An image schema url");
    properties["tags"]["items"] = json!({"type": "string", "maxLength": 255});
    properties["visibility"]["enum"] = json!(["community", "public", "private", "shared"]);
    json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"}],
    })
}
