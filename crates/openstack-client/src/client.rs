//! The client: whose token, which region, how often to try again.
//!
//! A token is asked for at the first call, kept until shortly before it expires, and
//! asked for anew once when a service answers 401. Only what is safe is tried again: GET
//! and HEAD (and to ask for a token) after a lost connection or 502/503/504, anything else
//! only when the request has certainly not been sent.

use crate::{
    credentials::Credentials,
    error::{ClientError, read_fault},
    request::{RequestBody, RequestBuilder, Response},
    transport::{Transport, collect},
};
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use openstack_types::{Interface, Token, TokenEnvelope, catalog::endpoint_url};
use serde::Serialize;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;
use url::Url;

/// Tokens are renewed this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(120);
/// A catalogue that came with somebody else's token is looked up again after this time.
const FOREIGN_TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Pauses between tries of one safe request.
const RETRY_PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];
/// Largest fault body that is read.
const FAULT_LIMIT: usize = 1 << 20;

/// Where and how a client calls.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Identity's URL, with `/v3`.
    pub auth_url: String,
    /// Region of the catalogue.
    pub region: String,
    /// Which URLs of the catalogue: services use `Internal`, users `Public`.
    pub interface: Interface,
}

/// Calls OpenStack services. Cheap to clone; clones share their token.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    options: Arc<ClientOptions>,
    credentials: Arc<Credentials>,
    session: Arc<Mutex<Option<Session>>>,
    microversion: Option<(String, String)>,
}

/// A token at hand.
#[derive(Clone)]
struct Session {
    secret: HeaderValue,
    token: Arc<Token>,
    renew_at: DateTime<Utc>,
}

impl Client {
    /// Nothing is sent before the first call.
    pub fn new(transport: Transport, options: ClientOptions, credentials: Credentials) -> Self {
        Client {
            transport,
            options: Arc::new(options),
            credentials: Arc::new(credentials),
            session: Arc::default(),
            microversion: None,
        }
    }

    /// The same transport and region, acting with a user's token.
    pub fn with_token(&self, token: &str) -> Self {
        Client {
            credentials: Arc::new(Credentials::Token(token.to_owned())),
            session: Arc::default(),
            ..self.clone()
        }
    }

    /// The same transport and region, acting as somebody else.
    pub fn with_credentials(&self, credentials: Credentials) -> Self {
        Client {
            credentials: Arc::new(credentials),
            session: Arc::default(),
            ..self.clone()
        }
    }

    /// Sends this microversion to this service (`("compute", "2.79")`), and none to others.
    pub fn microversion(&self, service: &str, version: &str) -> Self {
        Client {
            microversion: Some((service.to_owned(), version.to_owned())),
            ..self.clone()
        }
    }

    /// Who this client is.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Region of the catalogue that is used.
    pub fn region(&self) -> &str {
        &self.options.region
    }

    /// Starts a request; the path is relative to the service's URL in the catalogue.
    pub fn request(&self, method: Method, service: &str, path: &str) -> RequestBuilder {
        RequestBuilder {
            client: self.clone(),
            method,
            service: service.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: RequestBody::Empty,
            timeout: Duration::from_secs(60),
            problem: None,
        }
    }

    /// GET, its answer as JSON.
    pub async fn get(&self, service: &str, path: &str) -> Result<Value, ClientError> {
        self.request(Method::GET, service, path).fetch().await
    }

    /// POST of JSON, its answer as JSON (`null` when empty).
    pub async fn post(
        &self,
        service: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Value, ClientError> {
        self.request(Method::POST, service, path)
            .json(body)
            .fetch()
            .await
    }

    /// PUT of JSON, its answer as JSON (`null` when empty).
    pub async fn put(
        &self,
        service: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Value, ClientError> {
        self.request(Method::PUT, service, path)
            .json(body)
            .fetch()
            .await
    }

    /// PATCH of JSON, its answer as JSON (`null` when empty).
    pub async fn patch(
        &self,
        service: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Value, ClientError> {
        self.request(Method::PATCH, service, path)
            .json(body)
            .fetch()
            .await
    }

    /// DELETE; an answer's body is dropped.
    pub async fn delete(&self, service: &str, path: &str) -> Result<(), ClientError> {
        self.request(Method::DELETE, service, path)
            .send()
            .await
            .map(drop)
    }

    /// Who this client is: the token's body with its catalogue.
    pub async fn token(&self) -> Result<Arc<Token>, ClientError> {
        Ok(self.session().await?.token)
    }

    /// The token itself, for a header.
    pub async fn token_secret(&self) -> Result<HeaderValue, ClientError> {
        Ok(self.session().await?.secret)
    }

    /// The URL of a service in the catalogue, in this client's region and for its audience.
    pub async fn endpoint(&self, service: &str) -> Result<String, ClientError> {
        let token = self.token().await?;
        self.endpoint_of(&token, service)
    }

    fn endpoint_of(&self, token: &Token, service: &str) -> Result<String, ClientError> {
        let catalog = token.catalog.as_deref().unwrap_or_default();
        endpoint_url(
            catalog,
            service,
            self.options.interface,
            Some(&self.options.region),
        )
        .map(str::to_owned)
        .ok_or_else(|| ClientError::NoEndpoint {
            service: service.to_owned(),
            interface: self.options.interface.to_string(),
            region: self.options.region.clone(),
        })
    }

    /// The session at hand, or a new one. One caller asks, the others wait for it.
    async fn session(&self) -> Result<Session, ClientError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = slot
            .as_ref()
            .filter(|session| Utc::now() < session.renew_at)
        {
            return Ok(session.clone());
        }
        let session = self.authenticate().await?;
        *slot = Some(session.clone());
        Ok(session)
    }

    async fn authenticate(&self) -> Result<Session, ClientError> {
        match (&*self.credentials, self.credentials.auth_body()) {
            (Credentials::Token(secret), _) => {
                let secret = secret_header(secret)?;
                let response = self
                    .request(Method::GET, "identity", "/auth/tokens")
                    .send_to(
                        &self.options.auth_url,
                        Some(&secret),
                        Some(("x-subject-token", &secret)),
                    )
                    .await?;
                let token = response.json::<TokenEnvelope>().await?.token;
                Ok(Session {
                    secret,
                    token: Arc::new(token),
                    renew_at: Utc::now() + FOREIGN_TOKEN_LIFE,
                })
            }
            (_, Some(body)) => {
                let response = self
                    .request(Method::POST, "identity", "/auth/tokens")
                    .json(&body)
                    .send_to(&self.options.auth_url, None, None)
                    .await?;
                let secret = response.header("x-subject-token").map(str::to_owned);
                let secret = secret_header(secret.as_deref().unwrap_or_default())?;
                let token = response.json::<TokenEnvelope>().await?.token;
                let expires = DateTime::parse_from_rfc3339(&token.expires_at)
                    .map_err(|e| ClientError::Unexpected {
                        service: "identity".into(),
                        call: "POST /auth/tokens".into(),
                        reason: format!("expires_at `{}`: {e}", token.expires_at),
                    })?
                    .with_timezone(&Utc);
                Ok(Session {
                    secret,
                    token: Arc::new(token),
                    renew_at: expires - RENEW_BEFORE,
                })
            }
            (_, None) => Err(ClientError::BadRequest(
                "the client has no credentials".to_owned(),
            )),
        }
    }

    pub(crate) async fn execute(
        &self,
        mut request: RequestBuilder,
    ) -> Result<Response, ClientError> {
        if matches!(*self.credentials, Credentials::None) {
            // Only identity can be found without a catalogue.
            let url = self.options.auth_url.clone();
            return request.send_to(&url, None, None).await;
        }
        let session = self.session().await?;
        let url = self.endpoint_of(&session.token, &request.service)?;
        let again = request.replay();
        match request.send_to(&url, Some(&session.secret), None).await {
            Err(ClientError::Fault {
                status: StatusCode::UNAUTHORIZED,
                ..
            }) if again.is_some() && !matches!(*self.credentials, Credentials::Token(_)) => {
                // Revoked, or identity has new keys: once more with a fresh token.
                let mut slot = self.session.lock().await;
                if slot
                    .as_ref()
                    .is_some_and(|kept| kept.secret == session.secret)
                {
                    *slot = None;
                }
                drop(slot);
                let session = self.session().await?;
                match again {
                    Some(mut again) => again.send_to(&url, Some(&session.secret), None).await,
                    None => Err(ClientError::BadRequest(
                        "the body cannot be sent twice".to_owned(),
                    )),
                }
            }
            other => other,
        }
    }
}

fn secret_header(secret: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(secret)
        .ok()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ClientError::BadRequest("the token is empty or not printable".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl RequestBuilder {
    /// A copy that can be sent again, unless the body is a stream.
    fn replay(&self) -> Option<RequestBuilder> {
        let body = match &self.body {
            RequestBody::Empty => RequestBody::Empty,
            RequestBody::Bytes(bytes) => RequestBody::Bytes(bytes.clone()),
            RequestBody::Stream(_) => return None,
        };
        Some(RequestBuilder {
            client: self.client.clone(),
            method: self.method.clone(),
            service: self.service.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body,
            timeout: self.timeout,
            problem: self.problem.clone(),
        })
    }

    /// Method and path, for messages.
    fn call(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Sends to a base URL with a token, trying again what is safe.
    async fn send_to(
        &mut self,
        base: &str,
        token: Option<&HeaderValue>,
        extra: Option<(&'static str, &HeaderValue)>,
    ) -> Result<Response, ClientError> {
        if let Some(problem) = self.problem.take() {
            return Err(ClientError::BadRequest(problem));
        }
        let url = join(base, &self.path, &self.query)?;
        let mut headers = self.headers.clone();
        headers
            .entry("accept")
            .or_insert(HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            headers.insert("x-auth-token", token.clone());
        }
        if let Some((name, value)) = extra {
            headers.insert(name, value.clone());
        }
        if let Some((service, version)) = &self.client.microversion
            && *service == self.service
        {
            let value = format!("{service} {version}");
            let value = value
                .parse()
                .map_err(|_| ClientError::BadRequest(format!("microversion `{version}`")))?;
            headers.insert("openstack-api-version", value);
        }
        // To ask for a token changes nothing, though it is a POST.
        let asks_for_token = self.method == Method::POST
            && self.service == "identity"
            && self.path == "/auth/tokens";
        let safe = asks_for_token || matches!(self.method, Method::GET | Method::HEAD);
        let mut pauses = RETRY_PAUSES.iter();
        loop {
            let body = match &self.body {
                RequestBody::Bytes(bytes) => RequestBody::Bytes(bytes.clone()),
                RequestBody::Empty => RequestBody::Empty,
                RequestBody::Stream(_) => std::mem::replace(&mut self.body, RequestBody::Empty),
            };
            let replayable = !matches!(body, RequestBody::Stream(_));
            let streaming = !replayable;
            let send = self.client.transport.send(
                &self.service,
                self.method.clone(),
                url.clone(),
                headers.clone(),
                body,
            );
            // A streamed upload may take as long as it takes; its other end has its own limits.
            let sent = if streaming {
                Ok(send.await)
            } else {
                tokio::time::timeout(self.timeout, send).await
            };
            let (error, may_retry) = match sent {
                Ok(Ok((status, headers, body))) if status.as_u16() < 400 => {
                    return Ok(Response {
                        service: self.service.clone(),
                        call: self.call(),
                        timeout: self.timeout,
                        status,
                        headers,
                        body,
                    });
                }
                Ok(Ok((status, _, body))) => {
                    let body = tokio::time::timeout(self.timeout, collect(body, FAULT_LIMIT)).await;
                    let (kind, message) = match body {
                        Ok(Ok(bytes)) => read_fault(&bytes),
                        _ => (String::new(), "the fault's text did not come".to_owned()),
                    };
                    let error = ClientError::Fault {
                        service: self.service.clone(),
                        call: self.call(),
                        status,
                        kind,
                        message,
                    };
                    let may_retry = safe && matches!(status.as_u16(), 502..=504);
                    (error, may_retry)
                }
                Ok(Err(failure)) => {
                    let may_retry = replayable && (safe || failure.never_sent);
                    let error = ClientError::Unreachable {
                        service: self.service.clone(),
                        call: self.call(),
                        reason: failure.reason,
                    };
                    (error, may_retry)
                }
                Err(_) => {
                    let error = ClientError::Timeout {
                        service: self.service.clone(),
                        call: self.call(),
                        seconds: self.timeout.as_secs(),
                    };
                    (error, false)
                }
            };
            match pauses.next() {
                Some(pause) if may_retry => {
                    tracing::debug!(%error, "trying again");
                    tokio::time::sleep(*pause).await;
                }
                _ => return Err(error),
            }
        }
    }
}

/// Base URL, path and query as one URL. The path may bring a query of its own.
fn join(base: &str, path: &str, query: &[(String, String)]) -> Result<Url, ClientError> {
    let text = format!(
        "{}/{}",
        base.trim_end_matches('/'),
        path.trim_start_matches('/')
    );
    let text = if path.is_empty() {
        base.to_owned()
    } else {
        text
    };
    let mut url =
        Url::parse(&text).map_err(|e| ClientError::BadRequest(format!("URL `{text}`: {e}")))?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn joins_base_path_and_query() {
        let query = [
            ("name".to_owned(), "a b".to_owned()),
            ("name".to_owned(), "c".to_owned()),
        ];
        assert_eq!(
            join("http://h:9696/", "/v2.0/ports", &query)
                .unwrap()
                .as_str(),
            "http://h:9696/v2.0/ports?name=a+b&name=c"
        );
        assert_eq!(
            join("http://h/v3", "users?x=1", &[]).unwrap().as_str(),
            "http://h/v3/users?x=1"
        );
    }
}
