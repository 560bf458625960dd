//! Ansible's tests (`x is changed`, `x is match('...')`, `x is version('1.2', '>=')`).
use std::cmp::Ordering;

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, Value};
use regex::{Regex, RegexBuilder};

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
    env.add_test("match", |text: Value, pattern: String, options: Kwargs| {
        let regex = pattern_of(&format!(r"\A(?:{pattern})"), &options)?;
        Ok::<_, Error>(regex.is_match(&text.to_string()))
    });
    env.add_test("search", |text: Value, pattern: String, options: Kwargs| {
        Ok::<_, Error>(pattern_of(&pattern, &options)?.is_match(&text.to_string()))
    });
    env.add_test("regex", |text: Value, pattern: String, options: Kwargs| {
        Ok::<_, Error>(pattern_of(&pattern, &options)?.is_match(&text.to_string()))
    });
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
    env.add_test("truthy", |value: Value, _options: Kwargs| value.is_true());
    env.add_test("falsy", |value: Value, _options: Kwargs| !value.is_true());
    env.add_test("all", |list: Value| {
        Ok::<_, Error>(list.try_iter()?.all(|value| value.is_true()))
    });
    env.add_test("any", |list: Value| {
        Ok::<_, Error>(list.try_iter()?.any(|value| value.is_true()))
    });
    env.add_test("abs", |path: String| path.starts_with('/'));
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

fn pattern_of(pattern: &str, options: &Kwargs) -> Result<Regex, Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(options.get::<Option<bool>>("ignorecase")?.unwrap_or(false))
        .multi_line(options.get::<Option<bool>>("multiline")?.unwrap_or(false))
        .build()
        .map_err(|error| {
            bad(format!(
                "`{pattern}` is not a supported regular expression: {error}"
            ))
        })
}

fn contains_all(outer: &Value, inner: &Value) -> Result<bool, Error> {
    let outer: Vec<Value> = outer.try_iter()?.collect();
    Ok(inner.try_iter()?.all(|value| outer.contains(&value)))
}

/// Python's `LooseVersion`: runs of digits compare as numbers, runs of letters as text.
fn version(
    version: Value,
    other: Value,
    operator: Option<String>,
    _options: Kwargs,
) -> Result<bool, Error> {
    let order = compare(&version.to_string(), &other.to_string());
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
