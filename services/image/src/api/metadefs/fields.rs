//! Reading bodies: which names there may be, and what their values must be. Pure.

use crate::{
    app::wrong,
    store::metadefs::{Kind, item, new_item},
};
use serde_json::{Map, Value, json};
use service_kit::ApiError;

/// Longest name of anything.
const NAME: usize = 80;
/// Longest JSON schema of a property, and of an object.
const LONGEST: usize = 60_000;

/// What the types of a property may be called.
pub const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// What the JSON schema of a property may say.
pub const PROPERTY: [&str; 19] = [
    "title",
    "description",
    "type",
    "operators",
    "required",
    "minimum",
    "maximum",
    "maxLength",
    "minLength",
    "pattern",
    "enum",
    "readonly",
    "default",
    "items",
    "maxItems",
    "minItems",
    "uniqueItems",
    "additionalItems",
    "name",
];
/// What clients send back as they got it.
const ECHOES: [&str; 4] = ["created_at", "updated_at", "self", "schema"];

/// An object with no other names than these.
pub fn object<'a>(value: &'a Value, names: &[&str]) -> Result<&'a Map<String, Value>, ApiError> {
    let object = value
        .as_object()
        .ok_or_else(|| wrong("Expected a JSON object."))?;
    let known = |name: &str| names.contains(&name) || ECHOES.contains(&name);
    match object.keys().find(|name| !known(name)) {
        None => Ok(object),
        Some(name) => Err(wrong(format!(
            "Additional properties are not allowed ('{name}' was unexpected); allowed are {}.",
            names.join(", ")
        ))),
    }
}

/// A text of at most so many letters; none when it is not there.
pub fn text<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    most: usize,
) -> Result<Option<&'a str>, ApiError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        // PostgreSQL has no room for NUL in a text.
        Some(Value::String(text)) if text.chars().count() <= most && !text.contains('\0') => {
            Ok(Some(text))
        }
        Some(_) => Err(wrong(format!(
            "Invalid value for {name}: expected a text of at most {most} characters."
        ))),
    }
}

/// A name, which must be there.
pub fn name<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, ApiError> {
    let text = text(object, key, NAME)?.filter(|text| !text.is_empty());
    text.ok_or_else(|| {
        wrong(format!(
            "Expected `{key}`, a text of 1 to {NAME} characters."
        ))
    })
}

/// True or false.
pub fn flag(object: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(wrong(format!("Expected true or false for `{name}`."))),
    }
}

fn stored(object: &Map<String, Value>, what: &str) -> Result<String, ApiError> {
    let text = Value::Object(object.clone()).to_string();
    if text.len() > LONGEST || text.contains("\\u0000") {
        return Err(wrong(format!(
            "{what} is longer than {LONGEST} bytes, or has a NUL in it."
        )));
    }
    Ok(text)
}

fn without(object: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let mut rest = object.clone();
    rest.retain(|name, _| !names.contains(&name.as_str()) && !ECHOES.contains(&name.as_str()));
    rest
}

/// Checks the JSON schema of a property.
fn check_property(value: &Value) -> Result<Map<String, Value>, ApiError> {
    let object = object(value, &PROPERTY)?;
    let word = |name: &str| object.get(name).and_then(Value::as_str);
    if !word("type").is_some_and(|kind| TYPES.contains(&kind)) {
        return Err(wrong(format!(
            "A property's `type` is one of {}.",
            TYPES.join(", ")
        )));
    }
    text(object, "title", 255)?.ok_or_else(|| wrong("A property needs a `title`."))?;
    text(object, "description", 4000)?;
    flag(object, "readonly")?;
    for name in ["enum", "operators", "required"] {
        if object.get(name).is_some_and(|list| !list.is_array()) {
            return Err(wrong(format!("Expected a list for `{name}`.")));
        }
    }
    for name in ["minLength", "maxLength", "minItems", "maxItems"] {
        if object.get(name).is_some_and(|number| !number.is_u64()) {
            return Err(wrong(format!("Expected a number ≥ 0 for `{name}`.")));
        }
    }
    for name in ["minimum", "maximum"] {
        if object.get(name).is_some_and(|number| !number.is_number()) {
            return Err(wrong(format!("Expected a number for `{name}`.")));
        }
    }
    Ok(without(object, &["name"]))
}

/// A property by its own body, `called` where the name stands outside of it.
pub fn property(
    namespace: &str,
    value: &Value,
    called: Option<&str>,
) -> Result<item::Model, ApiError> {
    let body = check_property(value)?;
    let named = json!({"name": called});
    let outer = if called.is_some() { &named } else { value };
    let name = name(object(outer, &PROPERTY)?, "name")?;
    let body = stored(&body, "The property")?;
    Ok(new_item(namespace, Kind::Property, name, body))
}

/// An object: a name, and properties that belong together.
pub fn object_item(namespace: &str, value: &Value) -> Result<item::Model, ApiError> {
    let given = object(value, &["name", "description", "required", "properties"])?;
    let name = name(given, "name")?;
    text(given, "description", 4000)?;
    let texts = |list: &Value| {
        list.as_array()
            .is_some_and(|all| all.iter().all(Value::is_string))
    };
    if given.get("required").is_some_and(|list| !texts(list)) {
        return Err(wrong("Expected a list of names for `required`."));
    }
    match given.get("properties") {
        None => {}
        Some(Value::Object(properties)) => {
            for property in properties.values() {
                check_property(property)?;
            }
        }
        Some(_) => return Err(wrong("Expected an object for `properties`.")),
    }
    let body = stored(&without(given, &["name"]), "The object")?;
    Ok(new_item(namespace, Kind::Object, name, body))
}

/// A tag: a name.
pub fn tag(namespace: &str, value: &Value) -> Result<item::Model, ApiError> {
    let name = name(object(value, &["name"])?, "name")?;
    Ok(new_item(namespace, Kind::Tag, name, "{}".to_owned()))
}

/// Which kind of resources a namespace is for.
pub fn association(namespace: &str, value: &Value) -> Result<item::Model, ApiError> {
    let given = object(value, &["name", "prefix", "properties_target"])?;
    let name = name(given, "name")?;
    text(given, "prefix", 80)?;
    text(given, "properties_target", 80)?;
    let body = stored(&without(given, &["name"]), "The association")?;
    Ok(new_item(namespace, Kind::Association, name, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_definition_is_refused() {
        for bad in [
            json!(5),
            json!({}),
            json!({"name": "a"}),
            json!({"name": "a", "type": "string"}),
            json!({"name": "a", "type": "text", "title": "A"}),
            json!({"name": "", "type": "string", "title": "A"}),
            json!({"name": "a\0", "type": "string", "title": "A"}),
            json!({"name": "a", "type": "string", "title": "A", "colour": "red"}),
            json!({"name": "a", "type": "string", "title": "A", "minLength": -1}),
            json!({"name": "a", "type": "string", "title": "A", "enum": "b"}),
            json!({"name": "a", "type": "string", "title": "A", "default": "x".repeat(100_000)}),
            json!({"name": "a", "type": "string", "title": "A", "default": "\0"}),
            json!({"name": "a".repeat(81), "type": "string", "title": "A"}),
        ] {
            assert!(property("n", &bad, None).is_err(), "{bad}");
        }
        let good =
            json!({"name": "a", "type": "string", "title": "A", "enum": ["b"], "self": "/x"});
        let row = property("n", &good, None).unwrap();
        assert_eq!(
            (row.name.as_str(), row.body.as_str()),
            ("a", r#"{"type":"string","title":"A","enum":["b"]}"#)
        );
        assert!(object_item("n", &json!({"name": "o", "properties": {"p": {}}})).is_err());
        assert!(object_item("n", &json!({"name": "o", "required": [1]})).is_err());
        assert!(tag("n", &json!({"name": "t", "x": 1})).is_err());
        assert!(association("n", &json!({"name": "t", "prefix": 1})).is_err());
    }
}
