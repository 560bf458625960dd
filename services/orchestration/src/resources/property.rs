//! What a resource type's properties are, and checking values against it.
use serde_json::{Map, Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    String,
    Number,
    Integer,
    Boolean,
    List,
    Map,
    /// Whatever the template gives.
    Any,
}

impl Kind {
    /// As the API shows it.
    pub fn api_name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Number => "number",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::List => "list",
            Kind::Map => "map",
            Kind::Any => "any",
        }
    }
}

impl Kind {
    /// The type of a parameter that gives such a property.
    pub fn parameter_type(self) -> &'static str {
        match self {
            Kind::String | Kind::Any => "string",
            Kind::Number | Kind::Integer => "number",
            Kind::Boolean => "boolean",
            Kind::List => "comma_delimited_list",
            Kind::Map => "json",
        }
    }
}

/// What a changed value means for a resource that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    InPlace,
    Replace,
}

/// One property of a resource type.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub update: Update,
    pub description: &'static str,
}

impl Property {
    /// Optional; a change replaces the resource.
    pub const fn new(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Property {
            name,
            kind,
            required: false,
            update: Update::Replace,
            description,
        }
    }

    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// A change is made to the resource that exists.
    pub const fn in_place(mut self) -> Self {
        self.update = Update::InPlace;
        self
    }

    pub fn schema(&self) -> Value {
        json!({
            "type": self.kind.api_name(),
            "required": self.required,
            "update_allowed": self.update == Update::InPlace,
            "immutable": false,
            "description": self.description,
        })
    }

    fn coerce(&self, value: &Value) -> Result<Value, String> {
        let wrong = || {
            Err(format!(
                "Property error: {}: \"{value}\" is not a {}",
                self.name,
                self.kind.api_name()
            ))
        };
        Ok(match (self.kind, value) {
            (Kind::Any, _) => value.clone(),
            (Kind::String, Value::String(_)) => value.clone(),
            (Kind::String, Value::Number(n)) => Value::String(n.to_string()),
            (Kind::String, Value::Bool(b)) => Value::String(b.to_string()),
            (Kind::Boolean, Value::Bool(_)) => value.clone(),
            (Kind::Boolean, Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Value::Bool(true),
                "false" | "0" | "no" | "off" => Value::Bool(false),
                _ => return wrong(),
            },
            (Kind::Integer, Value::Number(n)) if n.is_i64() || n.is_u64() => value.clone(),
            (Kind::Integer, Value::String(text)) => match text.parse::<i64>() {
                Ok(number) => Value::from(number),
                Err(_) => return wrong(),
            },
            (Kind::Number, Value::Number(_)) => value.clone(),
            (Kind::Number, Value::String(text)) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => json!(number),
                _ => return wrong(),
            },
            (Kind::List, Value::Array(_)) => value.clone(),
            (Kind::List, Value::String(text)) => Value::Array(
                text.split(',')
                    .filter(|s| !s.is_empty())
                    .map(|s| json!(s.trim()))
                    .collect(),
            ),
            (Kind::Map, Value::Object(_)) => value.clone(),
            (Kind::Map, Value::String(text)) => match serde_json::from_str(text) {
                Ok(map @ Value::Object(_)) => map,
                _ => return wrong(),
            },
            _ => return wrong(),
        })
    }
}

/// The properties as their types, nulls left out; or everything that is wrong with them.
pub fn check(
    known: &[Property],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<String>> {
    let mut faults = Vec::new();
    let mut out = Map::new();
    for name in given
        .keys()
        .filter(|name| !known.iter().any(|property| property.name == name.as_str()))
    {
        faults.push(format!("Unknown Property {name}"));
    }
    for property in known {
        match given.get(property.name) {
            None | Some(Value::Null) if property.required => {
                faults.push(format!("Property {} not assigned", property.name));
            }
            None | Some(Value::Null) => {}
            Some(value) => match property.coerce(value) {
                Ok(value) => {
                    out.insert(property.name.to_owned(), value);
                }
                Err(fault) => faults.push(fault),
            },
        }
    }
    if faults.is_empty() {
        Ok(out)
    } else {
        Err(faults)
    }
}

/// What changed properties ask of a resource that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Nothing,
    Update,
    Replace,
}

/// Compares what was applied with what is wanted.
pub fn change(known: &[Property], old: &Map<String, Value>, new: &Map<String, Value>) -> Change {
    known
        .iter()
        .filter(|property| old.get(property.name) != new.get(property.name))
        .fold(Change::Nothing, |change, property| {
            match (change, property.update) {
                (Change::Replace, _) | (_, Update::Replace) => Change::Replace,
                _ => Change::Update,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Property] = &[
        Property::new("name", Kind::String, "").in_place(),
        Property::new("size", Kind::Integer, "").required(),
    ];

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn every_fault_is_told() {
        let faults = check(KNOWN, &map(json!({"nam": 1, "name": []}))).unwrap_err();
        assert_eq!(
            faults,
            [
                "Unknown Property nam",
                "Property error: name: \"[]\" is not a string",
                "Property size not assigned"
            ]
        );
        assert_eq!(
            check(KNOWN, &map(json!({"size": "4", "name": null}))),
            Ok(map(json!({"size": 4})))
        );
    }

    #[test]
    fn one_change_that_replaces_decides() {
        let old = map(json!({"name": "a", "size": 1}));
        assert_eq!(change(KNOWN, &old, &old), Change::Nothing);
        assert_eq!(
            change(KNOWN, &old, &map(json!({"name": "b", "size": 1}))),
            Change::Update
        );
        assert_eq!(
            change(KNOWN, &old, &map(json!({"name": "b", "size": 2}))),
            Change::Replace
        );
    }
}
