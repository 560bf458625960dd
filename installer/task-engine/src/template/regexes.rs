//! Python's regular expressions: `regex_replace`, `regex_search`, `regex_findall`, `regex_escape`, and the tests
//! `match`, `search` and `regex`. Look-around and back-references are refused: matching here takes linear time, whatever
//! the pattern and the text.
use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, Value};
use regex::{Captures, Regex, RegexBuilder};

use super::text::bad;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("regex_replace", regex_replace);
    env.add_filter("regex_search", regex_search);
    env.add_filter("regex_findall", regex_findall);
    env.add_filter("regex_escape", |text: String| escape(&text));
    env.add_test("match", |text: Value, pattern: String, options: Kwargs| {
        is_match(&text, &format!(r"\A(?:{pattern})"), &options)
    });
    env.add_test("search", |text: Value, pattern: String, options: Kwargs| {
        is_match(&text, &pattern, &options)
    });
    env.add_test("regex", |text: Value, pattern: String, options: Kwargs| {
        let kind = options.get::<Option<String>>("match_type")?;
        let pattern = match kind.as_deref() {
            Some("match") => format!(r"\A(?:{pattern})"),
            Some("fullmatch") => format!(r"\A(?:{pattern})\z"),
            _ => pattern,
        };
        is_match(&text, &pattern, &options)
    });
}

fn compiled(pattern: &str, options: &Kwargs) -> Result<Regex, Error> {
    // Python's name for the very end.
    let pattern = pattern.replace(r"\Z", r"\z");
    RegexBuilder::new(&pattern)
        .case_insensitive(options.get::<Option<bool>>("ignorecase")?.unwrap_or(false))
        .multi_line(options.get::<Option<bool>>("multiline")?.unwrap_or(false))
        .build()
        .map_err(|error| {
            bad(format!(
                "`{pattern}` is not a supported regular expression: {error}"
            ))
        })
}

fn is_match(text: &Value, pattern: &str, options: &Kwargs) -> Result<bool, Error> {
    Ok(compiled(pattern, options)?.is_match(&text.to_string()))
}

/// As Python's `re.escape`: what has a meaning in patterns, and white space.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\x0b\x0c".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A piece of Python's replacement text.
enum Part {
    Text(String),
    Group(String),
}

/// `\1`, `\g<1>`, `\g<name>`, and the escapes of Python's texts.
fn replacement(python: &str) -> Vec<Part> {
    let mut out = Vec::new();
    let mut text = String::new();
    let mut rest = python.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        let group = match rest.peek().copied() {
            Some('g') => {
                rest.next();
                let name: String = rest
                    .by_ref()
                    .skip_while(|&c| c == '<')
                    .take_while(|&c| c != '>')
                    .collect();
                Some(name)
            }
            Some(digit) if digit.is_ascii_digit() => {
                let mut name = String::new();
                while name.len() < 2 {
                    match rest.next_if(char::is_ascii_digit) {
                        Some(digit) => name.push(digit),
                        None => break,
                    }
                }
                Some(name)
            }
            _ => None,
        };
        match group {
            Some(name) => {
                out.push(Part::Text(std::mem::take(&mut text)));
                out.push(Part::Group(name));
            }
            None => match rest.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('\\') => text.push('\\'),
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
        }
    }
    out.push(Part::Text(text));
    out
}

fn group<'t>(found: &Captures<'t>, name: &str) -> Option<&'t str> {
    let part = match name.parse::<usize>() {
        Ok(number) => found.get(number),
        Err(_) => found.name(name),
    };
    part.map(|part| part.as_str())
}

fn regex_replace(
    value: Value,
    pattern: Option<String>,
    with: Option<String>,
    options: Kwargs,
) -> Result<String, Error> {
    let pattern = pattern.or(options.get("pattern")?).unwrap_or_default();
    let with = with.or(options.get("replacement")?).unwrap_or_default();
    let with = replacement(&with);
    let limit = options.get::<Option<usize>>("count")?.unwrap_or(0);
    let regex = compiled(&pattern, &options)?;
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (count, found) in regex.captures_iter(&text).enumerate() {
        if limit > 0 && count >= limit {
            break;
        }
        let Some(whole) = found.get(0) else { break };
        out.push_str(&text[from..whole.start()]);
        for part in &with {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(name) => out.push_str(group(&found, name).unwrap_or_default()),
            }
        }
        from = whole.end();
    }
    out.push_str(&text[from..]);
    Ok(out)
}

/// The whole match, or the groups asked for as `'\\1'`, `'\\g<name>'`; none when nothing matches.
fn regex_search(
    value: Value,
    pattern: String,
    groups: Rest<String>,
    options: Kwargs,
) -> Result<Value, Error> {
    let text = value.to_string();
    let regex = compiled(&pattern, &options)?;
    let Some(found) = regex.captures(&text) else {
        return Ok(Value::from(()));
    };
    if groups.is_empty() {
        return Ok(group(&found, "0").map_or(Value::from(()), Value::from));
    }
    let mut out = Vec::new();
    for name in groups.iter() {
        let name = name
            .trim_start_matches(['\\', 'g', '<'])
            .trim_end_matches('>');
        out.push(group(&found, name).map_or(Value::from(()), Value::from));
    }
    Ok(Value::from(out))
}

fn regex_findall(value: Value, pattern: String, options: Kwargs) -> Result<Value, Error> {
    let regex = compiled(&pattern, &options)?;
    let text = value.to_string();
    let mut out: Vec<Value> = Vec::new();
    for found in regex.captures_iter(&text) {
        let part = |at: usize| Value::from(found.get(at).map_or("", |part| part.as_str()));
        out.push(match found.len() {
            1 => part(0),
            2 => part(1),
            count => (1..count).map(part).collect::<Vec<_>>().into(),
        });
    }
    Ok(out.into())
}
