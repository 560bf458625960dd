//! `/internal/agents/{host}`: what agents on compute nodes call. See `agent/protocol.rs` for the conversation.

use std::time::Duration;

use axum::Extension;
use serde_json::{Value, json};
use service_kit::{ApiError, CallerGone, Json, Path, Query};
use uuid::Uuid;

use super::{State, bad, not_found};
use crate::agent::protocol::{
    ClaimAnswer, ClaimRequest, ExpectedGuests, Guests, GuestsAnswer, Heartbeat, Held, Renewal,
    Report,
};
use crate::app::agents;
use crate::store::servers::{self, Filter};

/// Longest wait for work: well below the time limit of a request.
const LONGEST_WAIT: u64 = 25;

/// POST `heartbeat`.
pub async fn heartbeat(
    app: State,
    Path(host): Path<String>,
    Json(beat): Json<Heartbeat>,
) -> Result<Json<Value>, ApiError> {
    if host.is_empty() || host.len() > 150 {
        return Err(bad("A host's name has 1 to 150 characters."));
    }
    agents::heartbeat(&app, &host, &beat).await?;
    Ok(Json(json!({})))
}

/// POST `claim`.
pub async fn claim(
    app: State,
    Path(host): Path<String>,
    Extension(CallerGone(gone)): Extension<CallerGone>,
    Json(request): Json<ClaimRequest>,
) -> Result<Json<ClaimAnswer>, ApiError> {
    let wait = Duration::from_secs(request.wait.min(LONGEST_WAIT));
    Ok(Json(ClaimAnswer {
        operations: agents::claim(&app, &host, request.limit, wait, &gone).await?,
    }))
}

/// POST `operations/{id}/renew`.
pub async fn renew(
    app: State,
    Path((host, id)): Path<(String, String)>,
    Json(renewal): Json<Renewal>,
) -> Result<Json<Held>, ApiError> {
    Ok(Json(Held {
        held: agents::renew(&app, &host, &id, renewal.generation).await?,
    }))
}

/// POST `operations/{id}/report`.
pub async fn report(
    app: State,
    Path((host, id)): Path<(String, String)>,
    Json(report): Json<Report>,
) -> Result<Json<Held>, ApiError> {
    Ok(Json(Held {
        held: agents::report(&app, &host, &id, &report).await?,
    }))
}

/// GET `guests`.
pub async fn expected_guests(
    app: State,
    Path(host): Path<String>,
) -> Result<Json<ExpectedGuests>, ApiError> {
    Ok(Json(agents::expected_guests(&app, &host).await?))
}

/// POST `guests`.
pub async fn guests(
    app: State,
    Path(host): Path<String>,
    Json(seen): Json<Guests>,
) -> Result<Json<GuestsAnswer>, ApiError> {
    Ok(Json(agents::guests(&app, &host, &seen).await?))
}

/// GET `metadata?network=&address=`: the guest that has this address, as the metadata service shows it.
pub async fn metadata(
    app: State,
    Path(host): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let network: Uuid = query
        .get("network")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("`network` is not a UUID."))?;
    let address = query
        .get("address")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("`address` is not an address."))?;
    let server = agents::by_address(&app, &host, network, address)
        .await?
        .ok_or_else(|| not_found(format!("No server has {address} on network {network}.")))?;
    let mut spec = agents::guest_spec(&app, &server)?;
    let floating = crate::app::ports::floating_ips(&app, Some(&server.project_id)).await;
    for interface in &mut spec.interfaces {
        interface.floating_ips = floating
            .get(&interface.port_id)
            .cloned()
            .unwrap_or_default();
    }
    Ok(Json(json!(spec)))
}

/// GET `networks`: the networks that servers of this host are on, for which metadata is to be served.
pub async fn networks(app: State, Path(host): Path<String>) -> Result<Json<Value>, ApiError> {
    let all = servers::list(
        &app.db,
        &Filter {
            host: Some(host),
            ..Filter::default()
        },
    )
    .await?;
    let mut out: Vec<Uuid> = all
        .iter()
        .flat_map(|server| &server.doc.interfaces)
        .map(|interface| interface.network_id)
        .collect();
    out.sort();
    out.dedup();
    Ok(Json(json!({"networks": out})))
}
