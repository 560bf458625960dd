//! A small service through the whole stack of layers.

use axum::extract::State;
use http::{Method, StatusCode};
use openstack_client::InProcess;
use openstack_types::Microversion;
use serde_json::{Value, json};
use service_kit::{
    Api, ApiError, FaultStyle, Json, Microversions, Path, RequestContext, Route, Rule,
    testing::{self, call},
};

async fn thing(
    State(()): State<()>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Json<Value> {
    Json(json!({"id": id, "project": context.project_id, "version": context.microversion}))
}

async fn make(Json(body): Json<Value>) -> Result<Json<Value>, ApiError> {
    if body.get("panic").is_some() {
        panic!("on purpose");
    }
    if body.get("fail").is_some() {
        return Err(ApiError::internal("the cause is for the log"));
    }
    Ok(Json(body))
}

fn table() -> Api<()> {
    let routes = vec![
        Route::new(Method::GET, "/", "versions", Rule::Public, async || {
            Json(json!({"versions": []}))
        }),
        Route::new(
            Method::GET,
            "/things/{id}",
            "get_thing",
            Rule::Reader,
            thing,
        ),
        Route::new(Method::POST, "/things", "make_thing", Rule::Member, make),
        Route::new(
            Method::DELETE,
            "/things/{id}",
            "delete_thing",
            Rule::Admin,
            async || StatusCode::NO_CONTENT,
        ),
    ];
    Api::new("compute", FaultStyle::Nova, routes).microversions(Microversions {
        service: "compute",
        legacy_header: Some("x-openstack-nova-api-version"),
        min: Microversion::new(2, 1),
        max: Microversion::new(2, 90),
    })
}

async fn router() -> axum::Router {
    let folder = tempfile::tempdir().unwrap();
    let ctx = testing::context("compute", folder.path(), InProcess::new()).await;
    table().into_router((), ctx.tokens.clone(), &ctx.auth_url)
}

#[tokio::test]
async fn tokens_and_rules_hold_on_each_row() {
    let router = router().await;
    assert_eq!(
        testing::rows_open_without_token(&table(), &router).await,
        Vec::<String>::new()
    );
    let (status, headers, body) =
        call(&router, "nobody", Method::GET, "/things/1", Value::Null).await;
    assert_eq!(
        (status, body["error"]["code"].clone()),
        (StatusCode::UNAUTHORIZED, json!(401))
    );
    assert!(
        headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Keystone uri=")
    );
    let (status, _, body) = call(&router, "reader", Method::POST, "/things", json!({})).await;
    assert_eq!(
        (status, body["forbidden"]["code"].clone()),
        (StatusCode::FORBIDDEN, json!(403))
    );
    let (status, _, _) = call(&router, "member", Method::DELETE, "/things/1", Value::Null).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, ..) = call(&router, "admin", Method::DELETE, "/things/1", Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, ..) = call(&router, "", Method::GET, "/", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn answers_bear_ids_and_versions() {
    let router = router().await;
    let (status, headers, body) =
        call(&router, "reader@p7", Method::GET, "/things/1/", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, json!({"id": "1", "project": "p7", "version": "2.1"}));
    assert!(
        headers["x-openstack-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req-")
    );
    assert_eq!(headers["openstack-api-version"], "compute 2.1");
    assert_eq!(headers["x-openstack-nova-api-version"], "2.1");
}

#[tokio::test]
async fn wrong_requests_get_faults_of_the_service() {
    let router = router().await;
    let (status, _, body) = call(&router, "member", Method::GET, "/nothing", Value::Null).await;
    assert_eq!(
        (status, body["itemNotFound"]["code"].clone()),
        (StatusCode::NOT_FOUND, json!(404))
    );
    let (status, _, body) = call(&router, "member", Method::PUT, "/things", json!({})).await;
    assert_eq!(
        (status, body["badMethod"]["code"].clone()),
        (StatusCode::METHOD_NOT_ALLOWED, json!(405))
    );
    let (status, _, body) = call(&router, "member", Method::POST, "/things", Value::Null).await;
    assert_eq!(
        (status, body["badRequest"]["code"].clone()),
        (StatusCode::BAD_REQUEST, json!(400))
    );
    for body in [json!({"panic": 1}), json!({"fail": 1})] {
        let (status, headers, body) = call(&router, "member", Method::POST, "/things", body).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        let message = body["computeFault"]["message"].as_str().unwrap();
        assert!(
            message.contains(headers["x-openstack-request-id"].to_str().unwrap()),
            "{message}"
        );
        assert!(
            !message.contains("cause") && !message.contains("purpose"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_api_describes_itself_to_callers_with_a_token() {
    let router = router().await;
    let get = async |token| call(&router, token, Method::GET, "/openapi.json", Value::Null).await;
    assert_eq!(get("").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(get("nobody").await.0, StatusCode::UNAUTHORIZED);
    let (status, headers, body) = get("none").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body["openapi"], "3.1.0");
    assert_eq!(
        body["paths"]["/things/{id}"]["delete"]["operationId"],
        "delete_thing"
    );
    assert_eq!(body["info"]["x-microversions"]["max"], "2.90");
}
