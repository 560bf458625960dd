//! What a stack is made from: template, parameters, environment, files; and reading it.
use hot::{Bound, Pseudo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use service_kit::ApiError;

/// Longest template, as in Heat.
const TEMPLATE_BYTES_MAX: usize = 524_288;
/// Most resources of one stack.
pub const RESOURCES_MAX: usize = 10_000;

/// Everything that the user gave; stored with the stack.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Definition {
    pub template: String,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    #[serde(default)]
    pub environment: Map<String, Value>,
    #[serde(default)]
    pub files: Map<String, Value>,
}

const ENVIRONMENT_SECTIONS: &[&str] = &[
    "parameters",
    "parameter_defaults",
    "resource_registry",
    "encrypted_param_names",
    "event_sinks",
    "parameter_merge_strategies",
];

/// 400 in Heat's words.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("StackValidationFailed", message)
}

impl Definition {
    /// Reads the fields of a request's body that make up a definition.
    pub fn from_body(body: &Value) -> Result<Self, ApiError> {
        let template = match (&body["template"], &body["template_url"]) {
            (Value::String(text), _) if !text.trim().is_empty() => text.clone(),
            (Value::Object(map), _) if !map.is_empty() => Value::Object(map.clone()).to_string(),
            (_, Value::String(_)) => {
                return Err(invalid(
                    "template_url is not supported: send the template itself",
                ));
            }
            _ => {
                return Err(ApiError::bad_request(
                    "HTTPBadRequest",
                    "No template specified",
                ));
            }
        };
        if template.len() > TEMPLATE_BYTES_MAX {
            return Err(ApiError::bad_request(
                "RequestLimitExceeded",
                format!(
                    "Template size ({} bytes) exceeds maximum allowed size ({TEMPLATE_BYTES_MAX} bytes).",
                    template.len()
                ),
            ));
        }
        let mut environment = environment(&body["environment"])?;
        for name in body["environment_files"].as_array().into_iter().flatten() {
            // Clients merge their environment files themselves and send them again by name.
            let content = name
                .as_str()
                .and_then(|name| body["files"].get(name))
                .unwrap_or(&Value::Null);
            for (section, entries) in self::environment(content)? {
                match (environment.get_mut(&section), entries) {
                    (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
                    (_, entries) => drop(environment.insert(section, entries)),
                }
            }
        }
        let object = |name: &str| body[name].as_object().cloned().unwrap_or_default();
        Ok(Definition {
            template,
            parameters: object("parameters"),
            environment,
            files: object("files"),
        })
    }

    fn section(&self, name: &str) -> Map<String, Value> {
        self.environment
            .get(name)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    }

    /// The parameters that were given: the environment's, and before them the request's own.
    pub fn given(&self) -> Map<String, Value> {
        let mut given = self.section("parameters");
        given.extend(self.parameters.clone());
        given
    }

    /// Reads the template and gives it its parameters.
    pub fn bind(&self, pseudo: &Pseudo) -> Result<Bound, ApiError> {
        let template =
            hot::parse("template", &self.template).map_err(|faults| invalid(faults.to_string()))?;
        if template.resources.len() > RESOURCES_MAX {
            return Err(ApiError::forbidden(
                "RequestLimitExceeded",
                format!(
                    "Maximum resources per stack exceeded: {} of {RESOURCES_MAX}",
                    template.resources.len()
                ),
            ));
        }
        hot::bind(
            template,
            &self.given(),
            &self.section("parameter_defaults"),
            self.files.clone(),
            pseudo,
        )
        .map_err(|faults| {
            let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let kind = match faults.first() {
                Some(hot::BindError::Missing(_)) => "UserParameterMissing",
                Some(hot::BindError::Unknown(_)) => "UnknownUserParameter",
                _ => "StackValidationFailed",
            };
            ApiError::bad_request(kind, all.join("\n"))
        })
    }
}

/// An environment as text or as a map, its sections checked.
fn environment(given: &Value) -> Result<Map<String, Value>, ApiError> {
    let map = match given {
        Value::Null => return Ok(Map::new()),
        Value::Object(map) => map.clone(),
        Value::String(text) if text.trim().is_empty() => return Ok(Map::new()),
        Value::String(text) => match serde_yaml::from_str::<Value>(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                return Err(invalid(
                    "Environment not in valid format: a map is expected",
                ));
            }
            Err(error) => return Err(invalid(format!("Environment not in valid format: {error}"))),
        },
        _ => {
            return Err(invalid(
                "Environment not in valid format: a map is expected",
            ));
        }
    };
    for (section, entries) in &map {
        if !ENVIRONMENT_SECTIONS.contains(&section.as_str()) {
            return Err(invalid(format!(
                "environment has wrong section \"{section}\""
            )));
        }
        let used = match entries {
            Value::Object(entries) => !entries
                .iter()
                .all(|(name, value)| name == "resources" && value == &Value::Object(Map::new())),
            Value::Array(entries) => !entries.is_empty(),
            _ => false,
        };
        if used
            && [
                "resource_registry",
                "event_sinks",
                "parameter_merge_strategies",
            ]
            .contains(&section.as_str())
        {
            return Err(invalid(format!(
                "the environment's section \"{section}\" is not supported"
            )));
        }
    }
    Ok(map)
}

/// The description of a stored definition's template.
pub fn description(stored: &str) -> String {
    serde_json::from_str::<Definition>(stored)
        .ok()
        .and_then(|definition| hot::parse("template", &definition.template).ok())
        .and_then(|template| template.description)
        .unwrap_or_else(|| "No description".to_owned())
}
