//! Resolving a template's values: what each function gives, from what a [`Scope`] knows.
//! Pure: where parameters, attributes and files come from is the scope's matter.
use crate::expr::{Expr, ExprKind, Function};
use serde_json::{Map, Value};

/// What functions ask of the world.
pub trait Scope {
    /// The value of a parameter or pseudo parameter.
    fn parameter(&self, name: &str) -> Result<Value, ResolveError>;
    /// The physical id of a resource (`get_resource`).
    fn reference(&self, resource: &str) -> Result<Value, ResolveError>;
    /// One attribute of a resource, or all of them.
    fn attribute(&self, resource: &str, attribute: Option<&str>) -> Result<Value, ResolveError>;
    /// The content of a file that came with the template.
    fn file(&self, name: &str) -> Result<String, ResolveError>;
    /// The value of a named condition.
    fn condition(&self, name: &str) -> Result<bool, ResolveError>;
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ResolveError {
    /// Known only once this resource exists: a plan says "unknown until".
    #[error("not known until resource `{0}` exists")]
    UnknownUntil(String),
    #[error("{0}")]
    Invalid(String),
}

fn invalid<T>(message: impl Into<String>) -> Result<T, ResolveError> {
    Err(ResolveError::Invalid(message.into()))
}

/// The value of `expr`; `None` where an `if` without an else value drops it.
pub fn resolve(expr: &Expr, scope: &dyn Scope) -> Result<Option<Value>, ResolveError> {
    Ok(Some(match &expr.kind {
        ExprKind::Literal(value) => value.clone(),
        ExprKind::List(items) => Value::Array(resolve_list(items, scope)?),
        ExprKind::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                if let Some(value) = resolve(value, scope)? {
                    map.insert(key.clone(), value);
                }
            }
            Value::Object(map)
        }
        ExprKind::Call(Function::If, args) => return resolve_if(args, scope),
        ExprKind::Call(function, args) => call(*function, args, scope)?,
    }))
}

/// Like [`resolve`], a dropped value being null.
pub fn resolve_value(expr: &Expr, scope: &dyn Scope) -> Result<Value, ResolveError> {
    Ok(resolve(expr, scope)?.unwrap_or(Value::Null))
}

fn resolve_list(items: &[Expr], scope: &dyn Scope) -> Result<Vec<Value>, ResolveError> {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        if let Some(value) = resolve(item, scope)? {
            out.push(value);
        }
    }
    Ok(out)
}

/// Whether a condition holds: a name, a boolean, or a condition function.
pub fn resolve_condition(expr: &Expr, scope: &dyn Scope) -> Result<bool, ResolveError> {
    if let Some(name) = expr.as_str() {
        return scope.condition(name);
    }
    match resolve_value(expr, scope)? {
        Value::Bool(value) => Ok(value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        other => invalid(format!("a condition gives true or false, not {other}")),
    }
}

fn resolve_if(args: &Expr, scope: &dyn Scope) -> Result<Option<Value>, ResolveError> {
    let (condition, rest) = match args.as_list() {
        Some([condition, rest @ ..]) if !rest.is_empty() && rest.len() <= 2 => (condition, rest),
        _ => return invalid("`if` takes [condition, value if true, value if false]"),
    };
    match (resolve_condition(condition, scope)?, rest) {
        (true, [yes, ..]) => resolve(yes, scope),
        (false, [_, no]) => resolve(no, scope),
        _ => Ok(None),
    }
}

fn call(function: Function, args: &Expr, scope: &dyn Scope) -> Result<Value, ResolveError> {
    let name = function.name();
    match function {
        Function::GetResource => match args.as_str() {
            Some(resource) => scope.reference(resource),
            None => invalid("`get_resource` takes the name of a resource"),
        },
        Function::GetAttr => get_attr(args, scope),
        Function::GetParam => match resolve_value(args, scope)? {
            Value::String(parameter) => scope.parameter(&parameter),
            Value::Array(path) => match path.split_first() {
                Some((Value::String(parameter), rest)) => {
                    Ok(walk(scope.parameter(parameter)?, rest))
                }
                _ => invalid("`get_param` takes a name, or a name and a path"),
            },
            _ => invalid("`get_param` takes a name, or a name and a path"),
        },
        Function::GetFile => match resolve_value(args, scope)? {
            Value::String(file) => Ok(Value::String(scope.file(&file)?)),
            _ => invalid("`get_file` takes the name of a file"),
        },
        Function::StrReplace | Function::StrReplaceStrict | Function::StrReplaceVstrict => {
            str_replace(function, args, scope)
        }
        Function::StrSplit => match resolve_value(args, scope)? {
            Value::Array(parts) => str_split(&parts),
            _ => invalid("`str_split` takes [delimiter, string] or [delimiter, string, index]"),
        },
        Function::ListJoin => match resolve_value(args, scope)? {
            Value::Array(parts) => list_join(&parts),
            _ => invalid("`list_join` takes [delimiter, list, ...]"),
        },
        Function::ListConcat | Function::ListConcatUnique => {
            let Value::Array(lists) = resolve_value(args, scope)? else {
                return invalid(format!("`{name}` takes a list of lists"));
            };
            let mut out: Vec<Value> = Vec::new();
            for list in lists {
                match list {
                    Value::Array(items) if function == Function::ListConcat => out.extend(items),
                    Value::Array(items) => {
                        for item in items {
                            if !out.contains(&item) {
                                out.push(item);
                            }
                        }
                    }
                    Value::Null => {}
                    _ => return invalid(format!("`{name}` takes a list of lists")),
                }
            }
            Ok(Value::Array(out))
        }
        Function::MapMerge => match resolve_value(args, scope)? {
            Value::Array(maps) => {
                let mut out = Map::new();
                for map in maps {
                    match map {
                        Value::Object(map) => out.extend(map),
                        Value::Null => {}
                        _ => return invalid("`map_merge` takes a list of maps"),
                    }
                }
                Ok(Value::Object(out))
            }
            _ => invalid("`map_merge` takes a list of maps"),
        },
        Function::MapReplace => map_replace(args, scope),
        Function::Repeat => repeat(args, scope),
        Function::Digest => match resolve_value(args, scope)? {
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(algorithm), Value::String(text)] => digest(algorithm, text),
                _ => invalid("`digest` takes [algorithm, string]"),
            },
            _ => invalid("`digest` takes [algorithm, string]"),
        },
        Function::Filter => match resolve_value(args, scope)? {
            Value::Array(parts) => match parts.as_slice() {
                [Value::Array(unwanted), Value::Array(items)] => Ok(Value::Array(
                    items
                        .iter()
                        .filter(|item| !unwanted.contains(item))
                        .cloned()
                        .collect(),
                )),
                _ => invalid("`filter` takes [values to drop, list]"),
            },
            _ => invalid("`filter` takes [values to drop, list]"),
        },
        Function::MakeUrl => match resolve_value(args, scope)? {
            Value::Object(parts) => make_url(&parts),
            _ => invalid("`make_url` takes a map of scheme, host, port, path, query, fragment"),
        },
        Function::Equals => match resolve_value(args, scope)? {
            Value::Array(pair) if pair.len() == 2 => Ok(Value::Bool(pair[0] == pair[1])),
            _ => invalid("`equals` takes two values"),
        },
        Function::Not => Ok(Value::Bool(!resolve_condition(args, scope)?)),
        Function::And | Function::Or => {
            let Some(items) = args.as_list().filter(|items| items.len() >= 2) else {
                return invalid(format!("`{name}` takes at least two conditions"));
            };
            let stop = function == Function::Or;
            for item in items {
                if resolve_condition(item, scope)? == stop {
                    return Ok(Value::Bool(stop));
                }
            }
            Ok(Value::Bool(!stop))
        }
        Function::Contains => match resolve_value(args, scope)? {
            Value::Array(pair) if pair.len() == 2 => Ok(Value::Bool(match &pair[1] {
                Value::Array(items) => items.contains(&pair[0]),
                Value::String(text) => pair[0].as_str().is_some_and(|part| text.contains(part)),
                _ => return invalid("`contains` takes [value, list or string]"),
            })),
            _ => invalid("`contains` takes [value, list or string]"),
        },
        Function::If => Ok(resolve_if(args, scope)?.unwrap_or(Value::Null)),
        Function::ResourceFacade => {
            invalid("`resource_facade` is for templates used as a resource of another")
        }
    }
}

fn get_attr(args: &Expr, scope: &dyn Scope) -> Result<Value, ResolveError> {
    let Some([resource, path @ ..]) = args.as_list() else {
        return invalid("`get_attr` takes [resource, attribute, path ...]");
    };
    let Some(resource) = resource.as_str() else {
        return invalid("the first argument of `get_attr` is the name of a resource");
    };
    let path = resolve_list(path, scope)?;
    match path.split_first() {
        None => scope.attribute(resource, None),
        Some((Value::String(attribute), rest)) => {
            Ok(walk(scope.attribute(resource, Some(attribute))?, rest))
        }
        Some((other, _)) => invalid(format!("the name of an attribute is a string, not {other}")),
    }
}

/// Follows map keys and list indices; what is not there is null, as in Heat.
fn walk(value: Value, path: &[Value]) -> Value {
    path.iter().fold(value, |value, step| match (value, step) {
        (Value::Object(mut map), step) => map.remove(&text(step)).unwrap_or(Value::Null),
        (Value::Array(mut list), step) => {
            let index = step
                .as_u64()
                .or_else(|| step.as_str().and_then(|s| s.parse().ok()));
            match index.and_then(|i| usize::try_from(i).ok()) {
                Some(index) if index < list.len() => list.swap_remove(index),
                _ => Value::Null,
            }
        }
        _ => Value::Null,
    })
}

/// A value inside a string: strings as they are, nothing for null, all else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

/// Longest key first, one pass, replaced text is not looked at again.
fn str_replace(function: Function, args: &Expr, scope: &dyn Scope) -> Result<Value, ResolveError> {
    let name = function.name();
    let (Some(template), Some(params)) = (args.get("template"), args.get("params")) else {
        return invalid(format!("`{name}` takes a map with `template` and `params`"));
    };
    let template = match resolve_value(template, scope)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => return invalid(format!("the template of `{name}` is a string, not {other}")),
    };
    let Value::Object(params) = resolve_value(params, scope)? else {
        return invalid(format!("`params` of `{name}` is a map"));
    };
    let mut pairs: Vec<(String, String, bool)> = Vec::new();
    for (key, value) in &params {
        if key.is_empty() {
            return invalid(format!("`{name}` has an empty key in `params`"));
        }
        if function == Function::StrReplaceVstrict && text(value).is_empty() {
            return invalid(format!("`{name}` has no value for `{key}`"));
        }
        pairs.push((key.clone(), text(value), false));
    }
    pairs.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
    let mut out = String::with_capacity(template.len());
    let mut rest = template.as_str();
    while let Some(first) = rest.chars().next() {
        match pairs
            .iter_mut()
            .find(|(key, _, _)| rest.starts_with(key.as_str()))
        {
            Some((key, value, used)) => {
                out.push_str(value);
                *used = true;
                rest = &rest[key.len()..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    if function != Function::StrReplace {
        let unused: Vec<&str> = pairs
            .iter()
            .filter(|p| !p.2)
            .map(|p| p.0.as_str())
            .collect();
        if !unused.is_empty() {
            return invalid(format!(
                "`{name}`: not found in the template: {}",
                unused.join(", ")
            ));
        }
    }
    Ok(Value::String(out))
}

fn str_split(parts: &[Value]) -> Result<Value, ResolveError> {
    let (delimiter, string, index) = match parts {
        [Value::String(delimiter), Value::String(string)] => (delimiter, string, None),
        [Value::String(delimiter), Value::String(string), index] => {
            (delimiter, string, Some(index))
        }
        _ => return invalid("`str_split` takes [delimiter, string] or [delimiter, string, index]"),
    };
    if delimiter.is_empty() {
        return invalid("the delimiter of `str_split` is empty");
    }
    let pieces: Vec<Value> = string.split(delimiter.as_str()).map(Value::from).collect();
    Ok(match index {
        None => Value::Array(pieces),
        Some(index) => walk(Value::Array(pieces), std::slice::from_ref(index)),
    })
}

fn list_join(parts: &[Value]) -> Result<Value, ResolveError> {
    let Some((Value::String(delimiter), lists)) = parts.split_first() else {
        return invalid("`list_join` takes [delimiter, list, ...]");
    };
    let mut pieces = Vec::new();
    for list in lists {
        match list {
            Value::Array(items) => pieces.extend(items.iter().map(text)),
            Value::Null => {}
            _ => return invalid("`list_join` joins lists"),
        }
    }
    Ok(Value::String(pieces.join(delimiter)))
}

fn map_replace(args: &Expr, scope: &dyn Scope) -> Result<Value, ResolveError> {
    const SHAPE: &str = "`map_replace` takes [map, {keys: {old: new}, values: {old: new}}]";
    let Value::Array(parts) = resolve_value(args, scope)? else {
        return invalid(SHAPE);
    };
    let [Value::Object(map), Value::Object(replacements)] = parts.as_slice() else {
        return invalid(SHAPE);
    };
    let table = |name: &str| {
        replacements
            .get(name)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (keys, values) = (table("keys"), table("values"));
    let mut out = Map::new();
    for (key, value) in map {
        let key = keys.get(key).map_or_else(|| key.clone(), text);
        let value = value.as_str().and_then(|v| values.get(v)).unwrap_or(value);
        if out.insert(key.clone(), value.clone()).is_some() {
            return invalid(format!("`map_replace` gives the key `{key}` twice"));
        }
    }
    Ok(Value::Object(out))
}

/// The template once for every combination of the lists (or step by step without permutations).
fn repeat(args: &Expr, scope: &dyn Scope) -> Result<Value, ResolveError> {
    /// More than this is a mistake, or an attack.
    const REPEAT_MAX: usize = 100_000;
    let (Some(template), Some(for_each)) = (args.get("template"), args.get("for_each")) else {
        return invalid("`repeat` takes a map with `template` and `for_each`");
    };
    let Value::Object(for_each) = resolve_value(for_each, scope)? else {
        return invalid("`for_each` of `repeat` is a map of lists");
    };
    let permutations = match args.get("permutations") {
        Some(value) => resolve_value(value, scope)? != Value::Bool(false),
        None => true,
    };
    let mut lists: Vec<(String, Vec<Value>)> = Vec::new();
    for (key, value) in for_each {
        match value {
            Value::Array(items) => lists.push((key, items)),
            Value::Object(map) => lists.push((
                key,
                map.into_iter().map(|(k, _)| Value::String(k)).collect(),
            )),
            Value::Null => lists.push((key, Vec::new())),
            _ => return invalid(format!("`{key}` of `for_each` is a list")),
        }
    }
    let mut rows: Vec<Vec<(String, Value)>> = vec![Vec::new()];
    if permutations {
        for (key, items) in &lists {
            if rows.len().saturating_mul(items.len()) > REPEAT_MAX {
                return invalid(format!("`repeat` would give more than {REPEAT_MAX} values"));
            }
            rows = rows
                .iter()
                .flat_map(|row| {
                    items.iter().map(move |item| {
                        let mut row = row.clone();
                        row.push((key.clone(), item.clone()));
                        row
                    })
                })
                .collect();
        }
    } else {
        let length = lists.first().map_or(0, |(_, items)| items.len());
        if lists.iter().any(|(_, items)| items.len() != length) {
            return invalid("without permutations the lists of `repeat` have one length");
        }
        rows = (0..length)
            .map(|i| {
                lists
                    .iter()
                    .map(|(key, items)| (key.clone(), items[i].clone()))
                    .collect()
            })
            .collect();
    }
    let template = resolve_value(template, scope)?;
    Ok(Value::Array(
        rows.iter().map(|row| substitute(&template, row)).collect(),
    ))
}

fn substitute(template: &Value, row: &[(String, Value)]) -> Value {
    match template {
        Value::String(string) => match row.iter().find(|(key, _)| key == string) {
            Some((_, value)) => value.clone(),
            None => Value::String(row.iter().fold(string.clone(), |s, (key, value)| {
                s.replace(key, &text(value))
            })),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| substitute(item, row)).collect())
        }
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| {
                    let key = row.iter().fold(key.clone(), |k, (name, value)| {
                        k.replace(name, &text(value))
                    });
                    (key, substitute(value, row))
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

fn digest(algorithm: &str, input: &str) -> Result<Value, ResolveError> {
    use sha2::Digest;
    Ok(Value::String(
        match algorithm.to_ascii_lowercase().as_str() {
            "md5" => hex::encode(md5::Md5::digest(input)),
            "sha1" => hex::encode(sha1::Sha1::digest(input)),
            "sha224" => hex::encode(sha2::Sha224::digest(input)),
            "sha256" => hex::encode(sha2::Sha256::digest(input)),
            "sha384" => hex::encode(sha2::Sha384::digest(input)),
            "sha512" => hex::encode(sha2::Sha512::digest(input)),
            other => {
                return invalid(format!(
                    "`digest` knows md5, sha1, sha224, sha256, sha384, sha512, not `{other}`"
                ));
            }
        },
    ))
}

fn make_url(parts: &Map<String, Value>) -> Result<Value, ResolveError> {
    let part = |name: &str| parts.get(name).map(text).filter(|text| !text.is_empty());
    let mut url = String::new();
    if let Some(scheme) = part("scheme") {
        url.push_str(&scheme);
        url.push(':');
    }
    if let Some(host) = part("host") {
        url.push_str("//");
        if let Some(user) = part("username") {
            url.push_str(&user);
            if let Some(password) = part("password") {
                url.push(':');
                url.push_str(&password);
            }
            url.push('@');
        }
        if host.contains(':') && !host.starts_with('[') {
            url.push_str(&format!("[{host}]"));
        } else {
            url.push_str(&host);
        }
        if let Some(port) = part("port") {
            url.push(':');
            url.push_str(&port);
        }
    }
    if let Some(path) = part("path") {
        if !path.starts_with('/') && url.contains("//") {
            url.push('/');
        }
        url.push_str(&path);
    }
    if let Some(Value::Object(query)) = parts.get("query") {
        let pairs: Vec<String> = query
            .iter()
            .map(|(key, value)| format!("{key}={}", text(value)))
            .collect();
        if !pairs.is_empty() {
            url.push('?');
            url.push_str(&pairs.join("&"));
        }
    }
    if let Some(fragment) = part("fragment") {
        url.push('#');
        url.push_str(&fragment);
    }
    Ok(Value::String(url))
}
