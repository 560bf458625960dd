//! Errors of an API and the shapes in which each OpenStack service prints them.
//!
//! A handler returns [`ApiError`]; the outer layer of the router prints it in the
//! service's [`FaultStyle`]. It does not know routes or tokens. Causes of internal errors
//! go to the log with the request id, never to the client.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sea_orm::DbErr;
use serde_json::{Value, json};
use std::borrow::Cow;

/// What a client is told instead of a result.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// The fault's type where the service names one: `NetworkInUse` (neutron),
    /// `EntityNotFound` (heat), `placement.concurrent_update`. Nova derives its own from the status.
    pub kind: Cow<'static, str>,
    /// For the client.
    pub message: String,
    /// For the log only.
    pub cause: Option<String>,
    /// Further headers of the answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// A fault with a status, a type, and the words for the client.
    pub fn new(
        status: StatusCode,
        kind: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        ApiError {
            status,
            kind: kind.into(),
            message: message.into(),
            cause: None,
            headers: Vec::new(),
        }
    }

    /// 400.
    pub fn bad_request(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// 401, in identity's words.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "",
            "The request you have made requires authentication.",
        )
    }

    /// 403.
    pub fn forbidden(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, message)
    }

    /// 403 of the policy, naming the operation as upstream does.
    pub fn policy(operation: &str) -> Self {
        Self::forbidden(
            "PolicyNotAuthorized",
            format!("Policy doesn't allow {operation} to be performed."),
        )
    }

    /// 404.
    pub fn not_found(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, kind, message)
    }

    /// 409.
    pub fn conflict(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, message)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    /// 500; the cause goes to the log, the client gets the request id.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            String::new(),
        );
        error.cause = Some(cause.to_string());
        error
    }

    /// Adds a cause for the log.
    pub fn with_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds a header to the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.message)?;
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ApiError {}

impl From<DbErr> for ApiError {
    fn from(error: DbErr) -> Self {
        ApiError::internal(error)
    }
}

impl From<openstack_client::ClientError> for ApiError {
    fn from(error: openstack_client::ClientError) -> Self {
        if error.is_transient() {
            ApiError::unavailable("A service that is needed for this does not answer now.")
                .with_cause(error)
        } else {
            ApiError::internal(error)
        }
    }
}

/// The error rides in the answer's extensions until the outer layer prints it.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// How a service prints its faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultStyle {
    /// `{"error": {"code", "message", "title"}}`
    Keystone,
    /// `{"itemNotFound": {"code", "message"}}`
    Nova,
    /// `{"NeutronError": {"type", "message", "detail"}}`
    Neutron,
    /// A short HTML page, or JSON when asked for.
    Glance,
    /// `{"errors": [{"status", "title", "detail", "code", "request_id"}]}`
    Placement,
    /// `{"code", "title", "explanation", "error": {"type", "message", "traceback"}}`
    Heat,
}

impl FaultStyle {
    /// Prints a fault.
    pub fn render(self, error: &ApiError, request_id: &str, accept: Option<&str>) -> Response {
        let code = error.status.as_u16();
        let title = error.status.canonical_reason().unwrap_or("Error");
        let message = if error.status == StatusCode::INTERNAL_SERVER_ERROR
            && error.message.is_empty()
        {
            format!(
                "An unexpected error prevented the server from fulfilling your request. (request {request_id})"
            )
        } else {
            error.message.clone()
        };
        // Upstream, 401 comes from the same middleware in every service, and so does its form.
        let style = if error.status == StatusCode::UNAUTHORIZED {
            FaultStyle::Keystone
        } else {
            self
        };
        let body: Value = match style {
            FaultStyle::Keystone => {
                json!({"error": {"code": code, "message": message, "title": title}})
            }
            FaultStyle::Nova => json!({nova_name(code): {"code": code, "message": message}}),
            FaultStyle::Neutron => {
                let kind = if error.kind.is_empty() {
                    "HTTPException"
                } else {
                    &error.kind
                };
                json!({"NeutronError": {"type": kind, "message": message, "detail": ""}})
            }
            FaultStyle::Glance => {
                if accept.is_some_and(|accept| accept.contains("application/json")) {
                    json!({"message": message, "code": format!("{code} {title}"), "title": title})
                } else {
                    return finish(
                        error,
                        "text/html; charset=UTF-8",
                        glance_page(code, title, &message),
                    );
                }
            }
            FaultStyle::Placement => {
                let kind = if error.kind.is_empty() {
                    "placement.undefined_code"
                } else {
                    &error.kind
                };
                json!({"errors": [{"status": code, "title": title, "detail": message,
                    "code": kind, "request_id": request_id}]})
            }
            FaultStyle::Heat => {
                let kind = if error.kind.is_empty() {
                    title
                } else {
                    &error.kind
                };
                json!({"code": code, "title": title, "explanation": heat_explanation(code),
                    "error": {"type": kind, "message": message, "traceback": null}})
            }
        };
        finish(error, "application/json", body.to_string())
    }
}

fn finish(error: &ApiError, content_type: &'static str, body: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.extend(error.headers.iter().cloned());
    (error.status, headers, body).into_response()
}

fn nova_name(code: u16) -> &'static str {
    match code {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 | 429 => "overLimit",
        415 => "badMediaType",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    }
}

fn heat_explanation(code: u16) -> &'static str {
    match code {
        400 => {
            "The server could not comply with the request since it is either malformed or otherwise incorrect."
        }
        403 => "Access was denied to this resource.",
        404 => "The resource could not be found.",
        409 => "There was a conflict when trying to complete your request.",
        _ => "The server has either erred or is incapable of performing the requested operation.",
    }
}

fn glance_page(code: u16, title: &str, message: &str) -> String {
    let safe = message
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!(
        "<html>\n <head>\n  <title>{code} {title}</title>\n </head>\n <body>\n  <h1>{code} {title}</h1>\n  {safe}<br /><br />\n\n\n </body>\n</html>"
    )
}
