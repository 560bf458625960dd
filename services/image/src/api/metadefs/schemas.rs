//! JSON schemas of the catalogue: clients read from them which attributes there are.

use super::fields;
use crate::api::Shared;
use axum::extract::State;
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path};

pub async fn show(
    State(_): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(match name.as_str() {
        "namespace" => namespace(),
        "namespaces" => list("namespaces", &namespace()),
        "object" => object(),
        "objects" => list("objects", &object()),
        "property" => property(),
        "properties" => json!({
            "name": "properties",
            "properties": {
                "properties": {"type": "object", "additionalProperties": property()},
                "first": {"type": "string"},
                "next": {"type": "string"},
                "schema": {"type": "string"},
            },
        }),
        "tag" => tag(),
        "tags" => list("tags", &tag()),
        "resource_type" => association(),
        "resource_types" => list("resource_type_associations", &association()),
        _ => {
            return Err(ApiError::not_found(
                "NotFound",
                format!("There is no schema metadefs/{name}."),
            ));
        }
    }))
}

fn list(name: &str, item: &Value) -> Value {
    json!({
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"}],
    })
}

fn dates(mut schema: Value) -> Value {
    for name in ["created_at", "updated_at"] {
        schema["properties"][name] =
            json!({"type": "string", "readOnly": true, "format": "date-time"});
    }
    schema
}

fn own_name() -> Value {
    json!({"type": "string", "maxLength": 80})
}

/// What the JSON schema of a property may say; `name` stands beside it, or is its key.
fn property_fields() -> Value {
    let mut fields = json!({
        "title": {"type": "string"},
        "description": {"type": "string"},
        "type": {"type": "string", "enum": fields::TYPES},
        "operators": {"type": "array", "items": {"type": "string"}},
        "required": {"type": "array", "items": {"type": "string"}},
        "pattern": {"type": "string", "format": "regex"},
        "enum": {"type": "array"},
        "readonly": {"type": "boolean"},
        "default": {},
        "items": {"type": "object", "properties": {
            "type": {"type": "string", "enum": fields::TYPES}, "enum": {"type": "array"}}},
        "uniqueItems": {"type": "boolean", "default": false},
        "additionalItems": {"type": "boolean"},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
    });
    for name in ["minLength", "maxLength", "minItems", "maxItems"] {
        fields[name] = json!({"type": "integer", "minimum": 0});
    }
    fields
}

fn property() -> Value {
    let mut fields = property_fields();
    fields["name"] = own_name();
    json!({"name": "property", "required": ["name", "title", "type"],
        "additionalProperties": false, "properties": fields})
}

fn properties() -> Value {
    json!({"type": "object", "additionalProperties":
        {"type": "object", "required": ["title", "type"], "properties": property_fields()}})
}

fn object() -> Value {
    dates(json!({
        "name": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": own_name(),
            "description": {"type": "string"},
            "required": {"type": "array", "items": {"type": "string"}},
            "properties": properties(),
            "self": {"type": "string", "readOnly": true},
            "schema": {"type": "string", "readOnly": true},
        },
    }))
}

fn tag() -> Value {
    dates(
        json!({"name": "tag", "required": ["name"], "additionalProperties": false,
        "properties": {"name": own_name()}}),
    )
}

fn association() -> Value {
    dates(json!({
        "name": "resource_type_association",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "maxLength": 80,
                "description": "A kind of resources: what orchestration calls it, where it knows it"},
            "prefix": {"type": "string", "maxLength": 80,
                "description": "What stands before the properties' names when they are used with this kind"},
            "properties_target": {"type": "string", "maxLength": 80,
                "description": "Which of a resource's properties are meant where it has several: image, or metadata"},
        },
    }))
}

fn namespace() -> Value {
    let mut schema = dates(json!({
        "name": "namespace",
        "required": ["namespace"],
        "additionalProperties": false,
        "properties": {
            "namespace": {"type": "string", "maxLength": 80, "description": "The unique name"},
            "display_name": {"type": "string", "maxLength": 80, "description": "The name for people"},
            "description": {"type": "string", "maxLength": 500},
            "visibility": {"type": "string", "enum": ["public", "private"]},
            "protected": {"type": "boolean", "description": "If true, nothing of it can be deleted"},
            "owner": {"type": "string", "maxLength": 255},
            "objects": {"type": "array", "items": object()},
            "tags": {"type": "array", "items": tag()},
            "properties": properties(),
            "resource_type_associations": {"type": "array", "items": association()},
            "self": {"type": "string", "readOnly": true},
            "schema": {"type": "string", "readOnly": true},
        },
    }));
    schema["properties"]["schema"]["format"] = "uri".into();
    schema
}
