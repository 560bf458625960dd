//! Reading `{"user": {...}}` and printing it: what all resources of identity share.
//!
//! Knows no resource.

use crate::app::App;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Query, request::base_url};

/// So many objects are made in one request.
const MOST: usize = 1000;

/// `http://HOST:5000/v3` as the client reached us.
pub fn v3(app: &App, headers: &HeaderMap) -> String {
    format!("{}/v3", base_url(headers, &app.public_url))
}

/// The attributes inside `{"user": {...}}`, taken out one by one; what is left is `extra`.
pub struct Attributes {
    kind: &'static str,
    map: Map<String, Value>,
}

impl Attributes {
    /// Opens the envelope.
    pub fn open(kind: &'static str, Json(body): Json<Value>) -> Result<Self, ApiError> {
        match body.get(kind) {
            Some(Value::Object(map)) => Ok(Attributes {
                kind,
                map: map.clone(),
            }),
            _ => Err(ApiError::bad_request(
                "BadRequest",
                format!(
                    "Expecting to find {kind} in request body. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error."
                ),
            )),
        }
    }

    /// Opens an envelope with a list: `{"limits": [{...}, ...]}`, one or more.
    pub fn list(
        plural: &'static str,
        kind: &'static str,
        Json(body): Json<Value>,
    ) -> Result<Vec<Self>, ApiError> {
        let refuse = || {
            ApiError::bad_request(
                "BadRequest",
                format!(
                    "Expecting to find {plural} in request body: a list of 1 to {MOST} objects."
                ),
            )
        };
        let list = body.get(plural).and_then(Value::as_array);
        let list = list
            .filter(|list| (1..=MOST).contains(&list.len()))
            .ok_or_else(refuse)?;
        list.iter()
            .map(|item| {
                let map = item.as_object().cloned().ok_or_else(refuse)?;
                Ok(Attributes { kind, map })
            })
            .collect()
    }

    /// Refuses what has not been taken: for resources without further attributes.
    pub fn finish(self) -> Result<(), ApiError> {
        match self
            .map
            .keys()
            .find(|name| *name != "id" && *name != "links")
        {
            None => Ok(()),
            Some(name) => Err(ApiError::bad_request(
                "BadRequest",
                format!(
                    "Additional properties are not allowed in {}: '{name}' was unexpected.",
                    self.kind
                ),
            )),
        }
    }

    /// The fault for an attribute that is not there.
    pub fn missing(&self, name: &str) -> ApiError {
        self.wrong(name, "a value: it is a required property")
    }

    /// A whole number within a range.
    pub fn integer(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        match self.map.remove(name) {
            None => Ok(None),
            Some(value) => match value.as_i64().filter(|number| range.contains(number)) {
                Some(number) => Ok(Some(number)),
                None => {
                    let expected = format!("an integer from {} to {}", range.start(), range.end());
                    Err(self.wrong(name, &expected))
                }
            },
        }
    }

    fn wrong(&self, name: &str, expected: &str) -> ApiError {
        ApiError::bad_request(
            "BadRequest",
            format!(
                "Invalid input for field '{name}' of {}: expected {expected}.",
                self.kind
            ),
        )
    }

    /// A string when present; null reads as absent... and as empty by [`Attributes::nullable`].
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    /// A string that null clears.
    pub fn nullable(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.map.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(String::new())),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a string or null")),
        }
    }

    /// A name: 1 to 255 characters, not only spaces.
    pub fn name(&mut self) -> Result<Option<String>, ApiError> {
        self.name_within(255)
    }

    /// A name of at most so many characters, not only spaces.
    pub fn name_within(&mut self, most: usize) -> Result<Option<String>, ApiError> {
        let name = self.text("name")?;
        match &name {
            Some(text) if text.trim().is_empty() || text.chars().count() > most => {
                Err(self.wrong("name", &format!("1 to {most} characters")))
            }
            _ => Ok(name),
        }
    }

    /// A name that must be there.
    pub fn required_name(&mut self) -> Result<String, ApiError> {
        let name = self.name()?;
        name.ok_or_else(|| self.missing("name"))
    }

    /// A string that must be there.
    pub fn required(&mut self, name: &str) -> Result<String, ApiError> {
        self.text(name)?
            .ok_or_else(|| self.wrong(name, "a value: it is a required property"))
    }

    /// A flag.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(name, "a boolean")),
        }
    }

    /// Any value.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    /// What has not been taken, without attributes that clients send back but may not set.
    pub fn extra(mut self) -> Map<String, Value> {
        for name in [
            "id",
            "links",
            "options",
            "is_domain",
            "tags",
            "password_expires_at",
            "federated",
        ] {
            self.map.remove(name);
        }
        self.map
    }
}

/// Changes `extra` as PATCH does: given attributes replace, null removes.
pub fn merge_extra(stored: &str, changes: Map<String, Value>) -> String {
    let mut extra: Map<String, Value> = serde_json::from_str(stored).unwrap_or_default();
    for (name, value) in changes {
        if value.is_null() {
            extra.remove(&name);
        } else {
            extra.insert(name, value);
        }
    }
    Value::Object(extra).to_string()
}

/// Puts stored extra attributes beside the others.
pub fn add_extra(view: &mut Value, extra: &str) {
    if let (Some(view), Ok(Value::Object(extra))) =
        (view.as_object_mut(), serde_json::from_str(extra))
    {
        for (name, value) in extra {
            view.entry(name).or_insert(value);
        }
    }
}

/// Empty means null.
pub fn or_null(text: &str) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        text.into()
    }
}

/// `{"user": {..., "links": {"self"}}}`; `plural` is the path's word.
pub fn single(kind: &str, plural: &str, v3: &str, mut view: Value) -> Value {
    add_self(plural, v3, &mut view);
    json!({ kind: view })
}

fn add_self(plural: &str, v3: &str, view: &mut Value) {
    let id = view.get("id").and_then(Value::as_str).unwrap_or_default();
    view["links"] = json!({"self": format!("{v3}/{plural}/{id}")});
}

/// `{"users": [...], "links": {"self", "previous", "next"}}`, filtered by the query where it
/// names an attribute (`name=x`, `name__contains=x`, `enabled=true`).
pub fn collection(
    plural: &str,
    path: &str,
    v3: &str,
    query: &Query,
    views: Vec<Value>,
) -> Json<Value> {
    collection_of(plural, plural, path, v3, query, views)
}

/// The same for items that are not found below the list's own word: `home` is where they are.
pub fn collection_of(
    home: &str,
    plural: &str,
    path: &str,
    v3: &str,
    query: &Query,
    mut views: Vec<Value>,
) -> Json<Value> {
    views.retain(|view| {
        query.0.iter().all(|(name, wanted)| {
            let (name, how) = name.split_once("__").unwrap_or((name, "exact"));
            let Some(value) = view.get(name) else {
                return true;
            };
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(flag) => {
                    // `enabled` without a value means true, as upstream.
                    let wanted = !matches!(
                        wanted.to_ascii_lowercase().as_str(),
                        "0" | "false" | "no" | "off"
                    );
                    return *flag == wanted;
                }
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let (low, wanted_low) = (text.to_lowercase(), wanted.to_lowercase());
            match how {
                "contains" => text.contains(wanted.as_str()),
                "icontains" => low.contains(&wanted_low),
                "startswith" => text.starts_with(wanted.as_str()),
                "endswith" => text.ends_with(wanted.as_str()),
                "iexact" => low == wanted_low,
                _ => text == *wanted,
            }
        })
    });
    for view in &mut views {
        add_self(home, v3, view);
    }
    Json(
        json!({plural: views, "links": {"self": format!("{v3}{path}"), "previous": null, "next": null}}),
    )
}
