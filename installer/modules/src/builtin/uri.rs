//! `uri`: a call of an HTTP server. Headers, body and credentials that are sent are in no result.
use std::io::Write;

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::attributes::{Attributes, with_file};
use crate::context::{Context, Fault, With, changed};
use crate::http::{self, without_credentials};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{finish, temporary_beside};

pub const URI: Module = Module::new(
    "uri",
    "Call an HTTP or HTTPS server",
    Effect::Once,
    ARGS,
    run,
)
.file_args()
.exclusive(&[&["body", "src"]])
.reads_if(only_reads);

const ARGS: &[Arg] = &[
    http::URL,
    Arg::new("method", Kind::Text, "in capitals").default("GET"),
    Arg::new("body", Kind::Any, "what is sent"),
    Arg::new("body_format", Kind::Text, "how the body is written")
        .choices(&["raw", "json", "form-urlencoded"])
        .default("raw"),
    Arg::new(
        "src",
        Kind::Path,
        "file that is sent; it must lie on the node",
    ),
    Arg::new("remote_src", Kind::Flag, "src lies on the node").default("false"),
    Arg::new("dest", Kind::Path, "file or folder that takes the answer"),
    Arg::new("status_code", Kind::List, "what is success").default("200"),
    Arg::new("return_content", Kind::Flag, "answer with the body").default("false"),
    Arg::new("follow_redirects", Kind::Text, "safe: of GET and HEAD")
        .choices(&[
            "all", "no", "none", "safe", "urllib2", "yes", "True", "False", "true", "false",
        ])
        .default("safe"),
    Arg::new("creates", Kind::Path, "do nothing if this is there"),
    Arg::new("removes", Kind::Path, "do nothing if this is not there"),
    Arg::new(
        "timeout",
        Kind::Int,
        "seconds without a byte before giving up",
    )
    .default("30"),
    Arg::new("force", Kind::Flag, "ask caches on the way not to answer").default("false"),
    http::HEADERS,
    http::VALIDATE_CERTS,
    http::CA_PATH,
    http::CLIENT_CERT,
    http::CLIENT_KEY,
    http::USE_PROXY,
    http::URL_USERNAME,
    http::URL_PASSWORD,
    http::FORCE_BASIC_AUTH,
    http::HTTP_AGENT,
    http::UNREDIRECTED_HEADERS,
    http::USE_GSSAPI,
    http::USE_NETRC,
    Arg::new(
        "decompress",
        Kind::Flag,
        "accepted for compatibility: nothing comes packed",
    )
    .default("true"),
    Arg::new("ciphers", Kind::List, "accepted for compatibility"),
];

/// A result has to fit into one frame.
const CONTENT_BYTES_MAX: u64 = 8 << 20;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let method = args.need("method").to_ascii_uppercase();
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(Fault::new(format!("`{method}` is no HTTP method")));
    }
    let statuses = statuses(args)?;
    for (name, there, word) in [
        ("creates", true, "exists"),
        ("removes", false, "does not exist"),
    ] {
        if let Some(path) = args.text(name)
            && context.path(path).exists() == there
        {
            return Ok(TaskResult {
                msg: format!("skipped, since '{path}' {word}"),
                ..changed(false)
            });
        }
    }
    let (body, content_type) = body(context, args)?;
    if context.check {
        return Ok(TaskResult {
            skipped: true,
            msg: "nothing is called in check mode".into(),
            ..changed(false)
        });
    }
    let mut headers = Vec::new();
    if let Some(kind) = content_type {
        headers.push(("Content-Type".to_owned(), kind.to_owned()));
    }
    if args.flag("force") {
        headers.push(("Cache-Control".into(), "no-cache".into()));
    }
    let follow = match args.need("follow_redirects") {
        "all" | "yes" | "True" | "true" => true,
        "safe" | "urllib2" => matches!(method.as_str(), "GET" | "HEAD"),
        _ => false,
    };
    let started = std::time::Instant::now();
    let request = http::Request {
        method: &method,
        body,
        headers,
        follow,
    };
    let answer = match http::call(context, args, request) {
        Ok(answer) => answer,
        Err(Fault::Message(msg)) => {
            // Ansible's status of no answer at all: `until: it.status == 200` waits on it.
            let data = [
                ("status", Value::from(-1)),
                ("url", without_credentials(args.need("url")).0.into()),
                ("elapsed", started.elapsed().as_secs().into()),
                ("redirected", false.into()),
            ];
            let msg = format!("Status code was -1 and not {statuses:?}: {msg}");
            return Err(Fault::WithData {
                msg,
                data: Map::from_iter(data.map(|(key, value)| (key.to_owned(), value))),
            });
        }
        Err(other) => return Err(other),
    };
    let mut result = changed(false)
        .with("status", answer.status)
        .with("url", answer.url.as_str())
        .with("redirected", answer.redirected);
    for (name, value) in header_fields(&answer.headers) {
        result = result.with(&name, value);
    }
    let (cookies, cookies_string) = cookies(&answer.headers);
    result = result
        .with("cookies", cookies)
        .with("cookies_string", cookies_string);
    let kind = answer
        .headers
        .iter()
        .find(|(name, _)| name == "content-type")
        .map_or("", |(_, value)| value.as_str())
        .to_ascii_lowercase();
    let good = statuses.contains(&i64::from(answer.status));
    let said = format!("{} ", answer.status) + &answer.reason;
    let unreadable = |error: &dyn std::fmt::Display| {
        let url = without_credentials(args.need("url")).0;
        Fault::new(format!("Request failed: {url}: {error}"))
    };
    let mut text = None;
    if let (Some(dest), true) = (args.text("dest"), good) {
        let name = name_of_answer(&answer.url);
        let dest = match context.path(dest).is_dir() {
            true => format!("{}/{name}", dest.trim_end_matches('/')),
            false => dest.to_owned(),
        };
        let path = context.path(&dest);
        let attributes = Attributes::of(context, args)?;
        let io = || Fault::io(format!("write {dest}"));
        let (temporary, mut file) = temporary_beside(&path).map_err(io())?;
        std::io::copy(&mut answer.body.into_reader(), &mut file)
            .map_err(|error| unreadable(&error))?;
        file.flush().map_err(io())?;
        finish(&file, &path, &attributes).map_err(io())?;
        let same = std::fs::read(&path)
            .is_ok_and(|now| std::fs::read(temporary.path()).is_ok_and(|new| new == now));
        if !same {
            temporary.replace(&path).map_err(io())?;
        }
        result.changed = !same | attributes.apply(context, &path)?;
        result = with_file(context, result.with("path", dest.as_str()), &path);
    } else {
        let mut body = answer.body;
        let bytes = body
            .with_config()
            .limit(CONTENT_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| unreadable(&error))?;
        text = Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    if let Some(text) = text {
        let is_json = kind.contains("json") || kind.contains("+json");
        if let Some(json) = is_json
            .then(|| serde_json::from_str::<Value>(&text).ok())
            .flatten()
        {
            result = result.with("json", json);
        }
        result = result.with("msg_bytes", text.len());
        if args.flag("return_content") || !good {
            result = result.with("content", text);
        }
    }
    let length = result.data.remove("msg_bytes").unwrap_or("unknown".into());
    result = result.with("elapsed", started.elapsed().as_secs());
    if !good {
        return Ok(TaskResult {
            failed: true,
            msg: format!("Status code was {said} and not {statuses:?}"),
            ..result
        });
    }
    result.msg = format!("OK ({length} bytes)");
    Ok(result)
}

/// A question may be asked again after an interruption; what it answers is kept nowhere.
fn only_reads(args: &Map<String, Value>) -> bool {
    let method = args.get("method").and_then(Value::as_str).unwrap_or("GET");
    matches!(
        method.to_ascii_uppercase().as_str(),
        "GET" | "HEAD" | "OPTIONS"
    ) && !args.contains_key("dest")
}

fn statuses(args: &Args) -> Result<Vec<i64>, Fault> {
    args.list("status_code")
        .unwrap_or_default()
        .into_iter()
        .map(|text| {
            text.trim()
                .parse()
                .map_err(|_| Fault::new(format!("status_code `{text}` is no number")))
        })
        .collect()
}

/// The bytes to send, and what kind they are if the user did not say so in `headers`.
fn body(
    context: &Context<'_>,
    args: &Args,
) -> Result<(Option<Vec<u8>>, Option<&'static str>), Fault> {
    if let Some(src) = args.text("src") {
        if !args.flag("remote_src") {
            return Err(Fault::new(
                "uri sends files that lie on the node: copy it first and say remote_src=true",
            ));
        }
        let bytes = std::fs::read(context.path(src)).map_err(Fault::io(format!("read {src}")))?;
        return Ok((Some(bytes), None));
    }
    let Some(body) = args.value("body") else {
        return Ok((None, None));
    };
    Ok(match (args.need("body_format"), body) {
        ("json", Value::String(text)) => (Some(json_text(text)), Some("application/json")),
        ("json", value) => (
            Some(value.to_string().into_bytes()),
            Some("application/json"),
        ),
        ("form-urlencoded", value) => (
            Some(form(value)?.into_bytes()),
            Some("application/x-www-form-urlencoded"),
        ),
        (_, Value::String(text)) => (Some(text.clone().into_bytes()), None),
        (_, value) => (Some(value.to_string().into_bytes()), None),
    })
}

/// A text is sent as it is if it is JSON already, else as a JSON text.
fn json_text(text: &str) -> Vec<u8> {
    match serde_json::from_str::<Value>(text) {
        Ok(_) => text.as_bytes().to_vec(),
        Err(_) => Value::from(text).to_string().into_bytes(),
    }
}

fn form(value: &Value) -> Result<String, Fault> {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::Array(items) => {
                        pairs.extend(items.iter().map(|item| (name.clone(), plain(item))));
                    }
                    value => pairs.push((name.clone(), plain(value))),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match item.as_array().map(Vec::as_slice) {
                    Some([name, value]) => pairs.push((plain(name), plain(value))),
                    _ => return Err(Fault::new("body of a form must be a list of pairs")),
                }
            }
        }
        _ => return Err(Fault::new("body of a form must be a mapping")),
    }
    Ok(pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect::<Vec<_>>()
        .join("&"))
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Headers as fields of the result: `content_type`, `location`, ...; one that comes twice is joined.
fn header_fields(headers: &[(String, String)]) -> Map<String, Value> {
    let mut out: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let name = name.replace('-', "_");
        let joined = match out.get(&name).and_then(Value::as_str) {
            Some(first) => format!("{first}, {value}"),
            None => value.clone(),
        };
        out.insert(name, joined.into());
    }
    for reserved in ["status", "url", "redirected", "msg", "changed", "failed"] {
        out.remove(reserved);
    }
    out
}

fn cookies(headers: &[(String, String)]) -> (Map<String, Value>, String) {
    let mut out = Map::new();
    for (_, value) in headers.iter().filter(|(name, _)| name == "set-cookie") {
        let pair = value.split(';').next().unwrap_or_default();
        if let Some((name, value)) = pair.split_once('=') {
            out.insert(name.trim().to_owned(), value.trim().into());
        }
    }
    let text = out
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join("; ");
    (out, text)
}

fn name_of_answer(url: &str) -> &str {
    url.split(['?', '#'])
        .next()
        .and_then(|path| path.rsplit('/').next())
        .filter(|name| !name.is_empty())
        .unwrap_or("index.html")
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use crate::http::testing::{certificate, reply, serve, serve_tls};
    use serde_json::json;

    /// Says what it was asked, so that tests can see it.
    fn echo() -> String {
        serve(|seen| {
            if seen.line.contains("/moved") {
                return reply("302 Found", &["Location: /there"], b"");
            }
            let kind = seen.headers.iter().find_map(|header| {
                header
                    .to_lowercase()
                    .strip_prefix("content-type: ")
                    .map(str::to_owned)
            });
            let said = json!({"line": seen.line, "kind": kind, "body": String::from_utf8_lossy(&seen.body)});
            let status = if seen.line.contains("/none") {
                "404 Not Found"
            } else {
                "200 OK"
            };
            reply(
                status,
                &[
                    "Content-Type: application/json",
                    "Set-Cookie: a=b; Path=/",
                    "X-One: 1",
                ],
                said.to_string().as_bytes(),
            )
        })
    }

    #[test]
    fn calls_are_answered_by_ansibles_names() {
        let bench = Bench::new();
        let url = echo();
        let got = bench.run(
            "uri",
            json!({"url": format!("{url}/x"), "return_content": true}),
        );
        assert!(!got.changed && !got.failed, "{got:?}");
        assert_eq!(got.data["json"]["line"], "GET /x HTTP/1.1");
        assert_eq!(
            (
                &got.data["status"],
                &got.data["cookies"]["a"],
                &got.data["x_one"],
                &got.data["content_type"]
            ),
            (
                &json!(200),
                &json!("b"),
                &json!("1"),
                &json!("application/json")
            )
        );
        assert!(got.data["content"].as_str().unwrap().contains("GET /x"));
        let posted = bench.run(
            "uri",
            json!({"url": url, "method": "post", "body_format": "json", "body": {"a": [1, "b"]}}),
        );
        assert_eq!(posted.data["json"]["body"], "{\"a\":[1,\"b\"]}");
        assert_eq!(posted.data["json"]["kind"], "application/json");
        assert!(!posted.data.contains_key("content"));
        let form = bench.run(
            "uri",
            json!({"url": url, "method": "PUT", "body_format": "form-urlencoded", "body": {"a b": "c&d", "e": ["f", "g"]}}),
        );
        assert_eq!(form.data["json"]["body"], "a+b=c%26d&e=f&e=g");
        let deleted = bench.run("uri", json!({"url": url, "method": "DELETE", "body": "x"}));
        assert_eq!(deleted.data["json"]["body"], "x");
        let head = bench.run("uri", json!({"url": url, "method": "HEAD"}));
        assert!(!head.failed, "{head:?}");
    }

    #[test]
    fn a_status_that_was_not_expected_is_a_failure() {
        let bench = Bench::new();
        let url = echo();
        let none = bench.run("uri", json!({"url": format!("{url}/none")}));
        assert!(none.failed && none.data["status"] == 404, "{none:?}");
        assert_eq!(none.msg, "Status code was 404 Not Found and not [200]");
        let wanted = json!({"url": format!("{url}/none"), "status_code": [200, 404]});
        assert!(!bench.run("uri", wanted).failed);
        let moved = bench.run("uri", json!({"url": format!("{url}/moved")}));
        assert_eq!(
            (&moved.data["redirected"], &moved.data["url"]),
            (&json!(true), &json!(format!("{url}/there")))
        );
        let stays =
            json!({"url": format!("{url}/moved"), "follow_redirects": "none", "status_code": 302});
        let stays = bench.run("uri", stays);
        assert_eq!(stays.data["location"], "/there", "{stays:?}");
        let nobody = bench.run("uri", json!({"url": "http://127.0.0.1:1/", "timeout": 5}));
        assert!(nobody.failed && nobody.data["status"] == -1, "{nobody:?}");
        assert!(bench.run("uri", json!({"url": "ftp://x"})).failed);
        let module = crate::find("uri").unwrap();
        let effect = |args: serde_json::Value| module.effect_of(args.as_object().unwrap());
        assert_eq!(effect(json!({"url": "x"})), crate::Effect::Reads);
        assert_eq!(
            effect(json!({"url": "x", "method": "POST"})),
            crate::Effect::Once
        );
        assert_eq!(
            effect(json!({"url": "x", "dest": "/y"})),
            crate::Effect::Once
        );
    }

    #[test]
    fn an_answer_becomes_a_file_once() {
        let bench = Bench::new();
        let url = serve(|_| reply("200 OK", &[], b"text"));
        bench.write("/srv/keep", "");
        let args = json!({"url": format!("{url}/name.txt"), "dest": "/srv", "mode": "0600"});
        assert!(bench.run("uri", args.clone()).changed);
        assert_eq!(bench.read("/srv/name.txt"), "text");
        assert!(!bench.run("uri", args).changed);
        let spared = bench.run(
            "uri",
            json!({"url": "http://127.0.0.1:1/", "creates": "/srv/name.txt"}),
        );
        assert!(!spared.failed && !spared.changed, "{spared:?}");
    }

    #[test]
    fn tls_and_secrets() {
        let bench = Bench::new();
        let Some((cert, key)) = certificate(&bench.path("/tls")) else {
            return;
        };
        let url = serve_tls(&cert, &key, |seen| {
            let known = seen
                .headers
                .iter()
                .any(|h| h.to_lowercase().starts_with("authorization: basic"));
            let token = seen
                .headers
                .iter()
                .any(|h| h.eq_ignore_ascii_case("x-token: s3cret"));
            reply(
                if known && token {
                    "200 OK"
                } else {
                    "403 Forbidden"
                },
                &[],
                b"in",
            )
        });
        let host = url.trim_start_matches("https://");
        let args = json!({"url": format!("https://me:s3cret@{host}/"), "headers": {"X-Token": "s3cret"}, "ca_path": "/tls/cert.pem", "timeout": 60});
        let result = bench.run("uri", args.clone());
        assert!(!result.failed, "{result:?}");
        assert!(!format!("{result:?}").contains("s3cret"), "{result:?}");
        let mut args = args;
        args["ca_path"] = json!("/none.pem");
        let refused = bench.run("uri", args);
        assert!(
            refused.failed && !format!("{refused:?}").contains("s3cret"),
            "{refused:?}"
        );
    }
}
