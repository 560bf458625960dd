//! A role's arguments against its `meta/argument_specs.yml`: present, of the right type, among the choices.
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::template::{TemplateError, display};
use crate::vars::Scope;

/// Notes every fault of the variables that the specification names.
pub(super) fn check(
    scope: &Arc<Scope>,
    options: &Map<String, Json>,
    faults: &mut Vec<String>,
) -> Result<(), TemplateError> {
    let mut given = Map::new();
    for (name, spec) in options {
        let aliases = spec.get("aliases").and_then(Json::as_array);
        let names = std::iter::once(name.as_str())
            .chain(aliases.into_iter().flatten().filter_map(Json::as_str));
        for known in names {
            if let Some(value) = scope.get(known) {
                given.insert(name.clone(), value?);
                break;
            }
        }
    }
    of_map("", &given, options, faults, 0);
    Ok(())
}

const DEPTH_MAX: usize = 20;

fn of_map(
    path: &str,
    given: &Map<String, Json>,
    options: &Map<String, Json>,
    faults: &mut Vec<String>,
    depth: usize,
) {
    if depth > DEPTH_MAX {
        return;
    }
    for (name, spec) in options {
        let place = match path.is_empty() {
            true => name.clone(),
            false => format!("{path}.{name}"),
        };
        let required = spec
            .get("required")
            .and_then(Json::as_bool)
            .unwrap_or(false);
        match given.get(name) {
            None if required => faults.push(format!("`{place}` is missing")),
            None | Some(Json::Null) => {}
            Some(value) => one(&place, value, spec, faults, depth),
        }
    }
    if !path.is_empty() {
        for name in given.keys().filter(|name| !options.contains_key(*name)) {
            let near = diagnostics::did_you_mean(name, options.keys().map(String::as_str));
            let near = near
                .map(|near| format!(", did you mean `{near}`?"))
                .unwrap_or_default();
            faults.push(format!("`{path}` has no option `{name}`{near}"));
        }
    }
}

fn one(place: &str, value: &Json, spec: &Json, faults: &mut Vec<String>, depth: usize) {
    let kind = spec.get("type").and_then(Json::as_str).unwrap_or("str");
    if !fits(value, kind) {
        faults.push(format!("`{place}` is not of the type {kind}"));
        return;
    }
    if let Some(choices) = spec.get("choices").and_then(Json::as_array) {
        let known: Vec<String> = choices.iter().map(display).collect();
        let each: Vec<&Json> = match value {
            Json::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        for item in each {
            if !known.contains(&display(item)) {
                faults.push(format!(
                    "`{place}` is `{}`, not one of {}",
                    display(item),
                    known.join(", ")
                ));
            }
        }
    }
    let inner = spec.get("options").and_then(Json::as_object);
    match (value, inner) {
        (Json::Object(map), Some(options)) => of_map(place, map, options, faults, depth + 1),
        (Json::Array(items), inner) => {
            let elements = spec.get("elements").and_then(Json::as_str);
            for (index, item) in items.iter().enumerate() {
                let place = format!("{place}[{index}]");
                match (elements, item, inner) {
                    (Some(kind), item, _) if !fits(item, kind) => {
                        faults.push(format!("`{place}` is not of the type {kind}"));
                    }
                    (_, Json::Object(map), Some(options)) => {
                        of_map(&place, map, options, faults, depth + 1);
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Ansible converts where it can: so does this.
fn fits(value: &Json, kind: &str) -> bool {
    let text = value.as_str();
    let scalar = !value.is_array() && !value.is_object();
    match kind {
        "str" | "path" | "raw" | "jsonarg" | "json" | "bytes" | "bits" => true,
        "int" => {
            value.is_i64()
                || value.is_u64()
                || text.is_some_and(|text| text.trim().parse::<i64>().is_ok())
        }
        "float" => value.is_number() || text.is_some_and(|text| text.trim().parse::<f64>().is_ok()),
        "bool" => {
            value.is_boolean()
                || matches!(
                    display(value).to_ascii_lowercase().as_str(),
                    "yes"
                        | "no"
                        | "on"
                        | "off"
                        | "true"
                        | "false"
                        | "1"
                        | "0"
                        | "y"
                        | "n"
                        | "t"
                        | "f"
                )
        }
        "list" => value.is_array() || scalar,
        "dict" => {
            value.is_object()
                || text.is_some_and(|text| text.contains('=') || text.trim_start().starts_with('{'))
        }
        _ => true,
    }
}
