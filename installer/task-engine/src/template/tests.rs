//! Ansible's tests (`x is changed`, `x is match('...')`, `x is version('1.2', '>=')`).
use std::cmp::Ordering;

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, Value};

use super::text::bad;

pub(super) fn register(env: &mut Environment<'static>) {
    for (name, field, wanted) in [
        ("changed", "changed", true),
        ("change", "changed", true),
        ("failed", "failed", true),
        ("failure", "failed", true),
        ("succeeded", "failed", false),
        ("success", "failed", false),
        ("successful", "failed", false),
        ("skipped", "skipped", true),
        ("skip", "skipped", true),
        ("unreachable", "unreachable", true),
    ] {
        env.add_test(name, move |result: Value| outcome(&result, field, wanted));
    }
    for name in ["version", "version_compare"] {
        env.add_test(name, version);
        env.add_filter(name, version);
    }
    for name in ["subset", "issubset"] {
        env.add_test(name, |one: Value, other: Value| contains_all(&other, &one));
    }
    for name in ["superset", "issuperset"] {
        env.add_test(name, |one: Value, other: Value| contains_all(&one, &other));
    }
    env.add_test("contains", |list: Value, item: Value| {
        contains_all(&list, &Value::from(vec![item]))
    });
    env.add_test("truthy", |value: Value, options: Kwargs| {
        truthy(&value, &options)
    });
    env.add_test("falsy", |value: Value, options: Kwargs| {
        truthy(&value, &options).map(|truth| !truth)
    });
    env.add_test("finished", |job: Value| flag(&job, "finished"));
    env.add_test("started", |job: Value| flag(&job, "started"));
    env.add_test("timedout", |job: Value| flag(&job, "timedout"));
    env.add_test("reachable", |result: Value| {
        outcome(&result, "unreachable", false)
    });
    env.add_test("vault_encrypted", |_: Value| false);
    env.add_test("vaulted_file", |path: String| {
        std::fs::read_to_string(path).is_ok_and(|text| text.starts_with(crate::vault::MARK))
    });
    env.add_test("uri", |text: Value| {
        let text = text.to_string();
        text.split_once(':')
            .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
    });
    env.add_test("nan", |value: f64| value.is_nan());
    env.add_test("callable", |_: Value| false);
    env.add_test("all", |list: Value| {
        Ok::<_, Error>(list.try_iter()?.all(|value| value.is_true()))
    });
    env.add_test("any", |list: Value| {
        Ok::<_, Error>(list.try_iter()?.any(|value| value.is_true()))
    });
}

/// `convert_bool=true`: words count as what they say.
fn truthy(value: &Value, options: &Kwargs) -> Result<bool, Error> {
    let convert = options
        .get::<Option<bool>>("convert_bool")?
        .unwrap_or(false);
    Ok(match value.as_str() {
        Some(word) if convert => match word.to_ascii_lowercase().as_str() {
            "yes" | "on" | "1" | "true" | "y" | "t" | "1.0" => true,
            "no" | "off" | "0" | "false" | "n" | "f" | "0.0" => false,
            _ => value.is_true(),
        },
        _ => value.is_true(),
    })
}

fn flag(result: &Value, field: &str) -> Result<bool, Error> {
    Ok(result.get_attr(field)?.is_true())
}

fn outcome(result: &Value, field: &str, wanted: bool) -> Result<bool, Error> {
    let value = result.get_attr(field).map_err(|_| {
        bad(format!(
            "`is {field}` takes a registered result, not a {}",
            result.kind()
        ))
    })?;
    Ok(value.is_true() == wanted)
}

fn contains_all(outer: &Value, inner: &Value) -> Result<bool, Error> {
    let outer: Vec<Value> = outer.try_iter()?.collect();
    Ok(inner.try_iter()?.all(|value| outer.contains(&value)))
}

/// `is version('1.2', '>=', version_type='semver', strict=true)`.
fn version(
    version: Value,
    other: Value,
    operator: Option<String>,
    strict: Option<bool>,
    options: Kwargs,
) -> Result<bool, Error> {
    let operator = operator.or(options.get("operator")?);
    let _strict = strict.or(options.get("strict")?);
    let kind = options.get::<Option<String>>("version_type")?;
    let (one, other) = (version.to_string(), other.to_string());
    let order = match kind.as_deref() {
        Some("semver" | "semantic" | "pep440") => compare_semantic(&one, &other),
        _ => compare(&one, &other),
    };
    Ok(match operator.as_deref().unwrap_or("==") {
        "==" | "=" | "eq" => order == Ordering::Equal,
        "!=" | "<>" | "ne" => order != Ordering::Equal,
        "<" | "lt" => order == Ordering::Less,
        "<=" | "le" => order != Ordering::Greater,
        ">" | "gt" => order == Ordering::Greater,
        ">=" | "ge" => order != Ordering::Less,
        other => {
            return Err(bad(format!(
                "`{other}` is no operator that compares versions"
            )));
        }
    })
}

/// What follows `-` makes a version earlier than the one without it.
fn compare_semantic(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let text = text.split('+').next().unwrap_or_default();
        match text.split_once('-') {
            Some((core, before)) => (core.to_owned(), Some(before.to_owned())),
            None => (text.to_owned(), None),
        }
    };
    let ((core_a, before_a), (core_b, before_b)) = (parts(one), parts(other));
    compare(&core_a, &core_b).then_with(|| match (before_a, before_b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => compare(&a, &b),
    })
}

fn compare(one: &str, other: &str) -> Ordering {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Part {
        Word(String),
        Number(u64),
    }
    let parts = |text: &str| {
        let mut out: Vec<Part> = Vec::new();
        let mut rest = text.trim().trim_start_matches('v');
        while let Some(first) = rest.chars().next() {
            let digits = first.is_ascii_digit();
            let same = |c: char| {
                if digits {
                    c.is_ascii_digit()
                } else {
                    c.is_ascii_alphabetic()
                }
            };
            let end = rest
                .find(|c| !same(c))
                .unwrap_or(rest.len())
                .max(if same(first) { 1 } else { first.len_utf8() });
            let (run, tail) = rest.split_at(end);
            match run.parse() {
                Ok(number) => out.push(Part::Number(number)),
                Err(_) if first.is_ascii_alphabetic() => out.push(Part::Word(run.to_owned())),
                Err(_) => {}
            }
            rest = tail;
        }
        out
    };
    parts(one).cmp(&parts(other))
}
