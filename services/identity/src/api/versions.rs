//! Version documents: `/` and `/v3`. Knows no resource.

use super::Shared;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use service_kit::{Json, request::base_url};

fn v3(app: &Shared, headers: &HeaderMap) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{}/v3/", base_url(headers, &app.public_url))}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

pub async fn list(State(app): State<Shared>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    (
        StatusCode::MULTIPLE_CHOICES,
        Json(json!({"versions": {"values": [v3(&app, &headers)]}})),
    )
}

pub async fn show(State(app): State<Shared>, headers: HeaderMap) -> Json<Value> {
    Json(json!({"version": v3(&app, &headers)}))
}
