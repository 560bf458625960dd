//! One request being built, and its answer.
//!
//! Does not know how tokens come about: it asks the [`Client`] that made it.

use crate::{Client, error::ClientError, transport::collect};
use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{io, time::Duration};

/// Bytes as they come: images, consoles.
pub type ByteStream = BoxStream<'static, Result<Bytes, io::Error>>;

/// What a request carries.
pub enum RequestBody {
    /// Nothing.
    Empty,
    /// Bytes at hand: the request can be sent again.
    Bytes(Bytes),
    /// A stream: it can be sent once.
    Stream(ByteStream),
}

/// Largest body that is read into memory.
const LIMIT: usize = 64 << 20;

/// A request being built. `send` gives the answer, `fetch` its JSON.
pub struct RequestBuilder {
    pub(crate) client: Client,
    pub(crate) method: Method,
    pub(crate) service: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
    pub(crate) timeout: Duration,
    pub(crate) problem: Option<String>,
}

impl RequestBuilder {
    /// Adds one query parameter; names may repeat.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// A JSON body.
    pub fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body = RequestBody::Bytes(bytes.into()),
            Err(error) => self.problem = Some(error.to_string()),
        }
        self.header("content-type", "application/json")
    }

    /// A streamed body, for example an image (`application/octet-stream`).
    pub fn stream(mut self, content_type: &str, stream: ByteStream) -> Self {
        self.body = RequestBody::Stream(stream);
        self.header("content-type", content_type)
    }

    /// Sets a header, replacing one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
            }
            _ => self.problem = Some(format!("header `{name}` has a wrong name or value")),
        }
        self
    }

    /// How long to wait for the answer's head, and for each of its pieces. Default 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends; any status of 400 and above becomes [`ClientError::Fault`].
    pub async fn send(self) -> Result<Response, ClientError> {
        let client = self.client.clone();
        client.execute(self).await
    }

    /// Sends and reads the JSON answer; an empty one reads as `null`.
    pub async fn fetch<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        self.send().await?.json().await
    }
}

/// An answer whose head has come.
pub struct Response {
    pub(crate) service: String,
    pub(crate) call: String,
    pub(crate) timeout: Duration,
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as it comes.
    pub body: ByteStream,
}

impl Response {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The whole body (at most 64 MiB).
    pub async fn bytes(self) -> Result<Bytes, ClientError> {
        match tokio::time::timeout(self.timeout, collect(self.body, LIMIT)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(reason)) => Err(ClientError::Unexpected {
                service: self.service,
                call: self.call,
                reason,
            }),
            Err(_) => Err(ClientError::Timeout {
                service: self.service,
                call: self.call,
                seconds: self.timeout.as_secs(),
            }),
        }
    }

    /// The body as JSON; an empty body reads as `null`.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let (service, call) = (self.service.clone(), self.call.clone());
        let bytes = self.bytes().await?;
        let result = if bytes.is_empty() {
            serde_json::from_value(Value::Null)
        } else {
            serde_json::from_slice(&bytes)
        };
        result.map_err(|error| ClientError::Unexpected {
            service,
            call,
            reason: error.to_string(),
        })
    }
}
