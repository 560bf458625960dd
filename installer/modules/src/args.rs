//! Checks a task's arguments against a module's table, in Ansible's words. Pure.
//!
//! The controller uses the same checks on roles before anything runs: [`Module::check_names`] where
//! values are still templates, [`Arg::value`] for literal values.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::spec::{Arg, Kind, Module};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgFault {
    #[error("Unsupported parameters for ({module}) module: {name}.{}", hint(.near))]
    Unknown {
        module: &'static str,
        name: String,
        near: Option<&'static str>,
    },
    #[error("{module} does not support {name}: {instead}")]
    Refused {
        module: &'static str,
        name: String,
        instead: &'static str,
    },
    #[error("missing required arguments: {name}")]
    Missing { name: &'static str },
    #[error("one of the following is required: {names}")]
    NoneOf { names: String },
    #[error("parameters are mutually exclusive: {names}")]
    Exclusive { names: String },
    #[error("argument '{name}' must be {expected}, got: {got}")]
    Kind {
        name: &'static str,
        expected: &'static str,
        got: String,
    },
    #[error("value of {name} must be one of: {choices}, got: {got}")]
    Choice {
        name: &'static str,
        choices: String,
        got: String,
    },
    #[error("argument '{name}' is given twice, also as '{alias}'")]
    Twice { name: &'static str, alias: String },
}

fn hint(near: &Option<&'static str>) -> String {
    near.map(|name| format!(" Did you mean `{name}`?"))
        .unwrap_or_default()
}

/// Checked arguments: defaults are filled in, values are of their kind, aliases are gone.
#[derive(Debug, Default)]
pub struct Args(BTreeMap<&'static str, Value>);

impl Module {
    /// Faults that can be seen in the names alone.
    pub fn check_names<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<ArgFault> {
        let mut faults = Vec::new();
        let mut given: BTreeMap<&'static str, &str> = BTreeMap::new();
        for name in names {
            match self.arg(name) {
                None => faults.push(self.stranger(name)),
                Some(arg) => {
                    if let Some(first) = given.insert(arg.name, name) {
                        faults.push(ArgFault::Twice {
                            name: arg.name,
                            alias: if name == arg.name { first } else { name }.to_owned(),
                        });
                    }
                }
            }
        }
        faults.extend(
            self.args()
                .filter(|arg| arg.required && !given.contains_key(arg.name))
                .map(|arg| ArgFault::Missing { name: arg.name }),
        );
        for group in self.one_of {
            if !group.iter().any(|name| given.contains_key(name)) {
                faults.push(ArgFault::NoneOf {
                    names: group.join(", "),
                });
            }
        }
        for group in self.exclusive {
            let both: Vec<&str> = group
                .iter()
                .copied()
                .filter(|name| given.contains_key(name))
                .collect();
            if both.len() > 1 {
                faults.push(ArgFault::Exclusive {
                    names: both.join("|"),
                });
            }
        }
        faults
    }

    /// A name that is no argument: of Ansible's module and not of this one, or of none.
    fn stranger(&self, name: &str) -> ArgFault {
        match self.refused.iter().find(|(refused, _)| *refused == name) {
            Some((_, instead)) => ArgFault::Refused {
                module: self.name,
                name: name.to_owned(),
                instead,
            },
            None => ArgFault::Unknown {
                module: self.name,
                name: name.to_owned(),
                near: near(name, self.args().map(|arg| arg.name)),
            },
        }
    }

    /// Checks names and values. A null value counts as not given.
    pub fn check(&self, given: &Map<String, Value>) -> Result<Args, Vec<ArgFault>> {
        let given = || given.iter().filter(|(_, value)| !value.is_null());
        let mut faults = self.check_names(given().map(|(name, _)| name.as_str()));
        let mut values = BTreeMap::new();
        for arg in self.args() {
            let value = given()
                .find(|(name, _)| self.arg(name).is_some_and(|found| found.name == arg.name))
                .map(|(_, value)| value.clone());
            let Some(value) = value.or_else(|| arg.default.map(Value::from)) else {
                continue;
            };
            match arg.value(&value) {
                Ok(value) => drop(values.insert(arg.name, value)),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            Ok(Args(values))
        } else {
            Err(faults)
        }
    }

    /// The argument of that name or alias.
    pub fn arg(&self, name: &str) -> Option<&'static Arg> {
        self.args()
            .find(|arg| arg.name == name || arg.aliases.contains(&name))
    }
}

impl Arg {
    /// The value as this argument's kind wants it.
    pub fn value(&self, value: &Value) -> Result<Value, ArgFault> {
        let fault = |expected| {
            Err(ArgFault::Kind {
                name: self.name,
                expected,
                got: show(value),
            })
        };
        let converted = match (self.kind, value) {
            (Kind::Any, _) => value.clone(),
            (Kind::Text | Kind::Path, Value::String(_)) => value.clone(),
            (Kind::Text | Kind::Path, Value::Number(number)) => number.to_string().into(),
            // As Python prints them: that is what users of Ansible see on their nodes.
            (Kind::Text, Value::Bool(flag)) => if *flag { "True" } else { "False" }.into(),
            (Kind::Text | Kind::Path, _) => return fault("text"),
            (Kind::Flag, _) => match truth(value) {
                Some(flag) => flag.into(),
                None => return fault("a boolean"),
            },
            (Kind::Int, Value::Number(number)) if number.is_i64() => value.clone(),
            (Kind::Int, Value::String(text)) => match text.trim().parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => return fault("a whole number"),
            },
            (Kind::Int, _) => return fault("a whole number"),
            (Kind::List, Value::Array(items)) => items
                .iter()
                .map(scalar)
                .collect::<Option<Vec<_>>>()
                .map_or_else(|| fault("a list of texts"), |list| Ok(list.into()))?,
            (Kind::List, Value::String(text)) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect::<Vec<_>>()
                .into(),
            (Kind::List, Value::Number(number)) => vec![number.to_string()].into(),
            (Kind::List, _) => return fault("a list of texts"),
            (Kind::Map, Value::Object(_)) => value.clone(),
            (Kind::Map, _) => return fault("a mapping"),
            (Kind::Mode, Value::String(text))
                if text == "preserve"
                    || crate::attributes::parse_mode(text, 0, false).is_some() =>
            {
                value.clone()
            }
            (Kind::Mode, Value::Number(number))
                if number.as_u64().is_some_and(|mode| mode <= 0o7777) =>
            {
                format!("{:04o}", number.as_u64().unwrap_or(0)).into()
            }
            (Kind::Mode, _) => return fault("permission bits such as \"0644\" or u=rw,g=r"),
        };
        match &converted {
            Value::String(text)
                if !self.choices.is_empty() && !self.choices.contains(&text.as_str()) =>
            {
                Err(ArgFault::Choice {
                    name: self.name,
                    choices: self.choices.join(", "),
                    got: text.clone(),
                })
            }
            _ => Ok(converted),
        }
    }
}

impl Args {
    /// A text or path that was given or has a default.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A text that the table calls required; empty is never reached.
    pub fn need(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// A flag; one that was not given is off.
    pub fn flag(&self, name: &str) -> bool {
        self.given_flag(name).unwrap_or(false)
    }

    pub fn given_flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// A list's texts; `None` if it was not given.
    pub fn list(&self, name: &str) -> Option<Vec<&str>> {
        Some(
            self.0
                .get(name)?
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .collect(),
        )
    }

    pub fn map(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name).and_then(Value::as_object)
    }

    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

fn scalar(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.into()),
        _ => None,
    }
}

/// Ansible's idea of truth.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number
            .as_i64()
            .filter(|n| *n == 0 || *n == 1)
            .map(|n| n == 1),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "1" | "true" | "t" | "y" => Some(true),
            "no" | "off" | "0" | "false" | "f" | "n" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A value for a message: short, and never a whole file.
fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The nearest of `known` within two changes.
pub fn near(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let name = name.rsplit('.').next().unwrap_or(name);
    let limit = if name.len() < 5 { 1 } else { 2 };
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(module: &str, args: Value) -> String {
        let module = crate::find(module).unwrap();
        match module.check(args.as_object().unwrap()) {
            Ok(args) => format!("{:?}", args.0.keys().collect::<Vec<_>>()),
            Err(faults) => faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn faults_are_told_in_ansibles_words() {
        let cases = [
            ("copy", json!({"dst": "/x", "content": "a"})),
            ("copy", json!({"dest": "/x", "content": "a", "src": "b"})),
            ("copy", json!({"dest": "/x"})),
            ("copy", json!({"dest": "/x", "content": "a", "mode": "rw"})),
            ("service", json!({"name": "x", "state": "running"})),
            ("service", json!({"name": "x", "enabled": "maybe"})),
            ("wait_for", json!({"port": "http"})),
            (
                "file",
                json!({"path": "/x", "dest": "/y", "state": "directory"}),
            ),
            ("apt", json!({"name": {"a": 1}})),
        ];
        let text: Vec<String> = cases
            .into_iter()
            .map(|(module, args)| format!("{module} {args}\n{}", check(module, args.clone())))
            .collect();
        insta::assert_snapshot!(text.join("\n\n"));
    }

    #[test]
    fn values_are_converted_as_ansible_does() {
        let module = crate::find("file").unwrap();
        let args = module.check(json!({"dest": "/x", "mode": 420, "recurse": "yes", "state": "directory", "owner": null}).as_object().unwrap()).unwrap();
        assert_eq!(
            (
                args.need("path"),
                args.text("mode"),
                args.flag("recurse"),
                args.text("owner")
            ),
            ("/x", Some("0644"), true, None)
        );
        let apt = crate::find("apt").unwrap();
        let args = apt
            .check(json!({"name": "a, b"}).as_object().unwrap())
            .unwrap();
        assert_eq!(args.list("name"), Some(vec!["a", "b"]));
    }

    proptest! {
        #[test]
        fn no_arguments_panic(name in "\\PC{0,12}", text in "\\PC{0,12}", number in any::<i64>()) {
            for module in crate::catalogue() {
                for arg in module.args() {
                    let _ = arg.value(&json!(text));
                    let _ = arg.value(&json!(number));
                    let _ = arg.value(&json!([text, null]));
                }
                let _ = module.check(json!({name.clone(): text}).as_object().unwrap());
            }
        }
    }
}
