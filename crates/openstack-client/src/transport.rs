//! How a request travels: over TCP by `reqwest`, or into a router of this process.
//!
//! Does not know tokens or faults: it carries bytes.

use crate::request::{ByteStream, RequestBody};
use axum::{Router, body::Body};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method, Request, StatusCode};
use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};
use tower::ServiceExt;
use url::Url;

/// The routers of the services that run in this process, by service type. They are
/// registered as the services start, and looked up at each call.
#[derive(Clone, Default)]
pub struct InProcess {
    routers: Arc<RwLock<HashMap<String, Router>>>,
}

impl InProcess {
    /// No service yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service's router, or replaces it.
    pub fn register(&self, service_type: &str, router: Router) {
        let mut routers = self
            .routers
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        routers.insert(service_type.to_owned(), router);
    }

    fn find(&self, service_type: &str) -> Option<Router> {
        let routers = self
            .routers
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        routers.get(service_type).cloned()
    }
}

/// How requests travel.
#[derive(Clone)]
pub enum Transport {
    /// Over TCP.
    Http(reqwest::Client),
    /// Into the routers of this process; a service that is not among them is unreachable.
    InProcess(InProcess),
}

impl Transport {
    /// Over TCP, with `rustls` (ring) and its usual certificate authorities.
    pub fn http() -> Result<Self, String> {
        Self::http_with_roots(&[])
    }

    /// Over TCP, trusting these PEM certificates only, when there are any.
    pub fn http_with_roots(pem_certificates: &[Vec<u8>]) -> Result<Self, String> {
        // Harmless when the binary has done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(std::time::Duration::from_secs(10))
                .pool_idle_timeout(std::time::Duration::from_secs(60))
                // Who waits for an answer of a machine that is gone says nothing by which it would notice: these do.
                .tcp_keepalive(std::time::Duration::from_secs(2))
                .tcp_keepalive_interval(std::time::Duration::from_secs(1))
                .tcp_keepalive_retries(3)
                .tcp_user_timeout(std::time::Duration::from_secs(5))
                .user_agent(concat!("stackwright/", env!("CARGO_PKG_VERSION")))
                // Services answer for themselves; a proxy of the user's shell is not meant for them.
                .no_proxy()
        };
        let client = if pem_certificates.is_empty() {
            // Plain HTTP clouds must work on machines without any certificate store.
            builder().build().or_else(|_| {
                builder()
                    .tls_certs_only(Vec::<reqwest::Certificate>::new())
                    .build()
            })
        } else {
            let mut roots = Vec::new();
            for pem in pem_certificates {
                roots
                    .extend(reqwest::Certificate::from_pem_bundle(pem).map_err(|e| e.to_string())?);
            }
            builder().tls_certs_only(roots).build()
        };
        client.map(Transport::Http).map_err(|e| e.to_string())
    }

    pub(crate) async fn send(
        &self,
        service: &str,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<(StatusCode, HeaderMap, ByteStream), TransportError> {
        match self {
            Transport::Http(client) => {
                let mut request = client.request(method, url).headers(headers);
                request = match body {
                    RequestBody::Empty => request,
                    RequestBody::Bytes(bytes) => request.body(bytes),
                    RequestBody::Stream(stream) => request.body(reqwest::Body::wrap_stream(stream)),
                };
                let response = request.send().await.map_err(|error| TransportError {
                    never_sent: error.is_connect(),
                    reason: chain(&error.without_url()),
                })?;
                let (status, headers) = (response.status(), response.headers().clone());
                let stream = response
                    .bytes_stream()
                    .map_err(|e| std::io::Error::other(chain(&e.without_url())));
                Ok((status, headers, stream.boxed()))
            }
            Transport::InProcess(registry) => {
                let router = registry.find(service).ok_or_else(|| TransportError {
                    never_sent: true,
                    reason: "the service does not run in this process (yet)".to_owned(),
                })?;
                let body = match body {
                    RequestBody::Empty => Body::empty(),
                    RequestBody::Bytes(bytes) => Body::from(bytes),
                    RequestBody::Stream(stream) => Body::from_stream(stream),
                };
                let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
                let mut request = Request::builder()
                    .method(method)
                    .uri(target)
                    .body(body)
                    .map_err(|e| TransportError {
                        never_sent: true,
                        reason: e.to_string(),
                    })?;
                *request.headers_mut() = headers;
                if let Some(host) = url.host_str() {
                    let host = match url.port() {
                        Some(port) => format!("{host}:{port}"),
                        None => host.to_owned(),
                    };
                    if let Ok(value) = host.parse() {
                        request.headers_mut().insert(http::header::HOST, value);
                    }
                }
                // A router cannot fail: every fault is an answer.
                let response = match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let (parts, body) = response.into_parts();
                let stream = body.into_data_stream().map_err(std::io::Error::other);
                Ok((parts.status, parts.headers, stream.boxed()))
            }
        }
    }
}

/// No answer came.
pub(crate) struct TransportError {
    /// The request has certainly not reached the service.
    pub never_sent: bool,
    /// The cause.
    pub reason: String,
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Collects a stream up to a limit: no answer of an API is larger.
pub(crate) async fn collect(mut stream: ByteStream, limit: usize) -> Result<Bytes, String> {
    let mut out = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| e.to_string())?;
        if out.len() + chunk.len() > limit {
            return Err(format!("the body is larger than {limit} bytes"));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out.into())
}
