//! For tests of services: a context on a fresh SQLite file with tokens that need no identity.
//!
//! The tokens are made up on purpose: a test of one service does not need another. Real
//! databases as child processes are in [`databases`].

pub mod databases;

use crate::{
    context::Context,
    policy::Rule,
    routes::Api,
    store,
    tokens::{TokenError, TokenValidator},
};
use async_trait::async_trait;
use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode};
use openstack_client::{Client, ClientOptions, Credentials, InProcess, Transport};
use openstack_types::{
    CatalogEndpoint, CatalogService, Interface, NamedRef, ProjectRef, Token, TokenEnvelope, UserRef,
};
use sea_orm::DatabaseConnection;
use serde_json::Value;
use std::{path::Path, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Tokens of the form `ROLE` or `ROLE@PROJECT`: `admin`, `member@p2`, `reader`, `service`.
/// The user is `user-ROLE`, the project `p1` unless named. Anything else is invalid.
pub struct TestTokens;

#[async_trait]
impl TokenValidator for TestTokens {
    async fn validate(&self, token: &str) -> Result<Arc<Token>, TokenError> {
        test_token(token).map(Arc::new).ok_or(TokenError::Invalid)
    }
}

fn test_token(text: &str) -> Option<Token> {
    let (role, project) = text.split_once('@').unwrap_or((text, "p1"));
    if !["admin", "manager", "member", "reader", "service", "none"].contains(&role) {
        return None;
    }
    let domain = NamedRef {
        id: "default".into(),
        name: "Default".into(),
    };
    let user = UserRef {
        id: format!("user-{role}"),
        name: role.to_owned(),
        domain: domain.clone(),
        password_expires_at: None,
    };
    Some(Token {
        methods: vec!["password".into()],
        user,
        expires_at: "2999-01-01T00:00:00.000000Z".into(),
        issued_at: "2026-01-01T00:00:00.000000Z".into(),
        project: Some(ProjectRef {
            id: project.to_owned(),
            name: project.to_owned(),
            domain,
        }),
        roles: vec![NamedRef {
            id: role.to_owned(),
            name: role.to_owned(),
        }],
        ..Token::default()
    })
}

/// A context on a SQLite file in `folder`. Other services that the test registers in the
/// given registry are reached by `context.client`; identity is answered by test tokens.
pub async fn context(service: &'static str, folder: &Path, others: InProcess) -> Context {
    let url = format!(
        "sqlite://{}",
        folder.join(format!("{service}.db")).display()
    );
    let db = store::connect(&url)
        .await
        .expect("a SQLite file in a test's folder can be opened");
    context_on(service, folder, others, db)
}

/// The same on a given database.
pub fn context_on(
    service: &'static str,
    folder: &Path,
    others: InProcess,
    db: DatabaseConnection,
) -> Context {
    others.register("identity", test_identity());
    let options = ClientOptions {
        auth_url: "http://identity.test/v3".into(),
        region: "RegionOne".into(),
        interface: Interface::Internal,
    };
    let client = Client::new(
        Transport::InProcess(others),
        options,
        Credentials::Token("service".into()),
    );
    Context {
        service,
        region: "RegionOne".into(),
        host: "node-1.domain.tld".into(),
        public_url: "http://127.0.0.1".into(),
        auth_url: "http://identity.test/v3".into(),
        db,
        bus: Arc::new(bus::InProcessBus::new()),
        client,
        tokens: Arc::new(TestTokens),
        policy_file: None,
        data_dir: folder.to_owned(),
        shutdown: CancellationToken::new(),
        tasks: TaskTracker::new(),
    }
}

/// Identity's `GET /v3/auth/tokens` for test tokens, with a catalogue of every bundled service.
fn test_identity() -> Router {
    let services = [
        ("identity", "http://identity.test/v3"),
        ("image", "http://image.test"),
        ("placement", "http://placement.test"),
        ("compute", "http://compute.test/v2.1"),
        ("network", "http://network.test"),
        ("orchestration", "http://orchestration.test/v1/p1"),
    ];
    let catalog: Vec<CatalogService> = services
        .into_iter()
        .map(|(service_type, url)| CatalogService {
            id: service_type.into(),
            service_type: service_type.into(),
            name: service_type.into(),
            endpoints: Interface::ALL
                .into_iter()
                .map(|interface| CatalogEndpoint {
                    id: format!("{service_type}-{interface}"),
                    interface,
                    region_id: Some("RegionOne".into()),
                    region: Some("RegionOne".into()),
                    url: url.into(),
                })
                .collect(),
        })
        .collect();
    let show = move |headers: HeaderMap| {
        let catalog = catalog.clone();
        async move {
            let subject = headers
                .get("x-subject-token")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            match test_token(subject) {
                Some(mut token) => {
                    token.catalog = Some(catalog);
                    Ok(axum::Json(TokenEnvelope { token }))
                }
                None => Err(StatusCode::NOT_FOUND),
            }
        }
    };
    Router::new().route("/v3/auth/tokens", axum::routing::get(show))
}

/// One call to a router: token (may be empty), method, path, body (`Value::Null`: none).
/// Gives status, headers, and the body as JSON (or as a JSON string when it is none).
pub async fn call(
    router: &Router,
    token: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("x-auth-token", token);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header("content-type", "application/json");
        Body::from(body.to_string())
    };
    let request = request.body(body).expect("a test's path is a valid URI");
    let response = match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 64 << 20)
        .await
        .unwrap_or_default();
    let value = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into())
    };
    (parts.status, parts.headers, value)
}

/// Calls every row of a table without a token: all but the public ones must answer 401.
/// Gives the rows that did not.
pub async fn rows_open_without_token<S: Clone + Send + Sync + 'static>(
    api: &Api<S>,
    router: &Router,
) -> Vec<String> {
    let mut open = Vec::new();
    for (method, path, operation, rule) in api.rows() {
        if rule == Rule::Public {
            continue;
        }
        let path: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let (status, _, _) = call(router, "", method.clone(), &path, Value::Null).await;
        if status != StatusCode::UNAUTHORIZED {
            open.push(format!("{method} {path} ({operation}): {status}"));
        }
    }
    open
}
