//! Filters on text: encoding, regular expressions, paths, digests, and the conversions of single values.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use regex::{Regex, RegexBuilder};
use serde::Serialize;
use serde_json::Value as Json;
use sha2::Digest;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("bool", |value: Value| to_bool(&value));
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("b64encode", |text: String| STANDARD.encode(text));
    env.add_filter("b64decode", b64decode);
    env.add_filter("to_json", |value: Value, _options: Kwargs| {
        python_json(&value)
    });
    env.add_filter("to_nice_json", to_nice_json);
    env.add_filter("from_json", |text: String| parse_json(&text));
    env.add_filter("to_yaml", to_yaml);
    env.add_filter("to_nice_yaml", to_yaml);
    env.add_filter("from_yaml", from_yaml);
    env.add_filter("regex_replace", regex_replace);
    env.add_filter("regex_search", regex_search);
    env.add_filter("regex_findall", regex_findall);
    env.add_filter("regex_escape", |text: String| regex::escape(&text));
    env.add_filter("basename", |path: String| {
        path.rsplit('/').next().unwrap_or_default().to_owned()
    });
    env.add_filter("dirname", |path: String| match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((folder, _)) => folder.trim_end_matches('/').to_owned(),
        None => String::new(),
    });
    env.add_filter("splitext", splitext);
    env.add_filter("path_join", path_join);
    env.add_filter("quote", |value: Value| shell_quote(&value.to_string()));
    env.add_filter("hash", |text: String, algorithm: Option<String>| {
        digest(&text, algorithm.as_deref())
    });
    env.add_filter("checksum", |text: String| digest(&text, Some("sha1")));
    env.add_filter("sha1", |text: String| digest(&text, Some("sha1")));
    env.add_filter("md5", |text: String| digest(&text, Some("md5")));
    env.add_filter(
        "ternary",
        |value: Value, yes: Value, no: Value, none: Option<Value>| match (value.is_none(), none) {
            (true, Some(none)) => none,
            _ if value.is_true() => yes,
            _ => no,
        },
    );
    env.add_filter("mandatory", mandatory);
    env.add_filter("type_debug", |value: Value| python_type(&value));
    env.add_filter("to_uuid", to_uuid);
    env.add_filter("comment", comment);
    env.add_filter("human_readable", human_readable);
}

pub(super) fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

pub(super) fn json(value: &Value) -> Result<Json, Error> {
    serde_json::to_value(value).map_err(|error| bad(error.to_string()))
}

/// Ansible's `bool`: the words of YAML 1.1; anything else is false.
fn to_bool(value: &Value) -> Value {
    if value.is_none() {
        return Value::from(());
    }
    let word = value.to_string().to_ascii_lowercase();
    Value::from(matches!(
        word.as_str(),
        "yes" | "on" | "1" | "true" | "1.0" | "y" | "t"
    ))
}

/// Jinja's `int`: what is no number becomes `default` (0), never an error.
fn int(
    value: Value,
    default: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default = default
        .or(options.get("default")?)
        .unwrap_or_else(|| Value::from(0));
    let base = base.or(options.get("base")?).unwrap_or(10);
    let parsed = match value.kind() {
        ValueKind::Bool => Some(i64::from(value.is_true())),
        ValueKind::Number => value
            .as_i64()
            .or_else(|| f64::try_from(value).ok().map(|number| number as i64)),
        ValueKind::String => {
            let text = value.to_string().trim().replace('_', "");
            let digits = match base {
                16 => text.trim_start_matches("0x"),
                8 => text.trim_start_matches("0o"),
                2 => text.trim_start_matches("0b"),
                _ => &text,
            };
            let whole = if (2..=36).contains(&base) {
                i64::from_str_radix(digits, base).ok()
            } else {
                None
            };
            whole.or_else(|| {
                text.parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite())
                    .map(|number| number as i64)
            })
        }
        _ => None,
    };
    Ok(parsed.map_or(default, Value::from))
}

fn float(value: Value, default: Option<f64>) -> f64 {
    let number = match value.kind() {
        ValueKind::String => value.to_string().trim().parse().ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        _ => f64::try_from(value).ok(),
    };
    number.or(default).unwrap_or(0.0)
}

fn b64decode(text: String) -> Result<String, Error> {
    let packed: String = text.split_whitespace().collect();
    let bytes = STANDARD
        .decode(packed)
        .map_err(|error| bad(format!("not base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| bad("the decoded bytes are no UTF-8 text"))
}

/// JSON with a space after colon and comma, as Python writes it.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

fn python_json(value: &Value) -> Result<String, Error> {
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, PythonFormatter);
    json(value)?
        .serialize(&mut writer)
        .map_err(|error| bad(error.to_string()))?;
    String::from_utf8(out).map_err(|error| bad(error.to_string()))
}

fn to_nice_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent = " ".repeat(options.get::<Option<usize>>("indent")?.unwrap_or(4).min(16));
    let mut value = json(&value)?;
    if options.get::<Option<bool>>("sort_keys")?.unwrap_or(true) {
        sort_keys(&mut value);
    }
    let mut out = Vec::new();
    let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
    value
        .serialize(&mut writer)
        .map_err(|error| bad(error.to_string()))?;
    String::from_utf8(out).map_err(|error| bad(error.to_string()))
}

fn sort_keys(value: &mut Json) {
    match value {
        Json::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort_keys);
        }
        Json::Array(items) => items.iter_mut().for_each(sort_keys),
        _ => {}
    }
}

fn parse_json(text: &str) -> Result<Value, Error> {
    let value: Json =
        serde_json::from_str(text).map_err(|error| bad(format!("not JSON: {error}")))?;
    Ok(Value::from(minijinja::value::Serde(value)))
}

fn to_yaml(value: Value, _options: Kwargs) -> Result<String, Error> {
    let mut value = json(&value)?;
    sort_keys(&mut value);
    serde_yaml::to_string(&value).map_err(|error| bad(error.to_string()))
}

fn from_yaml(text: String) -> Result<Value, Error> {
    let document: Json =
        serde_yaml::from_str(&text).map_err(|fault| bad(format!("not YAML: {fault}")))?;
    Ok(Value::from(minijinja::value::Serde(document)))
}

fn regex(pattern: &str, options: &Kwargs) -> Result<Regex, Error> {
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

/// Python's `\1` and `\g<name>` in this library's spelling.
fn replacement(python: &str) -> String {
    let mut out = String::with_capacity(python.len());
    let mut rest = python.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek().copied()) {
            ('$', _) => out.push_str("$$"),
            ('\\', Some('g')) => {
                rest.next();
                let name: String = rest
                    .by_ref()
                    .skip_while(|&c| c == '<')
                    .take_while(|&c| c != '>')
                    .collect();
                out.push_str(&format!("${{{name}}}"));
            }
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                out.push_str("${");
                while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                    out.push(digit);
                }
                out.push('}');
            }
            ('\\', Some('\\')) => {
                rest.next();
                out.push('\\');
            }
            _ => out.push(c),
        }
    }
    out
}

fn regex_replace(
    value: Value,
    pattern: String,
    with: Option<String>,
    options: Kwargs,
) -> Result<String, Error> {
    let with = replacement(&with.or(options.get("replacement")?).unwrap_or_default());
    let limit = options.get::<Option<usize>>("count")?.unwrap_or(0);
    Ok(regex(&pattern, &options)?
        .replacen(&value.to_string(), limit, with)
        .into_owned())
}

/// The whole match, or the groups asked for as `'\\1'`, `'\\g<name>'`; none when nothing matches.
fn regex_search(
    value: Value,
    pattern: String,
    groups: minijinja::value::Rest<String>,
    options: Kwargs,
) -> Result<Value, Error> {
    let text = value.to_string();
    let regex = regex(&pattern, &options)?;
    let Some(found) = regex.captures(&text) else {
        return Ok(Value::from(()));
    };
    if groups.is_empty() {
        return Ok(Value::from(&found[0]));
    }
    let mut out = Vec::new();
    for group in groups.iter() {
        let name = group
            .trim_start_matches(['\\', 'g', '<'])
            .trim_end_matches('>');
        let part = match name.parse::<usize>() {
            Ok(number) => found.get(number),
            Err(_) => found.name(name),
        };
        out.push(part.map_or(Value::from(()), |part| Value::from(part.as_str())));
    }
    Ok(Value::from(out))
}

fn regex_findall(value: Value, pattern: String, options: Kwargs) -> Result<Value, Error> {
    let regex = regex(&pattern, &options)?;
    let text = value.to_string();
    let all = regex.captures_iter(&text).map(|found| match found.len() {
        1 => Value::from(&found[0]),
        2 => Value::from(found.get(1).map_or("", |part| part.as_str())),
        _ => found
            .iter()
            .skip(1)
            .map(|part| Value::from(part.map_or("", |part| part.as_str())))
            .collect::<Vec<_>>()
            .into(),
    });
    Ok(all.collect::<Vec<Value>>().into())
}

fn splitext(path: String) -> Vec<String> {
    let from = path.rfind('/').map_or(0, |at| at + 1);
    match path[from..].rfind('.') {
        Some(dot) if dot > 0 => vec![path[..from + dot].to_owned(), path[from + dot..].to_owned()],
        _ => vec![path, String::new()],
    }
}

fn path_join(parts: Value) -> Result<String, Error> {
    if parts.as_str().is_some() {
        return Ok(parts.to_string());
    }
    let mut out = std::path::PathBuf::new();
    for part in parts.try_iter()? {
        out.push(part.to_string());
    }
    Ok(out.to_string_lossy().into_owned())
}

fn shell_quote(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

fn digest(text: &str, algorithm: Option<&str>) -> Result<String, Error> {
    Ok(match algorithm.unwrap_or("sha1") {
        "sha1" => hex::encode(sha1::Sha1::digest(text)),
        "sha256" => hex::encode(sha2::Sha256::digest(text)),
        "sha384" => hex::encode(sha2::Sha384::digest(text)),
        "sha512" => hex::encode(sha2::Sha512::digest(text)),
        "md5" => hex::encode(md5::Md5::digest(text)),
        other => {
            return Err(bad(format!(
                "unknown digest `{other}`; known: md5, sha1, sha256, sha384, sha512"
            )));
        }
    })
}

fn mandatory(value: Value, options: Kwargs) -> Result<Value, Error> {
    if !value.is_undefined() {
        return Ok(value);
    }
    match options.get::<Option<String>>("msg")? {
        Some(message) => Err(Error::new(ErrorKind::UndefinedError, message)),
        None => Err(Error::new(
            ErrorKind::UndefinedError,
            "mandatory variable is not defined",
        )),
    }
}

fn python_type(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Map => "dict",
        ValueKind::Undefined => "AnsibleUndefined",
        _ => "list",
    }
}

/// The name space that Ansible uses for its version 5 UUIDs.
const UUID_NAMESPACE: uuid::Uuid = uuid::uuid!("361e6d51-faec-444a-9079-341386da8e2e");

fn to_uuid(text: String) -> String {
    uuid::Uuid::new_v5(&UUID_NAMESPACE, text.as_bytes()).to_string()
}

fn comment(text: String, style: Option<String>) -> Result<String, Error> {
    let mark = match style.as_deref().unwrap_or("plain") {
        "plain" => "#",
        "erlang" => "%",
        "c" => "//",
        other => {
            return Err(bad(format!(
                "unknown comment style `{other}`; known: plain, erlang, c"
            )));
        }
    };
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("{mark} {line}").trim_end().to_owned())
        .collect();
    Ok(format!("{mark}\n{}\n{mark}", lines.join("\n")))
}

fn human_readable(bytes: f64) -> String {
    let mut size = bytes;
    for unit in ["Bytes", "KB", "MB", "GB", "TB"] {
        if size < 1024.0 {
            return format!("{size:.2} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.2} PB")
}
