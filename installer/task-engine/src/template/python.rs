//! What templates take from Python and Jinja2 that minijinja has not: methods of texts and lists, and filters with
//! Jinja2's arguments.
use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::text::bad;

/// A wider text is no layout.
const WIDTH_MAX: usize = 10_000;

pub(super) fn register(env: &mut Environment<'static>) {
    env.set_unknown_method_callback(|state, value, method, args| {
        match (value.as_str(), value.kind()) {
            (Some(text), _) => of_text(text, method, args),
            (None, ValueKind::Seq) => of_list(value, method, args),
            _ => None,
        }
        .unwrap_or_else(|| {
            minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
        })
    });
    env.add_filter("truncate", truncate);
    env.add_filter("center", |text: String, width: Option<usize>| {
        padded(&text, width.unwrap_or(80), ' ', |blanks| blanks / 2)
    });
    env.add_filter("wordcount", |text: String| text.split_whitespace().count());
    env.add_filter("wordwrap", wordwrap);
    env.add_filter("forceescape", |text: Value| {
        let text = text.to_string();
        let marks = [
            ('&', "&amp;"),
            ('<', "&lt;"),
            ('>', "&gt;"),
            ('\'', "&#39;"),
            ('"', "&#34;"),
        ];
        marks
            .iter()
            .fold(text, |text, (mark, name)| text.replace(*mark, name))
    });
    env.add_function("dict", dict);
    env.add_function("undef", |options: Kwargs| {
        let hint = options.get::<Option<String>>("hint")?.unwrap_or_default();
        Ok::<_, Error>(Value::from(Error::new(ErrorKind::UndefinedError, hint)))
    });
}

type Outcome = Option<Result<Value, Error>>;

fn of_text(text: &str, method: &str, args: &[Value]) -> Outcome {
    let count = |text: &str| text.chars().count();
    Some(match method {
        "rsplit" => from_args(args).map(|(mark, limit): (Option<String>, Option<i64>)| {
            let limit = limit.and_then(|limit| usize::try_from(limit).ok());
            let mut parts: Vec<&str> = match (&mark, limit) {
                (Some(mark), Some(limit)) => text
                    .rsplitn(limit.saturating_add(1), mark.as_str())
                    .collect(),
                (Some(mark), None) => text.rsplit(mark.as_str()).collect(),
                (None, _) => text.split_whitespace().rev().collect(),
            };
            parts.reverse();
            Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>())
        }),
        "index" | "rindex" => from_args(args).and_then(|(part,): (String,)| {
            let found = match method {
                "index" => text.find(&part),
                _ => text.rfind(&part),
            };
            found
                .map(|at| Value::from(count(&text[..at])))
                .ok_or_else(|| bad(format!("`{part}` is not in `{text}`")))
        }),
        "rfind" => from_args(args).map(|(part,): (String,)| match text.rfind(&part) {
            Some(at) => Value::from(count(&text[..at])),
            None => Value::from(-1),
        }),
        "swapcase" => Ok(Value::from(
            text.chars()
                .flat_map(|c| -> Vec<char> {
                    match c.is_uppercase() {
                        true => c.to_lowercase().collect(),
                        false => c.to_uppercase().collect(),
                    }
                })
                .collect::<String>(),
        )),
        "zfill" => from_args(args).and_then(|(width,): (usize,)| {
            let (sign, digits) = match text.starts_with(['+', '-']) {
                true => text.split_at(1),
                false => ("", text),
            };
            let width = width.saturating_sub(sign.len());
            let zeros = padded(digits, width, '0', |zeros| zeros)?;
            Ok(Value::from(format!("{sign}{zeros}")))
        }),
        "ljust" | "rjust" | "center" => {
            from_args(args).and_then(|(width, fill): (usize, Option<char>)| {
                let before: fn(usize) -> usize = match method {
                    "ljust" => |_| 0,
                    "rjust" => |blanks| blanks,
                    _ => |blanks| blanks / 2,
                };
                padded(text, width, fill.unwrap_or(' '), before).map(Value::from)
            })
        }
        "partition" | "rpartition" => from_args(args).map(|(mark,): (String,)| {
            let parts = match method {
                "partition" => text
                    .split_once(&mark)
                    .map_or([text, "", ""], |(head, tail)| [head, &mark, tail]),
                _ => text
                    .rsplit_once(&mark)
                    .map_or(["", "", text], |(head, tail)| [head, &mark, tail]),
            };
            Value::from(parts.map(Value::from).to_vec())
        }),
        "removeprefix" => from_args(args)
            .map(|(part,): (String,)| Value::from(text.strip_prefix(&part).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(part,): (String,)| Value::from(text.strip_suffix(&part).unwrap_or(text))),
        "casefold" => Ok(Value::from(text.to_lowercase())),
        "encode" | "decode" => Ok(Value::from(text)),
        _ => return None,
    })
}

fn of_list(list: &Value, method: &str, args: &[Value]) -> Outcome {
    match method {
        "index" => Some(from_args(args).and_then(|(item,): (Value,)| {
            list.try_iter()?
                .position(|other| other == item)
                .map(Value::from)
                .ok_or_else(|| bad(format!("{item} is not in the list")))
        })),
        // Lists do not change here: a role that appends in a loop writes `LIST + [item]`.
        "append" | "extend" | "insert" | "remove" | "pop" => Some(Err(bad(format!(
            "lists cannot be changed by `{method}`; write `{{% set x = x + [...] %}}`, or use a namespace"
        )))),
        _ => None,
    }
}

fn padded(
    text: &str,
    width: usize,
    fill: char,
    before: impl Fn(usize) -> usize,
) -> Result<String, Error> {
    if width > WIDTH_MAX {
        return Err(bad(format!("a width of {width} is too much")));
    }
    let blanks = width.saturating_sub(text.chars().count());
    let left = before(blanks);
    let run = |count: usize| fill.to_string().repeat(count);
    Ok(format!("{}{text}{}", run(left), run(blanks - left)))
}

/// Jinja2's `truncate(length=255, killwords=False, end='...', leeway=5)`.
fn truncate(text: Value, given: Rest<Value>, options: Kwargs) -> Result<String, Error> {
    let text = text.to_string();
    let (length, kill, end, leeway): (Option<usize>, Option<bool>, Option<String>, Option<usize>) =
        from_args(&given)?;
    let length = length.or(options.get("length")?).unwrap_or(255);
    let kill = kill.or(options.get("killwords")?).unwrap_or(false);
    let end = end
        .or(options.get("end")?)
        .unwrap_or_else(|| "...".to_owned());
    let leeway = leeway.or(options.get("leeway")?).unwrap_or(5);
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let keep = length.saturating_sub(end.chars().count());
    let head: String = text.chars().take(keep).collect();
    let head = match kill {
        true => head.as_str(),
        false => head
            .rsplit_once(' ')
            .map_or(head.as_str(), |(head, _)| head),
    };
    Ok(format!("{head}{end}"))
}

fn wordwrap(text: String, width: Option<usize>, options: Kwargs) -> Result<String, Error> {
    let width = width.or(options.get("width")?).unwrap_or(79).max(1);
    let mark = options
        .get::<Option<String>>("wrapstring")?
        .unwrap_or_else(|| "\n".to_owned());
    let _ = options.get::<Option<bool>>("break_long_words")?;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split_whitespace() {
            let longer = current.chars().count() + 1 + word.chars().count();
            if !current.is_empty() && longer > width {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    Ok(lines.join(&mark))
}

/// `dict(a=1)`, `dict([['a', 1]])`, `dict(mapping, b=2)`.
fn dict(_state: &State, value: Option<Value>, more: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(value) = value {
        let is_map = value.kind() == ValueKind::Map;
        for item in value.try_iter()? {
            pairs.push(match is_map {
                true => {
                    let inner = value.get_item(&item)?;
                    (item, inner)
                }
                false => (
                    item.get_item(&Value::from(0))?,
                    item.get_item(&Value::from(1))?,
                ),
            });
        }
    }
    for name in more.args() {
        pairs.push((Value::from(name), more.get::<Value>(name)?));
    }
    Ok(Value::from_pairs(pairs))
}
