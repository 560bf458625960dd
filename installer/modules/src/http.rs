//! HTTP for `get_url` and `uri`: TLS by the node's own authorities, proxies of the task's environment, and
//! redirects that never leave TLS.
//!
//! The agent is static and has no Python: `rustls` speaks TLS, the authorities are those of Debian's
//! `ca-certificates`. Results and messages bear addresses without the credentials in them.
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, Proxy};

use crate::args::Args;
use crate::context::{Context, Fault};
use crate::spec::{Arg, Kind};

/// Debian's bundle of authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const REDIRECTS_MAX: u32 = 10;

pub const URL: Arg = Arg::new("url", Kind::Text, "http:// or https:// address").required();
pub const VALIDATE_CERTS: Arg = Arg::new(
    "validate_certs",
    Kind::Flag,
    "refuse a server that no authority vouches for",
)
.default("true");
pub const CA_PATH: Arg = Arg::new(
    "ca_path",
    Kind::Path,
    "PEM file of authorities, instead of the system's",
);
pub const CLIENT_CERT: Arg = Arg::new(
    "client_cert",
    Kind::Path,
    "PEM file of our certificate, and perhaps its key",
);
pub const CLIENT_KEY: Arg = Arg::new("client_key", Kind::Path, "PEM file of that key");
pub const USE_PROXY: Arg = Arg::new(
    "use_proxy",
    Kind::Flag,
    "go through the proxy that the environment names",
)
.default("true");
pub const URL_USERNAME: Arg =
    Arg::new("url_username", Kind::Text, "who we are").aliases(&["user", "username"]);
pub const URL_PASSWORD: Arg =
    Arg::new("url_password", Kind::Text, "that account's password").aliases(&["password"]);
pub const FORCE_BASIC_AUTH: Arg = Arg::new(
    "force_basic_auth",
    Kind::Flag,
    "accepted for compatibility: credentials go out at once",
)
.default("false");
pub const HTTP_AGENT: Arg =
    Arg::new("http_agent", Kind::Text, "what we call ourselves").default("ansible-httpget");
pub const HEADERS: Arg = Arg::new("headers", Kind::Map, "request headers");
pub const UNREDIRECTED_HEADERS: Arg = Arg::new(
    "unredirected_headers",
    Kind::List,
    "accepted for compatibility",
);
pub const USE_GSSAPI: Arg =
    Arg::new("use_gssapi", Kind::Text, "Kerberos is not spoken").choices(&["False", "false", "no"]);
pub const USE_NETRC: Arg = Arg::new(
    "use_netrc",
    Kind::Flag,
    "accepted for compatibility: ~/.netrc is not read",
)
.default("true");

/// One request.
pub struct Request<'a> {
    pub method: &'a str,
    pub body: Option<Vec<u8>>,
    /// Beside those of the argument `headers`.
    pub headers: Vec<(String, String)>,
    pub follow: bool,
}

/// What the server said; the body is not read yet.
pub struct Answer {
    pub status: u16,
    pub reason: String,
    /// Where the last redirect led.
    pub url: String,
    pub redirected: bool,
    /// Names in lower case, as often as they came.
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// Makes the request that the arguments describe. Every status is an answer; what gives none is an error.
pub fn call(context: &Context<'_>, args: &Args, request: Request<'_>) -> Result<Answer, Fault> {
    call_at(context, args, args.need("url"), request)
}

fn call_at(
    context: &Context<'_>,
    args: &Args,
    url: &str,
    request: Request<'_>,
) -> Result<Answer, Fault> {
    let (url, credentials) = without_credentials(url);
    let secure = url.starts_with("https://");
    if !secure && !url.starts_with("http://") {
        return Err(Fault::new(format!(
            "url must begin with http:// or https://, got: {url}"
        )));
    }
    let patience = Duration::from_secs(args.int("timeout").unwrap_or(30).clamp(1, 3600) as u64);
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .save_redirect_history(true)
        .max_redirects(if request.follow { REDIRECTS_MAX } else { 0 })
        // What was asked for over TLS comes over TLS, wherever it is redirected to.
        .https_only(secure)
        .user_agent(args.text("http_agent").unwrap_or("ansible-httpget"))
        .proxy(proxy(context, args, secure)?)
        // Also for http://, which may redirect to https://.
        .tls_config(tls(context, args, secure)?);
    let agent = config.build().new_agent();
    let fault = |error: ureq::Error| Fault::new(format!("Request failed: {url}: {error}"));

    let mut headers = request.headers;
    for (name, value) in args.map("headers").into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        headers.push((name.clone(), value));
    }
    let credentials = match (args.text("url_username"), args.text("url_password")) {
        (Some(user), password) => Some(format!("{user}:{}", password.unwrap_or_default())),
        (None, _) => credentials,
    };
    if let Some(credentials) = credentials {
        let encoded = BASE64_STANDARD.encode(credentials);
        headers.push(("Authorization".into(), format!("Basic {encoded}")));
    }
    let with_body = match request.method {
        "GET" => Some(agent.get(&url).force_send_body()),
        "DELETE" => Some(agent.delete(&url).force_send_body()),
        "OPTIONS" => Some(agent.options(&url).force_send_body()),
        "POST" => Some(agent.post(&url)),
        "PUT" => Some(agent.put(&url)),
        "PATCH" => Some(agent.patch(&url)),
        _ => None,
    };
    let needs_body = matches!(request.method, "POST" | "PUT" | "PATCH");
    let response = match (with_body, request.body) {
        (Some(mut builder), body) if needs_body || body.is_some() => {
            for (name, value) in &headers {
                builder = builder.header(name, value);
            }
            builder.send(body.unwrap_or_default()).map_err(fault)?
        }
        (_, body) => {
            let mut builder = ureq::http::Request::builder()
                .method(request.method)
                .uri(&url);
            for (name, value) in &headers {
                builder = builder.header(name, value);
            }
            // The error could quote a header, and a header may be a secret.
            let unfit = |_| Fault::new(format!("{url}: a header or the method cannot be sent"));
            match body {
                Some(body) => agent.run(builder.body(body).map_err(unfit)?),
                None => agent.run(builder.body(()).map_err(unfit)?),
            }
            .map_err(fault)?
        }
    };
    use ureq::ResponseExt;
    let last = without_credentials(&response.get_uri().to_string()).0;
    let redirected = response
        .get_redirect_history()
        .is_some_and(|history| history.len() > 1);
    let (parts, body) = response.into_parts();
    Ok(Answer {
        status: parts.status.as_u16(),
        reason: parts
            .status
            .canonical_reason()
            .unwrap_or_default()
            .to_owned(),
        url: if redirected { last } else { url },
        redirected,
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body,
    })
}

/// A small file from another address, with the same arguments otherwise: a list of checksums, a key.
pub fn fetch(
    context: &Context<'_>,
    args: &Args,
    url: &str,
    bytes_max: u64,
) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    fetch_into(context, args, url, &mut bytes, bytes_max)?;
    Ok(bytes)
}

/// The same, written as it comes.
pub fn fetch_into(
    context: &Context<'_>,
    args: &Args,
    url: &str,
    target: &mut impl Write,
    bytes_max: u64,
) -> Result<(), Fault> {
    let request = Request {
        method: "GET",
        body: None,
        headers: Vec::new(),
        follow: true,
    };
    let mut answer = call_at(context, args, url, request)?;
    let (url, _) = without_credentials(url);
    if answer.status != 200 {
        return Err(Fault::new(format!(
            "Request failed: {url}: http status: {}",
            answer.status
        )));
    }
    let mut reader = answer.body.with_config().limit(bytes_max).reader();
    let mut buffer = vec![0; 64 << 10];
    loop {
        context.go_on()?;
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => target
                .write_all(&buffer[..length])
                .map_err(Fault::io("write what was fetched"))?,
            Err(error) => return Err(Fault::new(format!("Request failed: {url}: {error}"))),
        }
    }
}

/// The address alone, and the `user:password` that stood in it.
pub fn without_credentials(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((credentials, host)) => (
            format!("{scheme}://{host}{}", &rest[end..]),
            Some(unescape(credentials)),
        ),
        None => (url.to_owned(), None),
    }
}

/// `%40` and its like as the bytes they stand for; what is none is kept.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let value = text
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, value) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The proxy of the task's environment, unless `no_proxy` names the host.
fn proxy(context: &Context<'_>, args: &Args, secure: bool) -> Result<Option<Proxy>, Fault> {
    if !args.given_flag("use_proxy").unwrap_or(true) {
        return Ok(None);
    }
    let variable = |name: &str| {
        context
            .environment
            .iter()
            .rev()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    };
    let name = if secure { "https_proxy" } else { "http_proxy" };
    let Some(address) = variable(name).or_else(|| variable("all_proxy")) else {
        return Ok(None);
    };
    // A proxy's address may bear a password: it is not repeated.
    let unfit = |_| Fault::new(format!("the proxy in {name} is no address"));
    let proxy = Proxy::new(address).map_err(unfit)?;
    let Some(exceptions) = variable("no_proxy") else {
        return Ok(Some(proxy));
    };
    let mut builder = Proxy::builder(proxy.protocol())
        .host(proxy.host())
        .port(proxy.port());
    if let Some(user) = proxy.username() {
        builder = builder.username(user);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    for exception in exceptions
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty())
    {
        builder = builder.no_proxy(exception);
    }
    builder.build().map(Some).map_err(unfit)
}

fn tls(context: &Context<'_>, args: &Args, needed: bool) -> Result<TlsConfig, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if args.given_flag("validate_certs").unwrap_or(true) {
        let file = args.text("ca_path").unwrap_or(AUTHORITIES);
        let authorities = match certificates(context, file) {
            Err(_) if !needed || args.text("ca_path").is_none() => Vec::new(),
            read => read?,
        };
        if authorities.is_empty() && needed {
            return Err(Fault::new(format!(
                "{file} names no authority: is the package ca-certificates installed?"
            )));
        }
        builder = builder.root_certs(RootCerts::new_with_certs(&authorities));
    } else {
        builder = builder
            .disable_verification(true)
            .root_certs(RootCerts::new_with_certs(&[]));
    }
    if let Some(file) = args.text("client_cert") {
        let chain = certificates(context, file)?;
        let key = key(context, args.text("client_key").unwrap_or(file))?;
        builder = builder.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(builder.build())
}

fn certificates(context: &Context<'_>, file: &str) -> Result<Vec<Certificate<'static>>, Fault> {
    let pem = std::fs::read(context.path(file)).map_err(Fault::io(format!("read {file}")))?;
    Ok(parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect())
}

fn key(context: &Context<'_>, file: &str) -> Result<PrivateKey<'static>, Fault> {
    let pem = std::fs::read(context.path(file)).map_err(Fault::io(format!("read {file}")))?;
    PrivateKey::from_pem(&pem).map_err(|_| Fault::new(format!("{file} holds no private key")))
}

#[cfg(test)]
pub mod testing {
    //! Servers for the tests of `get_url` and `uri`, on ports that the kernel chooses.
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    /// A request as the server saw it.
    pub struct Seen {
        pub line: String,
        pub headers: Vec<String>,
        pub body: Vec<u8>,
    }

    /// Answers every request with what `answer` makes of it, until the test's process ends.
    pub fn serve(answer: impl Fn(&Seen) -> Vec<u8> + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                talk(&mut reader, &mut &stream, &answer);
            }
        });
        format!("http://{address}")
    }

    /// The same over TLS, as `localhost`.
    pub fn serve_tls(
        certificate: &Path,
        key: &Path,
        answer: impl Fn(&Seen) -> Vec<u8> + Send + 'static,
    ) -> String {
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream: TcpStream = stream.unwrap();
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut tls = rustls::StreamOwned::new(connection, stream);
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && tls.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                // A client that does not trust us sends no head.
                if head.ends_with(b"\r\n\r\n") {
                    talk(&mut head.as_slice(), &mut tls, &answer);
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            }
        });
        format!("https://localhost:{port}")
    }

    fn talk(
        reader: &mut impl BufRead,
        writer: &mut impl Write,
        answer: &impl Fn(&Seen) -> Vec<u8>,
    ) {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        if lines.is_empty() {
            return;
        }
        let length = lines
            .iter()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let mut body = vec![0; length];
        let _ = reader.read_exact(&mut body);
        let line = lines.remove(0);
        let _ = writer.write_all(&answer(&Seen {
            line,
            headers: lines,
            body,
        }));
    }

    /// An answer with its length, so that the connection can be closed behind it.
    pub fn reply(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        [head.as_bytes(), b"\r\n", body].concat()
    }

    /// A certificate for `localhost` that is its own authority; `None` (and a line) without openssl.
    pub fn certificate(folder: &Path) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
        std::fs::create_dir_all(folder).unwrap();
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        command.args(["-nodes", "-days", "2", "-subj", "/CN=localhost"]);
        command.args(["-addext", "subjectAltName=DNS:localhost"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        match command.output() {
            Ok(output) if output.status.success() => Some((certificate, key)),
            _ => {
                eprintln!("skipped: openssl is not there to make a certificate");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_an_address() {
        let cases = [
            ("https://a.b/c@d", "https://a.b/c@d", None),
            (
                "http://u:p%40w@a.b:80/c?x=1",
                "http://a.b:80/c?x=1",
                Some("u:p@w"),
            ),
            ("http://u:p@w@a", "http://a", Some("u:p@w")),
            ("nonsense", "nonsense", None),
        ];
        for (url, alone, credentials) in cases {
            let found = without_credentials(url);
            assert_eq!((found.0.as_str(), found.1.as_deref()), (alone, credentials));
        }
        assert_eq!(unescape("%4"), "%4");
        assert_eq!(unescape("a%zz%"), "a%zz%");
    }
}
