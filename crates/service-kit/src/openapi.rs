//! A route table as an OpenAPI 3.1 document: what a service can be asked, and what its faults look like.
//!
//! It tells what the table knows. What an answer holds is not in the table, so it is not told; a body is described where its row
//! has a schema.

use crate::{
    fault::FaultStyle,
    table::{Row, Table},
};
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where every service offers it, to callers with a token.
pub const PATH: &str = "/openapi.json";

/// The document of a table.
pub fn document(table: &Table) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut ids = BTreeMap::new();
    for row in &table.rows {
        let item = paths.entry(path(row)).or_insert_with(|| parameters(row));
        let count: &mut u32 = ids.entry(row.operation).or_default();
        *count += 1;
        if let Some(item) = item.as_object_mut() {
            let method = row.method.as_str().to_ascii_lowercase();
            item.insert(method, operation(row, *count));
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("{} of this cloud", table.service),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
            "schemas": {
                "Fault": fault(table.style),
                // Upstream, it comes from the same middleware in every service.
                "Unauthorized": fault(FaultStyle::Keystone),
            },
            "responses": {
                "Fault": answer(table.style, "Fault", "The request was refused, or failed."),
                "Unauthorized": answer(FaultStyle::Keystone, "Unauthorized", "There is no valid token."),
            },
        },
    });
    if let Some(versions) = table.microversions {
        document["info"]["x-microversions"] = json!({
            "header": format!("OpenStack-API-Version: {} VERSION", versions.service),
            "min": versions.min.to_string(),
            "max": versions.max.to_string(),
        });
    }
    document
}

/// `/files/{*name}` has no other sign in OpenAPI.
fn path(row: &Row) -> String {
    row.path.replace("{*", "{")
}

fn parameters(row: &Row) -> Value {
    let names = row
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names
        .map(|name| {
            json!({
                "name": name.trim_start_matches('*'),
                "in": "path",
                "required": true,
                "schema": {"type": "string", "minLength": 1},
            })
        })
        .collect();
    match parameters.is_empty() {
        true => json!({}),
        false => json!({"parameters": parameters}),
    }
}

fn operation(row: &Row, count: u32) -> Value {
    let id = match count {
        1 => row.operation.to_owned(),
        // Several rows may have one operation, but ids differ.
        _ => format!("{}-{count}", row.operation),
    };
    let mut operation = json!({
        "operationId": id,
        "responses": {
            "2XX": {"description": "Done, or accepted."},
            "401": {"$ref": "#/components/responses/Unauthorized"},
            "default": {"$ref": "#/components/responses/Fault"},
        },
    });
    match row.rule.name() {
        Some(rule) => operation["x-rule"] = rule.into(),
        None => operation["security"] = json!([]),
    }
    if row.is_internal() {
        operation["tags"] = json!(["internal"]);
        operation["description"] = "Only parts of this cloud call it.".into();
    }
    let writes = [Method::POST, Method::PUT, Method::PATCH].contains(&row.method);
    if let Some(schema) = &row.body {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema}},
        });
    } else if row.streaming && writes {
        operation["requestBody"] = json!({"content": {"application/octet-stream": {}}});
    }
    operation
}

fn answer(style: FaultStyle, schema: &str, description: &str) -> Value {
    let mut content = json!({
        "application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}},
    });
    if style == FaultStyle::Glance {
        // Unless JSON is asked for.
        content["text/html"] = json!({});
    }
    json!({"description": description, "content": content})
}

/// What [`FaultStyle::render`] prints.
fn fault(style: FaultStyle) -> Value {
    let (text, code) = (json!({"type": "string"}), json!({"type": "integer"}));
    let object = |properties: Value| {
        let required: Vec<&String> = properties
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .collect();
        json!({"type": "object", "required": required, "properties": properties})
    };
    match style {
        FaultStyle::Keystone => {
            object(json!({"error": object(json!({"code": code, "message": text, "title": text}))}))
        }
        // The one key depends on the status: `itemNotFound`.
        FaultStyle::Nova => json!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": object(json!({"code": code, "message": text})),
        }),
        FaultStyle::Neutron => object(json!({
            "NeutronError": object(json!({"type": text, "message": text, "detail": text})),
        })),
        FaultStyle::Glance => object(json!({"message": text, "code": text, "title": text})),
        FaultStyle::Placement => {
            let one = json!({"status": code, "title": text, "detail": text, "code": text, "request_id": text});
            object(json!({"errors": {"type": "array", "items": object(one)}}))
        }
        FaultStyle::Heat => {
            let error = json!({"type": text, "message": text, "traceback": {}});
            object(
                json!({"code": code, "title": text, "explanation": text, "error": object(error)}),
            )
        }
    }
}

/// A schema of a body that holds one object under a name, as most bodies of OpenStack do: `{"user": {...}}`.
pub fn wrapped(name: &str, inner: &Value) -> Value {
    let properties: Map<String, Value> = [(name.to_owned(), inner.clone())].into_iter().collect();
    json!({"type": "object", "required": [name], "properties": properties})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rule;

    #[test]
    fn a_table_is_described() {
        let row = |method, path, operation, rule| Row {
            method,
            path,
            operation,
            rule,
            body: None,
            streaming: false,
        };
        let table = Table {
            service: "image",
            style: FaultStyle::Glance,
            microversions: None,
            rows: vec![
                row(Method::GET, "/", "versions", Rule::Public),
                row(Method::GET, "/v2/images/{id}", "get_image", Rule::Reader),
                Row {
                    body: Some(wrapped("image", &json!({"type": "object"}))),
                    ..row(Method::PUT, "/v2/images/{id}", "set_image", Rule::Member)
                },
                Row {
                    streaming: true,
                    ..row(Method::PUT, "/v2/files/{*name}", "set_image", Rule::Member)
                },
                row(Method::POST, "/internal/copies", "copy", Rule::Service),
            ],
        };
        insta::assert_snapshot!(format!("{:#}", document(&table)));
    }
}
