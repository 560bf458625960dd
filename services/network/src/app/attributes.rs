//! The attributes of a request's body, with typed access. Knows types and lengths, not what attributes mean.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use service_kit::ApiError;

use super::faults;

/// One resource as the client sent it.
#[derive(Debug, Clone)]
pub struct Attributes(Map<String, Value>);

impl Attributes {
    /// The object under `resource` of a body, with no other attributes than the `known` ones.
    pub fn from_body(body: Value, resource: &str, known: &[&str]) -> Result<Attributes, ApiError> {
        let Value::Object(mut body) = body else {
            return Err(bad("Unable to find a JSON object in the request body"));
        };
        match body.remove(resource) {
            Some(Value::Object(map)) => Attributes(map).known(known),
            _ => Err(bad(&format!("Unable to find '{resource}' in request body"))),
        }
    }

    /// One or, as upstream allows, several to be created together.
    pub fn several(
        body: Value,
        resource: &str,
        plural: &str,
        known: &[&str],
    ) -> Result<(Vec<Attributes>, bool), ApiError> {
        if let Some(Value::Array(items)) = body.get(plural) {
            let each = items.iter().map(|item| match item {
                Value::Object(map) => Attributes(map.clone()).known(known),
                _ => Err(bad(&format!("Unable to find '{resource}' in request body"))),
            });
            return Ok((each.collect::<Result<_, _>>()?, true));
        }
        Ok((vec![Attributes::from_body(body, resource, known)?], false))
    }

    /// A body that is the attributes themselves, as actions have.
    pub fn bare(body: Value, known: &[&str]) -> Result<Attributes, ApiError> {
        match body {
            Value::Object(map) => Attributes(map).known(known),
            _ => Err(bad("Unable to find a JSON object in the request body")),
        }
    }

    fn known(self, known: &[&str]) -> Result<Attributes, ApiError> {
        let strange: Vec<&str> = self
            .0
            .keys()
            .map(String::as_str)
            .filter(|name| !known.contains(name))
            .collect();
        if strange.is_empty() {
            Ok(self)
        } else {
            Err(bad(&format!(
                "Unrecognized attribute(s) '{}'",
                strange.join(", ")
            )))
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn raw(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A text of at most 255 characters; absent and null alike are `None`.
    pub fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        Ok(self.nullable_text(name)?.flatten())
    }

    /// Outer `None`: not sent. Inner `None`: null.
    pub fn nullable_text(&self, name: &str) -> Result<Option<Option<String>>, ApiError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) if text.chars().count() <= 255 => {
                Ok(Some(Some(text.clone())))
            }
            Some(Value::String(text)) => Err(faults::invalid(
                name,
                format!("'{text}' exceeds maximum length of 255."),
            )),
            Some(other) => Err(faults::invalid(
                name,
                format!("'{other}' is not a valid string."),
            )),
        }
    }

    /// A text that must be there.
    pub fn required(&self, name: &str) -> Result<String, ApiError> {
        let missing = || {
            bad(&format!(
                "Failed to parse request. Required attribute '{name}' not specified"
            ))
        };
        self.text(name)?.ok_or_else(missing)
    }

    /// An id that must be there, in the form that ids have.
    pub fn required_id(&self, name: &str) -> Result<String, ApiError> {
        let id = self.required(name)?;
        match uuid::Uuid::parse_str(&id) {
            Ok(uuid) => Ok(uuid.to_string()),
            Err(_) => Err(faults::invalid(
                name,
                format!("'{id}' is not a valid UUID."),
            )),
        }
    }

    /// True or false, in the spellings that upstream takes.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let wrong = |value: &Value| {
            faults::invalid(name, format!("'{value}' cannot be converted to boolean."))
        };
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value @ Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Ok(Some(true)),
                "false" | "0" => Ok(Some(false)),
                _ => Err(wrong(value)),
            },
            Some(value @ Value::Number(number)) => match number.as_i64() {
                Some(0) => Ok(Some(false)),
                Some(1) => Ok(Some(true)),
                _ => Err(wrong(value)),
            },
            Some(value) => Err(wrong(value)),
        }
    }

    /// An integer, or a text that is one.
    pub fn integer(&self, name: &str) -> Result<Option<i32>, ApiError> {
        let wrong = |value: &Value| faults::invalid(name, format!("'{value}' is not an integer."));
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Number(number)) => number
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
                .map(Some)
                .ok_or_else(|| wrong(value)),
            Some(value @ Value::String(text)) => text.parse().map(Some).map_err(|_| wrong(value)),
            Some(value) => Err(wrong(value)),
        }
    }

    /// An address; `Some(None)` is null.
    pub fn nullable_address(&self, name: &str) -> Result<Option<Option<IpAddr>>, ApiError> {
        match self.nullable_text(name)? {
            None => Ok(None),
            Some(None) => Ok(Some(None)),
            Some(Some(text)) => match text.parse() {
                Ok(ip) => Ok(Some(Some(ip))),
                Err(_) => Err(faults::invalid(
                    name,
                    format!("'{text}' is not a valid IP address."),
                )),
            },
        }
    }

    /// Anything else that JSON can hold; null counts as not sent.
    pub fn decode<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|error| faults::invalid(name, error)),
        }
    }
}

fn bad(message: &str) -> ApiError {
    ApiError::bad_request("HTTPBadRequest", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_attributes_are_named() {
        let message = |body: Value| {
            Attributes::from_body(body, "network", &["name"])
                .map(|_| ())
                .unwrap_err()
                .message
        };
        assert_eq!(
            message(json!({"network": {"nmae": "a"}})),
            "Unrecognized attribute(s) 'nmae'"
        );
        assert_eq!(
            message(json!({"net": {}})),
            "Unable to find 'network' in request body"
        );
        let attributes = Attributes::bare(
            json!({"name": 3, "up": "True", "n": "7"}),
            &["name", "up", "n"],
        )
        .unwrap();
        assert_eq!(attributes.flag("up").unwrap(), Some(true));
        assert_eq!(attributes.integer("n").unwrap(), Some(7));
        assert_eq!(attributes.text("name").unwrap_err().status, 400);
    }
}
