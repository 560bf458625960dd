//! Filters on text: encoding, JSON and YAML, digests, and the conversions of single values. Regular expressions, paths,
//! numbers and password hashes have files of their own.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::Value as Json;
use sha2::Digest;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("bool", |value: Value| to_bool(&value));
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("b64encode", |text: Value, _options: Kwargs| {
        STANDARD.encode(text.to_string())
    });
    env.add_filter("b64decode", b64decode);
    env.add_filter("to_json", to_json);
    env.add_filter("to_nice_json", to_nice_json);
    env.add_filter("from_json", |text: Value, _options: Kwargs| {
        parse_json(&text.to_string())
    });
    env.add_filter("to_yaml", |value: Value, options: Kwargs| {
        to_yaml(&value, &options, None, 2)
    });
    env.add_filter("to_nice_yaml", |value: Value, options: Kwargs| {
        to_yaml(&value, &options, Some(false), 4)
    });
    env.add_filter("from_yaml", |text: Value| {
        let mut all = from_yaml(&text)?;
        match all.len() {
            0 => Ok(Value::from(())),
            1 => Ok(all.remove(0)),
            _ => Err(bad("not YAML: more than one document, see `from_yaml_all`")),
        }
    });
    env.add_filter("from_yaml_all", |text: Value| {
        from_yaml(&text).map(Value::from)
    });
    env.add_filter("ansible_string", |value: Value| value.to_string());
    env.add_filter("quote", |value: Value| shell_quote(&value.to_string()));
    env.add_filter("hash", |text: Value, algorithm: Option<String>| {
        digest(&text.to_string(), algorithm.as_deref())
    });
    for (name, algorithm) in [("checksum", "sha1"), ("sha1", "sha1"), ("md5", "md5")] {
        env.add_filter(name, move |text: Value| {
            digest(&text.to_string(), Some(algorithm))
        });
    }
    env.add_filter(
        "ternary",
        |value: Value, yes: Value, no: Value, none: Option<Value>, options: Kwargs| {
            let none = none.or(options.get("none_val")?);
            Ok::<_, Error>(match (value.is_none(), none) {
                (true, Some(none)) => none,
                _ if value.is_true() => yes,
                _ => no,
            })
        },
    );
    env.add_filter("mandatory", mandatory);
    env.add_filter("type_debug", |value: Value| python_type(&value));
    env.add_filter("to_uuid", to_uuid);
    env.add_filter("comment", comment);
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

fn b64decode(text: Value, _options: Kwargs) -> Result<String, Error> {
    let packed: String = text.to_string().split_whitespace().collect();
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

/// `to_json(indent=2, sort_keys=true, separators=(',', ':'))`.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let mut data = json(&value)?;
    if options.get::<Option<bool>>("sort_keys")?.unwrap_or(false) {
        sort_keys(&mut data);
    }
    let compact = match options.get::<Option<Value>>("separators")? {
        Some(marks) => marks.get_item(&Value::from(1))?.to_string() == ":",
        None => false,
    };
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(true);
    let text = match options.get::<Option<usize>>("indent")? {
        Some(indent) => pretty(&data, indent)?,
        None if compact => data.to_string(),
        None => python_json(&data)?,
    };
    Ok(if ascii { escape_json(&text) } else { text })
}

/// As Python writes it: what is not ASCII as `\\uXXXX`.
fn escape_json(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn python_json(value: &Json) -> Result<String, Error> {
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, PythonFormatter);
    value
        .serialize(&mut writer)
        .map_err(|error| bad(error.to_string()))?;
    String::from_utf8(out).map_err(|error| bad(error.to_string()))
}

fn to_nice_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent = options.get::<Option<usize>>("indent")?.unwrap_or(4);
    let mut value = json(&value)?;
    if options.get::<Option<bool>>("sort_keys")?.unwrap_or(true) {
        sort_keys(&mut value);
    }
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(true);
    let text = pretty(&value, indent)?;
    Ok(if ascii { escape_json(&text) } else { text })
}

fn pretty(value: &Json, indent: usize) -> Result<String, Error> {
    let indent = " ".repeat(indent.min(16));
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

fn to_yaml(
    value: &Value,
    options: &Kwargs,
    flow: Option<bool>,
    indent: usize,
) -> Result<String, Error> {
    let style = super::yaml::Style {
        indent: options
            .get::<Option<usize>>("indent")?
            .unwrap_or(indent)
            .clamp(2, 9),
        flow: options.get::<Option<bool>>("default_flow_style")?.or(flow),
        width: options.get::<Option<usize>>("width")?.unwrap_or(80),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(true),
    };
    let mut out = String::new();
    if options
        .get::<Option<bool>>("explicit_start")?
        .unwrap_or(false)
    {
        out.push_str("---\n");
    }
    out.push_str(&super::yaml::write(&json(value)?, &style));
    Ok(out)
}

/// Read as everything else that people write: YAML 1.1.
fn from_yaml(text: &Value) -> Result<Vec<Value>, Error> {
    let documents = yaml_source::parse_all("text", &text.to_string())
        .map_err(|faults| bad(format!("not YAML: {}", faults.to_string().trim())))?;
    Ok(documents
        .iter()
        .map(|document| Value::from(minijinja::value::Serde(document.root.to_json())))
        .collect())
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
        "sha224" => hex::encode(sha2::Sha224::digest(text)),
        "sha256" => hex::encode(sha2::Sha256::digest(text)),
        "sha384" => hex::encode(sha2::Sha384::digest(text)),
        "sha512" => hex::encode(sha2::Sha512::digest(text)),
        "md5" => hex::encode(md5::Md5::digest(text)),
        other => {
            return Err(bad(format!(
                "unknown digest `{other}`; known: md5, sha1, sha224, sha256, sha384, sha512"
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

/// `comment('c')`, `comment(decoration='! ', prefix=..., postfix=..., newline=...)`: Ansible's five styles.
fn comment(text: Value, style: Option<String>, options: Kwargs) -> Result<String, Error> {
    let text = text.to_string();
    let style = style.or(options.get("style")?);
    let (beginning, standard, end) = match style.as_deref().unwrap_or("plain") {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        other => {
            return Err(bad(format!(
                "unknown comment style `{other}`; known: plain, erlang, c, cblock, xml"
            )));
        }
    };
    let option = |name: &str| options.get::<Option<String>>(name);
    let newline = option("newline")?.unwrap_or_else(|| "\n".to_owned());
    let decoration = option("decoration")?.unwrap_or_else(|| standard.to_owned());
    let beginning = option("beginning")?.unwrap_or_else(|| beginning.to_owned());
    let end = option("end")?.unwrap_or_else(|| end.to_owned());
    let bare = decoration.trim_end().to_owned();
    let prefix = option("prefix")?.unwrap_or_else(|| bare.clone());
    let postfix = option("postfix")?.unwrap_or(bare);
    let count = |name: &str| {
        options
            .get::<Option<usize>>(name)
            .map(|count| count.unwrap_or(1).min(100))
    };
    let (before, after) = (count("prefix_count")?, count("postfix_count")?);
    let mut out = String::new();
    if !beginning.is_empty() {
        out.push_str(&beginning);
        out.push_str(&newline);
    }
    if !prefix.is_empty() {
        out.push_str(&format!("{prefix}{newline}").repeat(before));
    }
    let lines: Vec<String> = text
        .split(newline.as_str())
        .map(|line| format!("{decoration}{line}").trim_end().to_owned())
        .collect();
    out.push_str(&lines.join(&newline));
    if !postfix.is_empty() {
        out.push_str(&format!("{newline}{postfix}").repeat(after));
    }
    if !end.is_empty() {
        out.push_str(&newline);
        out.push_str(&end);
    }
    Ok(out)
}

/// A number as Python writes it.
pub(super) fn python_number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if !number.is_i64() && !number.is_u64() => python_float(value),
        _ => number.to_string(),
    }
}

/// Python's `repr`: the shortest digits, an exponent beyond 16 digits.
fn python_float(value: f64) -> String {
    let plain = format!("{value}");
    let exponent = format!("{value:e}");
    let power: i32 = exponent
        .split_once('e')
        .and_then(|(_, power)| power.parse().ok())
        .unwrap_or(0);
    if value == 0.0 || (-5..16).contains(&power) {
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let digits = exponent.split('e').next().unwrap_or_default();
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}
