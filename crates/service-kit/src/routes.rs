//! One route table per service: rows of method, path, operation, rule and handler.
//!
//! [`Api::into_router`] puts the same layers around every service: request id, panic to 500,
//! trailing slashes, microversions, token and policy per row, time and concurrency limits,
//! faults in the service's style. The rows stay iterable, so that a test can check each of them.

use crate::{
    access_rules,
    context::{Context, StartError},
    fault::{ApiError, FaultStyle},
    openapi,
    policy::{self, Policies, Rule, Target, allows},
    request::RequestContext,
    table::{Row, Table},
    tokens::{TokenError, TokenValidator},
    version::Microversions,
};
use axum::{
    Router,
    extract::{FromRequestParts, RawPathParams, Request, State},
    handler::Handler,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter},
};
use http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use openstack_types::{Microversion, Token};
use serde_json::Value;
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinError};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a handler may take, unless its row says `streaming`.
const HANDLER_TIME: Duration = Duration::from_secs(60);
/// Requests of one service at a time; further ones wait.
const CONCURRENCY: usize = 512;
/// How long a request waits for its turn before it gets 503.
const QUEUE_TIME: Duration = Duration::from_secs(30);

/// One row of the table.
pub struct Route<S> {
    /// HTTP method.
    pub method: Method,
    /// Path in axum's notation: `/v2.0/networks/{id}`.
    pub path: &'static str,
    /// Name of the operation: `get_network`. It names log lines and policy faults.
    pub operation: &'static str,
    /// Who may call it.
    pub rule: Rule,
    streaming: bool,
    body: Option<Value>,
    handler: MethodRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// A row. Panics at start when the method is not one that axum routes: a fault of the table itself.
    pub fn new<H, T>(
        method: Method,
        path: &'static str,
        operation: &'static str,
        rule: Rule,
        handler: H,
    ) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone())
            .expect("a route table holds only standard methods");
        Route {
            method,
            path,
            operation,
            rule,
            streaming: false,
            body: None,
            handler: MethodRouter::new().on(filter, handler),
        }
    }

    /// The JSON schema of the request's body, for the API's description. It does not check anything.
    pub fn body(mut self, schema: Value) -> Self {
        self.body = Some(schema);
        self
    }

    /// Bodies of any length and duration (images): the row has no time limit.
    pub fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }
}

/// A service's HTTP side: its rows and what holds for all of them.
pub struct Api<S> {
    service_type: &'static str,
    style: FaultStyle,
    microversions: Option<Microversions>,
    routes: Vec<Route<S>>,
    policies: Option<Arc<Policies>>,
}

struct Edge {
    service_type: &'static str,
    style: FaultStyle,
    microversions: Option<Microversions>,
    slots: Arc<Semaphore>,
}

struct Guard {
    service_type: &'static str,
    operation: &'static str,
    rule: Rule,
    streaming: bool,
    /// What `%(NAME)s` in a policy is: the name, and the parameter of the path.
    attributes: Vec<(String, &'static str)>,
    policies: Option<Arc<Policies>>,
    tokens: Arc<dyn TokenValidator>,
    auth_url: Option<HeaderValue>,
}

/// The id under which a request's log lines are found; in the extensions of every request.
#[derive(Clone)]
pub struct RequestId(pub String);

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// A service (`network`), how it prints faults, and its rows.
    pub fn new(service_type: &'static str, style: FaultStyle, routes: Vec<Route<S>>) -> Self {
        Api {
            service_type,
            style,
            microversions: None,
            routes,
            policies: None,
        }
    }

    /// The service has microversions.
    pub fn microversions(mut self, microversions: Microversions) -> Self {
        self.microversions = Some(microversions);
        self
    }

    /// The rows, for tests: method, path, operation, rule.
    pub fn rows(&self) -> impl Iterator<Item = (&Method, &'static str, &'static str, Rule)> {
        self.routes
            .iter()
            .map(|row| (&row.method, row.path, row.operation, row.rule))
    }

    /// The rows with all that is told of them.
    pub fn table(&self) -> Table {
        let rows = self.routes.iter().map(|row| Row {
            method: row.method.clone(),
            path: row.path,
            operation: row.operation,
            rule: row.rule,
            body: row.body.clone(),
            streaming: row.streaming,
        });
        Table {
            service: self.service_type,
            style: self.style,
            microversions: self.microversions,
            rows: rows.collect(),
        }
    }

    /// An operator's policy file, if the service was given one, goes before the rules of the rows, and is followed while the
    /// service runs.
    ///
    /// # Errors
    /// When something is wrong with the file.
    pub fn governed_by(mut self, ctx: &Context) -> Result<Self, StartError> {
        if let Some(file) = &ctx.policy_file {
            let policies = Policies::open(file, self.table()).map_err(StartError::Policy)?;
            let policies = Arc::new(policies);
            ctx.tasks
                .spawn(Arc::clone(&policies).follow(ctx.shutdown.clone()));
            self.policies = Some(policies);
        }
        Ok(self)
    }

    /// The router with all layers. `auth_url` is what a 401 points to.
    pub fn into_router(self, state: S, tokens: Arc<dyn TokenValidator>, auth_url: &str) -> Router {
        let auth_url = HeaderValue::from_str(&format!("Keystone uri=\"{auth_url}\"")).ok();
        let mut router: Router<S> = Router::new();
        let description = description(self.table());
        for row in self.routes.into_iter().chain([description]) {
            let guard = Arc::new(Guard {
                service_type: self.service_type,
                operation: row.operation,
                rule: row.rule,
                streaming: row.streaming,
                attributes: policy::attributes(row.path),
                policies: self.policies.clone(),
                tokens: Arc::clone(&tokens),
                auth_url: auth_url.clone(),
            });
            router = router.route(
                row.path,
                row.handler
                    .route_layer(from_fn_with_state(guard, guard_row)),
            );
        }
        let edge = Arc::new(Edge {
            service_type: self.service_type,
            style: self.style,
            microversions: self.microversions,
            slots: Arc::new(Semaphore::new(CONCURRENCY)),
        });
        let inner: Router = router
            .fallback(async || {
                ApiError::not_found("HTTPNotFound", "The resource could not be found.")
            })
            .method_not_allowed_fallback(async || {
                ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "HTTPMethodNotAllowed",
                    "The method is not allowed for the requested URL.",
                )
            })
            .with_state(state);
        // The outer router has no routes, so that the path can still be changed on the way in.
        let entry = move |request: Request| run(Arc::clone(&edge), inner.clone(), request);
        Router::new().fallback(entry)
    }
}

/// The row that describes all others. No part of the table: every service has it, and no policy changes it.
fn description<S: Clone + Send + Sync + 'static>(table: Table) -> Route<S> {
    // Made when it is first asked for: no start waits for it.
    let described = Arc::new(LazyLock::new(move || openapi::document(&table).to_string()));
    let handler = async move || {
        (
            [(header::CONTENT_TYPE, "application/json")],
            described.to_string(),
        )
    };
    let rule = Rule::Authenticated;
    Route::new(Method::GET, openapi::PATH, "describe_api", rule, handler)
}

/// Cancelled when whoever asked has gone away, and has no use for an answer: for handlers that wait.
#[derive(Clone)]
pub struct CallerGone(pub CancellationToken);

/// The outer layers of a service, in order: id, limits, panic, faults, log.
async fn run(edge: Arc<Edge>, inner: Router, mut request: Request) -> Response {
    let started = Instant::now();
    let request_id = format!("req-{}", uuid::Uuid::new_v4());
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    if let Some(uri) = without_trailing_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    let negotiated = edge
        .microversions
        .map(|versions| versions.negotiate(request.headers()));
    let mut response = match &negotiated {
        Some(Err(error)) => error.clone().into_response(),
        _ => {
            let version = match &negotiated {
                Some(Ok(version)) => *version,
                _ => Microversion::new(0, 0),
            };
            request.extensions_mut().insert(version);
            // In a task of its own: a client that goes away must not stop a handler between two statements
            // of a transaction, which would leave the connection to the database in the middle of it.
            let gone = CancellationToken::new();
            request.extensions_mut().insert(CallerGone(gone.clone()));
            let _gone = gone.drop_guard();
            let slots = Arc::clone(&edge.slots);
            let handled = tokio::spawn(async move {
                match tokio::time::timeout(QUEUE_TIME, slots.acquire_owned()).await {
                    Ok(Ok(_slot)) => inner
                        .oneshot(request)
                        .await
                        .unwrap_or_else(|never| match never {}),
                    _ => ApiError::unavailable("The service is busy; try again later.")
                        .into_response(),
                }
            });
            handled.await.unwrap_or_else(panicked)
        }
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if error.status.is_server_error() {
            tracing::error!(%request_id, %method, path, %error, "request failed");
        } else if let Some(cause) = &error.cause {
            tracing::debug!(%request_id, %method, path, cause, "request refused");
        }
        response = edge.style.render(&error, &request_id, accept.as_deref());
        if method == Method::HEAD {
            *response.body_mut() = axum::body::Body::empty();
        }
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert("x-openstack-request-id", value.clone());
        if edge.style == FaultStyle::Nova {
            headers.insert("x-compute-request-id", value);
        }
    }
    if let (Some(versions), Some(Ok(version))) = (edge.microversions, negotiated) {
        versions.answer(version, headers);
    }
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    metrics::counter!("api_requests_total", "service" => edge.service_type, "status" => status.to_string())
        .increment(1);
    metrics::histogram!("api_request_seconds", "service" => edge.service_type)
        .record(elapsed.as_secs_f64());
    tracing::info!(%request_id, %method, path, status, ms = elapsed.as_millis() as u64, "request");
    response
}

/// The layer of one row: token, policy, time limit.
async fn guard_row(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if guard.rule != Rule::Public {
        match authorize(&guard, &mut parts).await {
            Ok(context) => {
                parts.extensions.insert(context);
            }
            Err(error) => return error.into_response(),
        }
    }
    let request = Request::from_parts(parts, body);
    if guard.streaming {
        return next.run(request).await;
    }
    // What has taken too long is answered, but not broken off: it may be in the middle of a transaction.
    match tokio::time::timeout(HANDLER_TIME, tokio::spawn(next.run(request))).await {
        Ok(handled) => handled.unwrap_or_else(panicked),
        Err(_) => ApiError::unavailable("The request took too long and was given up.")
            .with_cause(format!(
                "{} took longer than {HANDLER_TIME:?}",
                guard.operation
            ))
            .into_response(),
    }
}

async fn authorize(guard: &Guard, request: &mut Parts) -> Result<RequestContext, ApiError> {
    let unauthorized = || {
        let error = ApiError::unauthorized();
        match &guard.auth_url {
            Some(value) => error.with_header(header::WWW_AUTHENTICATE, value.clone()),
            None => error,
        }
    };
    let secret = request
        .headers
        .get("x-auth-token")
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty() && text.len() <= 4096)
        .map(str::to_owned)
        .ok_or_else(unauthorized)?;
    let token = guard
        .tokens
        .validate(&secret)
        .await
        .map_err(|error| match error {
            TokenError::Invalid => unauthorized(),
            TokenError::Unavailable(cause) => {
                ApiError::unavailable("The identity service does not answer now.").with_cause(cause)
            }
        })?;
    let (method, path) = (request.method.as_str(), request.uri.path());
    if !access_rules::allow(&token, guard.service_type, method, path) {
        return Err(unauthorized().with_cause("the token's access rules do not name the request"));
    }
    let allowed = match &guard.policies {
        Some(policies) => by_policy(guard, policies, &token, request).await,
        None => None,
    };
    if !allowed.unwrap_or_else(|| allows(guard.rule, &token)) {
        return Err(ApiError::policy(guard.operation));
    }
    let extensions = &request.extensions;
    Ok(RequestContext {
        user_id: token.user.id.clone(),
        user_name: token.user.name.clone(),
        project_id: token
            .project
            .as_ref()
            .map(|p| p.id.clone())
            .unwrap_or_default(),
        project_name: token
            .project
            .as_ref()
            .map(|p| p.name.clone())
            .unwrap_or_default(),
        domain: token
            .project
            .as_ref()
            .map(|p| p.domain.clone())
            .or_else(|| token.domain.clone())
            .unwrap_or_default(),
        roles: token.roles.iter().map(|role| role.name.clone()).collect(),
        is_admin: allows(Rule::Admin, &token),
        request_id: extensions
            .get::<RequestId>()
            .map(|id| id.0.clone())
            .unwrap_or_default(),
        microversion: extensions
            .get::<Microversion>()
            .copied()
            .unwrap_or(Microversion::new(0, 0)),
        secret,
        token,
    })
}

/// What the operator's policy says, if it speaks of the operation.
async fn by_policy(
    guard: &Guard,
    policies: &Policies,
    token: &Token,
    request: &mut Parts,
) -> Option<bool> {
    let parameters = RawPathParams::from_request_parts(request, &()).await.ok();
    let value = |wanted: &str| {
        let mut all = parameters.iter().flatten();
        all.find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    let known = guard.attributes.iter();
    let known = known.filter_map(|(name, parameter)| Some((name.as_str(), value(parameter)?)));
    let target = Target(known.collect());
    policies.current().decide(guard.operation, token, &target)
}

/// `/v3/users/` means `/v3/users`; `/` stays.
fn without_trailing_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let short = path.trim_end_matches('/');
    if short.len() == path.len() || path == "/" {
        return None;
    }
    let short = if short.is_empty() { "/" } else { short };
    let target = match uri.query() {
        Some(query) => format!("{short}?{query}"),
        None => short.to_owned(),
    };
    target.parse().ok()
}

/// The answer when a handler's task has ended without one.
fn panicked(error: JoinError) -> Response {
    let cause = match error.try_into_panic() {
        Ok(panic) => format!("panic: {}", panic_text(&*panic)),
        Err(error) => error.to_string(),
    };
    ApiError::internal(cause).into_response()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}
