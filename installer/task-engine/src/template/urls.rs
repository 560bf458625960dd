//! Filters on URLs.
use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};
use serde_json::json;

use super::text::bad;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("urlsplit", urlsplit);
}

/// Python's parts of a URL, or one of them.
fn urlsplit(url: String, part: Option<String>) -> Result<Value, Error> {
    let (rest, fragment) = url.split_once('#').unwrap_or((&url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest))
            if !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b)) =>
        {
            (scheme.to_ascii_lowercase(), rest)
        }
        _ => (String::new(), rest),
    };
    let (netloc, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (user, host) = match netloc.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, netloc),
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse::<u16>().ok()),
        _ => (host, None),
    };
    let name = name.trim_matches(['[', ']']).to_ascii_lowercase();
    let (username, password) = match user {
        None => (None, None),
        Some(user) => match user.split_once(':') {
            Some((name, password)) => (Some(name), Some(password)),
            None => (Some(user), None),
        },
    };
    let all = json!({
        "scheme": scheme, "netloc": netloc, "path": path, "query": query, "fragment": fragment,
        "hostname": (!name.is_empty()).then_some(name), "port": port, "username": username, "password": password,
    });
    match part {
        None => Ok(Value::from(Serde(all))),
        Some(part) => match all.get(&part) {
            Some(value) => Ok(Value::from(Serde(value))),
            None => Err(bad(format!("urlsplit: a URL has no part `{part}`"))),
        },
    }
}
