//! Parameters of a template: declarations, constraints, and the values given to them.
//! Custom constraints that need a service (`nova.flavor`) are named here and asked by the engine.
use serde_json::{Map, Value};
use std::net::IpAddr;

/// What a parameter may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    String,
    Number,
    CommaDelimitedList,
    Json,
    Boolean,
}

impl ParameterType {
    pub const NAMES: &[(&str, ParameterType)] = &[
        ("string", ParameterType::String),
        ("number", ParameterType::Number),
        ("comma_delimited_list", ParameterType::CommaDelimitedList),
        ("json", ParameterType::Json),
        ("boolean", ParameterType::Boolean),
    ];

    pub fn named(name: &str) -> Option<ParameterType> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }

    /// As the API shows it, for example `CommaDelimitedList`.
    pub fn api_name(self) -> &'static str {
        match self {
            ParameterType::String => "String",
            ParameterType::Number => "Number",
            ParameterType::CommaDelimitedList => "CommaDelimitedList",
            ParameterType::Json => "Json",
            ParameterType::Boolean => "Boolean",
        }
    }
}

/// A parameter's declaration.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub kind: ParameterType,
    pub label: Option<String>,
    pub description: Option<String>,
    pub default: Option<Value>,
    pub hidden: bool,
    pub immutable: bool,
    pub tags: Vec<String>,
    pub constraints: Vec<Constraint>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    pub rule: Rule,
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    Length {
        min: Option<u64>,
        max: Option<u64>,
    },
    Range {
        min: Option<f64>,
        max: Option<f64>,
    },
    Modulo {
        step: i64,
        offset: i64,
    },
    AllowedValues(Vec<Value>),
    /// Anchored at both ends.
    AllowedPattern(String),
    Custom(String),
}

impl Parameter {
    /// A parameter of this type without anything else.
    pub fn of(kind: ParameterType) -> Self {
        Parameter {
            kind,
            label: None,
            description: None,
            default: None,
            hidden: false,
            immutable: false,
            tags: Vec::new(),
            constraints: Vec::new(),
        }
    }

    /// The value as its type, from what a user or a default gives: text, or the value itself.
    pub fn coerce(&self, given: &Value) -> Result<Value, String> {
        let wrong = |what: &str| Err(format!("expected {what}, found {given}"));
        Ok(match (self.kind, given) {
            (ParameterType::String, Value::String(_)) => given.clone(),
            (ParameterType::String, Value::Null) => Value::String(String::new()),
            (ParameterType::String, Value::Object(_) | Value::Array(_)) => {
                return wrong("a string");
            }
            (ParameterType::String, other) => Value::String(crate::resolve::text(other)),
            (ParameterType::Number, Value::Number(_)) => given.clone(),
            (ParameterType::Number, Value::String(text)) => match number(text) {
                Some(number) => number,
                None => return wrong("a number"),
            },
            (ParameterType::Number, _) => return wrong("a number"),
            (ParameterType::Boolean, Value::Bool(_)) => given.clone(),
            (ParameterType::Boolean, Value::Number(n)) if n.as_u64() == Some(1) => {
                Value::Bool(true)
            }
            (ParameterType::Boolean, Value::Number(n)) if n.as_u64() == Some(0) => {
                Value::Bool(false)
            }
            (ParameterType::Boolean, Value::String(text)) => {
                match text.to_ascii_lowercase().as_str() {
                    "1" | "t" | "true" | "on" | "y" | "yes" => Value::Bool(true),
                    "0" | "f" | "false" | "off" | "n" | "no" => Value::Bool(false),
                    _ => return wrong("a boolean"),
                }
            }
            (ParameterType::Boolean, _) => return wrong("a boolean"),
            (ParameterType::CommaDelimitedList, Value::Array(items)) => Value::Array(
                items
                    .iter()
                    .map(|item| Value::String(crate::resolve::text(item)))
                    .collect(),
            ),
            (ParameterType::CommaDelimitedList, Value::String(text)) if text.is_empty() => {
                Value::Array(Vec::new())
            }
            (ParameterType::CommaDelimitedList, Value::String(text)) => Value::Array(
                text.split(',')
                    .map(|part| Value::String(part.trim().to_owned()))
                    .collect(),
            ),
            (ParameterType::CommaDelimitedList, Value::Number(n)) => {
                Value::Array(vec![Value::String(n.to_string())])
            }
            (ParameterType::CommaDelimitedList, _) => return wrong("a list, or text with commas"),
            (ParameterType::Json, Value::Object(_) | Value::Array(_)) => given.clone(),
            (ParameterType::Json, Value::String(text)) if text.is_empty() => {
                Value::Object(Map::new())
            }
            (ParameterType::Json, Value::String(text)) => match serde_json::from_str(text) {
                Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
                _ => return wrong("JSON"),
            },
            (ParameterType::Json, _) => return wrong("JSON"),
        })
    }

    /// Every constraint that `value` breaks, in words. Custom constraints of services are not asked here.
    pub fn violations(&self, value: &Value) -> Vec<String> {
        self.constraints
            .iter()
            .filter_map(|constraint| {
                let broken = constraint.rule.violation(value)?;
                Some(constraint.description.clone().unwrap_or(broken))
            })
            .collect()
    }
}

fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Value::from(whole));
    }
    text.parse::<f64>()
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map(Value::Number)
}

impl Rule {
    fn violation(&self, value: &Value) -> Option<String> {
        match self {
            Rule::Length { min, max } => {
                let length = match value {
                    Value::String(text) => text.chars().count(),
                    Value::Array(items) => items.len(),
                    Value::Object(map) => map.len(),
                    _ => return None,
                } as u64;
                let outside =
                    min.is_some_and(|min| length < min) || max.is_some_and(|max| length > max);
                outside.then(|| {
                    format!(
                        "length ({length}) is out of range (min: {}, max: {})",
                        shown(*min),
                        shown(*max)
                    )
                })
            }
            Rule::Range { min, max } => {
                let n = value.as_f64()?;
                let outside = min.is_some_and(|min| n < min) || max.is_some_and(|max| n > max);
                outside.then(|| {
                    format!(
                        "{value} is out of range (min: {}, max: {})",
                        shown(*min),
                        shown(*max)
                    )
                })
            }
            Rule::Modulo { step, offset } => {
                let n = value.as_i64()?;
                (n.checked_rem(*step)? != *offset)
                    .then(|| format!("{n} is not a multiple of {step} with an offset of {offset}"))
            }
            Rule::AllowedValues(allowed) => {
                let one = |value: &Value| {
                    allowed.iter().any(|a| {
                        a == value || crate::resolve::text(a) == crate::resolve::text(value)
                    })
                };
                let fine = match value {
                    Value::Array(items) => items.iter().all(one),
                    value => one(value),
                };
                (!fine).then(|| {
                    let list: Vec<String> = allowed.iter().map(crate::resolve::text).collect();
                    format!(
                        "{} is not an allowed value [{}]",
                        crate::resolve::text(value),
                        list.join(", ")
                    )
                })
            }
            Rule::AllowedPattern(pattern) => {
                let text = value.as_str()?;
                match regex::Regex::new(&format!("^(?:{pattern})$")) {
                    Ok(regex) if regex.is_match(text) => None,
                    Ok(_) => Some(format!("\"{text}\" does not match pattern \"{pattern}\"")),
                    Err(_) => Some(format!(
                        "the pattern \"{pattern}\" is not a regular expression"
                    )),
                }
            }
            Rule::Custom(name) => custom_violation(name, value.as_str()?),
        }
    }
}

fn shown<T: ToString>(bound: Option<T>) -> String {
    bound.map_or("none".to_owned(), |bound| bound.to_string())
}

/// The custom constraints that need no service; `None` where the value is fine, or a service must be asked.
fn custom_violation(name: &str, text: &str) -> Option<String> {
    let fine = match name {
        "ip_addr" => text.parse::<IpAddr>().is_ok(),
        "net_cidr" => text.contains('/') && text.parse::<ipnetwork::IpNetwork>().is_ok(),
        "ip_or_cidr" => text.parse::<ipnetwork::IpNetwork>().is_ok(),
        "mac_addr" => {
            let octets: Vec<&str> = text.split([':', '-']).collect();
            octets.len() == 6
                && octets
                    .iter()
                    .all(|o| o.len() == 2 && o.chars().all(|c| c.is_ascii_hexdigit()))
        }
        "json_string" => serde_json::from_str::<Value>(text).is_ok(),
        _ => true,
    };
    (!fine).then(|| format!("\"{text}\" does not satisfy the constraint `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parameter(kind: ParameterType, rules: Vec<Rule>) -> Parameter {
        let constraints = rules
            .into_iter()
            .map(|rule| Constraint {
                rule,
                description: None,
            })
            .collect();
        Parameter {
            constraints,
            ..Parameter::of(kind)
        }
    }

    #[test]
    fn text_becomes_the_parameters_type() {
        let cases = [
            (ParameterType::Number, json!("3"), Ok(json!(3))),
            (ParameterType::Number, json!("3.5"), Ok(json!(3.5))),
            (ParameterType::Number, json!("x"), Err(())),
            (ParameterType::Boolean, json!("yes"), Ok(json!(true))),
            (ParameterType::Boolean, json!("maybe"), Err(())),
            (
                ParameterType::CommaDelimitedList,
                json!("a, b"),
                Ok(json!(["a", "b"])),
            ),
            (ParameterType::CommaDelimitedList, json!(""), Ok(json!([]))),
            (
                ParameterType::Json,
                json!("{\"a\": 1}"),
                Ok(json!({"a": 1})),
            ),
            (ParameterType::String, json!(5), Ok(json!("5"))),
        ];
        for (kind, given, wanted) in cases {
            assert_eq!(
                parameter(kind, vec![]).coerce(&given).map_err(|_| ()),
                wanted,
                "{kind:?} from {given}"
            );
        }
    }

    #[test]
    fn each_rule_says_what_it_found() {
        let cases = [
            (
                Rule::Length {
                    min: Some(2),
                    max: None,
                },
                json!("a"),
                true,
            ),
            (
                Rule::Length {
                    min: Some(2),
                    max: None,
                },
                json!("ab"),
                false,
            ),
            (
                Rule::Range {
                    min: Some(0.0),
                    max: Some(9.0),
                },
                json!(10),
                true,
            ),
            (Rule::Modulo { step: 2, offset: 1 }, json!(4), true),
            (Rule::Modulo { step: 2, offset: 1 }, json!(5), false),
            (Rule::Modulo { step: 0, offset: 1 }, json!(5), false),
            (
                Rule::AllowedValues(vec![json!("a"), json!(1)]),
                json!("1"),
                false,
            ),
            (Rule::AllowedValues(vec![json!("a")]), json!("b"), true),
            (Rule::AllowedPattern("[a-z]+".into()), json!("ab1"), true),
            (Rule::Custom("net_cidr".into()), json!("10.0.0.0"), true),
            (Rule::Custom("net_cidr".into()), json!("10.0.0.0/24"), false),
            (Rule::Custom("nova.flavor".into()), json!("anything"), false),
        ];
        for (rule, value, broken) in cases {
            let said = parameter(ParameterType::String, vec![rule.clone()]).violations(&value);
            assert_eq!(!said.is_empty(), broken, "{rule:?} on {value}: {said:?}");
        }
    }
}
