//! The agent's side of HTTP, `/agent/v1/*` as `agent_protocol::enrol` describes: authentication, decoding, status
//! codes. What the reports mean is decided in `nodes`.
use std::sync::Arc;

use agent_protocol::enrol::{Failure, Hardware, Installed, Orders, Progress};
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use boot::Mac;

use crate::nodes::{Nodes, Refusal};

/// A machine with hundreds of disks and cards reports some hundred kilobytes.
const LARGEST_REPORT: usize = 1 << 20;

/// The routes, to be added to the boot server's.
pub fn routes(nodes: Arc<Nodes>) -> Router {
    Router::new()
        .route("/agent/v1/hardware", post(hardware))
        .route("/agent/v1/progress", post(progress))
        .route("/agent/v1/installed", post(installed))
        .route("/agent/v1/failed", post(failed))
        .layer(DefaultBodyLimit::max(LARGEST_REPORT))
        .with_state(nodes)
}

/// The machine whose token came with the request. Checked before the body is read.
struct Enrolled(Mac);

impl FromRequestParts<Arc<Nodes>> for Enrolled {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, nodes: &Arc<Nodes>) -> Result<Self, Response> {
        parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| nodes.authenticate(token.trim()))
            .map(Self)
            .ok_or_else(|| {
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
                (
                    StatusCode::UNAUTHORIZED,
                    challenge,
                    "the token is wrong or has expired\n",
                )
                    .into_response()
            })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::OtherMachine(_) => StatusCode::FORBIDDEN,
            Self::Unfit(_) | Self::OutOfOrder { .. } => StatusCode::CONFLICT,
            Self::HostKey(_) => StatusCode::UNPROCESSABLE_ENTITY,
            // The agent tries again on these.
            Self::State(_) | Self::UnknownState(_) | Self::Random(_) => {
                tracing::error!(error = %self, "a node's report could not be taken");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        tracing::warn!(reason = %self, "refused a node's report");
        (status, format!("{self}\n")).into_response()
    }
}

type Shared = State<Arc<Nodes>>;

async fn hardware(
    State(nodes): Shared,
    node: Enrolled,
    Json(report): Json<Hardware>,
) -> Result<Json<Orders>, Refusal> {
    nodes.hardware(node.0, report).await.map(Json)
}

async fn progress(
    State(nodes): Shared,
    node: Enrolled,
    Json(report): Json<Progress>,
) -> StatusCode {
    nodes.progress(node.0, &report);
    StatusCode::NO_CONTENT
}

async fn installed(
    State(nodes): Shared,
    node: Enrolled,
    Json(report): Json<Installed>,
) -> Result<StatusCode, Refusal> {
    nodes
        .installed(node.0, report)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

async fn failed(
    State(nodes): Shared,
    node: Enrolled,
    Json(report): Json<Failure>,
) -> Result<StatusCode, Refusal> {
    nodes
        .failed(node.0, &report)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}
