//! What can go wrong with a call, and how a service's fault is read.
//!
//! Does not know any service's list of fault types: it finds the message in whichever
//! of the known envelopes it came.

use http::StatusCode;
use serde_json::Value;

/// A call that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The service answered with a fault.
    #[error("{service} answered {status} to {call}: {message}")]
    Fault {
        /// Service type.
        service: String,
        /// Method and path: `GET /servers`.
        call: String,
        /// HTTP status.
        status: StatusCode,
        /// The fault's type where the service names one (`IpAddressInUse`), else empty.
        kind: String,
        /// The service's own words.
        message: String,
    },
    /// No answer: connection refused, reset, or no route.
    #[error("cannot reach {service} for {call}: {reason}")]
    Unreachable {
        /// Service type.
        service: String,
        /// Method and path: `GET /servers`.
        call: String,
        /// The cause.
        reason: String,
    },
    /// No answer in time.
    #[error("{service} did not answer {call} within {seconds} s")]
    Timeout {
        /// Service type.
        service: String,
        /// Method and path: `GET /servers`.
        call: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The catalogue does not know the service.
    #[error(
        "no {interface} endpoint for service `{service}` in region `{region}` of the catalogue"
    )]
    NoEndpoint {
        /// Service type.
        service: String,
        /// `public`, `internal` or `admin`.
        interface: String,
        /// Region asked for.
        region: String,
    },
    /// The answer is not what the API promises.
    #[error("{service} answered {call} with something unexpected: {reason}")]
    Unexpected {
        /// Service type.
        service: String,
        /// Method and path: `GET /servers`.
        call: String,
        /// What was wrong.
        reason: String,
    },
    /// The request could not be built.
    #[error("cannot build the request: {0}")]
    BadRequest(String),
}

impl ClientError {
    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            ClientError::Fault { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// 404: for a delete this means "already done".
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// 409.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(StatusCode::CONFLICT)
    }

    /// Whether the same call may succeed a little later: no answer, 429, 502, 503, 504.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Timeout { .. } => true,
            ClientError::Fault { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// The service's own words, or this error's text.
    pub fn message(&self) -> String {
        match self {
            ClientError::Fault { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

/// Finds kind and message in a fault's body, whichever service wrote it.
pub(crate) fn read_fault(body: &[u8]) -> (String, String) {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return (String::new(), plain_text(&String::from_utf8_lossy(body)));
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    // neutron: {"NeutronError": {type, message, detail}}; nova: {"itemNotFound": {code, message}};
    // keystone: {"error": {code, title, message}}; heat: {"error": {type, message}, "explanation"};
    // placement: {"errors": [{code, detail, title}]}.
    if let Some(first) = json.get("errors").and_then(|errors| errors.get(0)) {
        return (text(first.get("code")), text(first.get("detail")));
    }
    if let Some(object) = json.as_object() {
        for (name, inner) in object {
            if let Some(message) = inner.get("message") {
                let message = text(Some(message));
                return match inner.get("type").and_then(Value::as_str) {
                    Some(kind) => (kind.to_owned(), message),
                    None => (name.clone(), message),
                };
            }
        }
        if object.contains_key("message") {
            return (text(object.get("title")), text(object.get("message")));
        }
    }
    (String::new(), json.to_string())
}

/// Takes the tags out of a short HTML page (glance), shortened to one line.
fn plain_text(body: &str) -> String {
    let body = body.split_once("</h1>").map_or(body, |(_, rest)| rest);
    let mut out = String::new();
    let mut in_tag = false;
    for c in body.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            c if !in_tag => out.push(c),
            _ => {}
        }
    }
    let line = out.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::read_fault;

    #[test]
    fn reads_every_service_s_fault() {
        let cases: [(&str, &str, &str); 6] = [
            (
                r#"{"NeutronError":{"type":"NetworkNotFound","message":"gone","detail":""}}"#,
                "NetworkNotFound",
                "gone",
            ),
            (
                r#"{"itemNotFound":{"code":404,"message":"no server"}}"#,
                "itemNotFound",
                "no server",
            ),
            (
                r#"{"error":{"code":401,"title":"Unauthorized","message":"no"}}"#,
                "error",
                "no",
            ),
            (
                r#"{"code":404,"explanation":"x","error":{"type":"EntityNotFound","message":"no stack"}}"#,
                "EntityNotFound",
                "no stack",
            ),
            (
                r#"{"errors":[{"code":"placement.concurrent_update","detail":"again"}]}"#,
                "placement.concurrent_update",
                "again",
            ),
            (
                "<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1>No image<br /></body></html>",
                "",
                "No image",
            ),
        ];
        for (body, kind, message) in cases {
            assert_eq!(
                read_fault(body.as_bytes()),
                (kind.to_owned(), message.to_owned())
            );
        }
    }
}
