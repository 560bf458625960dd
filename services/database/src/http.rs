//! The guard's HTTP side: `/healthz` for the load balancer, `/v1` for other guards and the operator, `/metrics`.
//! Answers from what the guard knows already; nothing here waits for the server.

use crate::run::Shared;
use crate::state::{Promised, State};
use axum::extract::{DefaultBodyLimit, Request, State as Extract};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Longest body that is read.
const LONGEST: usize = 4096;

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    let guarded = Router::new()
        .route("/v1/state", get(state))
        .route("/v1/promise", post(promise))
        .route("/v1/bootstrap", post(bootstrap))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), bearer));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(shared)
}

/// `Authorization: Bearer SECRET` (RFC 6750, section 2.1), compared in a time that does not tell how much was right.
async fn bearer(Extract(shared): Extract<Arc<Shared>>, request: Request, next: Next) -> Response {
    let secret = shared.config.peer_secret.expose().as_bytes();
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| bool::from(given.ct_eq(secret))) {
        next.run(request).await
    } else {
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
            "the guards' secret is needed\n",
        )
            .into_response()
    }
}

async fn healthz(Extract(shared): Extract<Arc<Shared>>) -> (StatusCode, String) {
    match shared.healthy() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics() -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        service_kit::telemetry::metrics_text(),
    )
}

async fn state(Extract(shared): Extract<Arc<Shared>>) -> Json<State> {
    Json(shared.state())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    from: String,
}

async fn promise(Extract(shared): Extract<Arc<Shared>>, Json(ask): Json<Ask>) -> Json<Promised> {
    Json(shared.promise(&ask.from))
}

async fn bootstrap(Extract(shared): Extract<Arc<Shared>>) -> Response {
    match shared.order() {
        Ok(()) => (StatusCode::ACCEPTED, Json(serde_json::json!({}))).into_response(),
        Err(why) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
    }
}
