//! What a handler gets: who calls, and the request's parts as typed values.
//!
//! The extractors here refuse with faults of the service's style; axum's own would
//! answer plain text. Does not know any service's bodies.

use crate::{
    fault::ApiError,
    policy::{Rule, allows},
};
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use openstack_types::{DomainRef, Microversion, Token};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// Largest JSON body: Heat's templates with their files are the largest that clients send.
pub const JSON_LIMIT: usize = 4 << 20;

/// Who calls, and under which request id.
#[derive(Clone)]
pub struct RequestContext {
    /// User id.
    pub user_id: String,
    /// User name.
    pub user_name: String,
    /// The project that the token is scoped to; empty when it is scoped to something else.
    pub project_id: String,
    /// Its name.
    pub project_name: String,
    /// Domain of the project, or the domain that the token is scoped to.
    pub domain: DomainRef,
    /// Names of the roles in the token's scope.
    pub roles: Vec<String>,
    /// Whether `admin` is among them.
    pub is_admin: bool,
    /// `req-<uuid>`.
    pub request_id: String,
    /// What the caller asked for, or the service's minimum; `0.0` without microversions.
    pub microversion: Microversion,
    /// The token's body.
    pub token: Arc<Token>,
    /// The token itself, for calls on the user's behalf. Not for logs.
    pub secret: String,
}

impl RequestContext {
    /// Whether the caller satisfies a rule: for attributes and filters that need more than the row's own.
    pub fn allows(&self, rule: Rule) -> bool {
        allows(rule, &self.token)
    }

    /// Refuses with 403 unless the caller satisfies the rule.
    pub fn require(&self, rule: Rule, operation: &str) -> Result<(), ApiError> {
        if self.allows(rule) {
            Ok(())
        } else {
            Err(ApiError::policy(operation))
        }
    }

    /// Whether something of this project may be seen: the caller's own, or anything for an admin.
    pub fn owns(&self, project_id: &str) -> bool {
        self.is_admin || (!project_id.is_empty() && self.project_id == project_id)
    }

    /// Whether the request's microversion is at least this.
    pub fn at_least(&self, major: u16, minor: u16) -> bool {
        self.microversion >= Microversion::new(major, minor)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Only rows with another rule than `Public` have one.
        parts
            .extensions
            .get::<RequestContext>()
            .cloned()
            .ok_or_else(ApiError::unauthorized)
    }
}

/// A JSON body, in and out.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = axum::body::to_bytes(request.into_body(), JSON_LIMIT)
            .await
            .map_err(|error| {
                ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestTooLarge",
                    format!("Request is too large: at most {JSON_LIMIT} bytes are read."),
                )
                .with_cause(error)
            })?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::bad_request(
                "HTTPBadRequest",
                "A JSON body is required in the request.",
            ));
        }
        serde_json::from_slice(&bytes).map(Json).map_err(|error| {
            ApiError::bad_request(
                "HTTPBadRequest",
                format!("The request body is wrong: {error}"),
            )
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => (
                [(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                )],
                bytes,
            )
                .into_response(),
            Err(error) => {
                ApiError::internal(format!("cannot print the answer: {error}")).into_response()
            }
        }
    }
}

/// Parts of the path: `Path(id): Path<String>`, `Path((a, b)): Path<(String, String)>`.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(error) => Err(ApiError::not_found(
                "HTTPNotFound",
                "The resource could not be found.",
            )
            .with_cause(error)),
        }
    }
}

/// The query as it came: names may repeat, unknown names are kept.
#[derive(Debug, Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// The last value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A flag as OpenStack's clients write it: `true`, `1`, `yes`, `on`, or the bare name.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|text| {
            matches!(
                text.to_ascii_lowercase().as_str(),
                "" | "1" | "t" | "true" | "y" | "yes" | "on"
            )
        })
    }

    /// A number, refused with 400 when it is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::bad_request(
                        "HTTPBadRequest",
                        format!("Invalid input for {name}: `{text}` is not a number ≥ 0."),
                    )
                })
            })
            .transpose()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Query(form_urlencoded(query)))
    }
}

/// Pairs of `application/x-www-form-urlencoded`; wrong percent signs stay as they are.
fn form_urlencoded(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key), percent_decode(value))
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' if i + 2 < bytes.len() => match (hex(bytes[i + 1]), hex(bytes[i + 2])) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    i += 2;
                }
                _ => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Scheme, host and port under which the client reached us: version documents and links use it.
pub fn base_url(headers: &HeaderMap, otherwise: &str) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("x-forwarded-host").or_else(|| text("host")) {
        Some(host) => {
            let scheme = text("x-forwarded-proto").unwrap_or_else(|| {
                if otherwise.starts_with("https:") {
                    "https"
                } else {
                    "http"
                }
            });
            format!("{scheme}://{host}")
        }
        None => otherwise.trim_end_matches('/').to_owned(),
    }
}
