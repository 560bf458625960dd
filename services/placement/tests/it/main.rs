//! The API in process: shapes, generations, claims that race, and the same on every database that is installed.

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use openstack_client::InProcess;
use placement::{Config, api, start};
use serde_json::{Value, json};
use service_kit::testing;
use tower::ServiceExt as _;

const HOST: &str = "11111111-2222-4333-8444-000000000001";

/// One call at microversion 1.36.
async fn call(router: &Router, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-auth-token", "service")
        .header("openstack-api-version", "placement 1.36");
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    let response = router
        .clone()
        .oneshot(request.body(body).expect("a request"))
        .await
        .expect("routers do not fail");
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

async fn host(router: &Router, vcpus: i64) {
    let (status, body) = call(
        router,
        Method::POST,
        "/resource_providers",
        json!({"name": "node-1", "uuid": HOST}),
    )
    .await;
    assert_eq!((status, &body["generation"]), (StatusCode::OK, &json!(0)));
    let offers = json!({"resource_provider_generation": 0, "inventories": {"VCPU": {"total": vcpus}, "MEMORY_MB": {"total": 1000, "reserved": 100}}});
    let (status, body) = call(
        router,
        Method::PUT,
        &format!("/resource_providers/{HOST}/inventories"),
        offers.clone(),
    )
    .await;
    assert_eq!(
        (status, &body["resource_provider_generation"]),
        (StatusCode::OK, &json!(1))
    );
    let (status, body) = call(
        router,
        Method::PUT,
        &format!("/resource_providers/{HOST}/inventories"),
        offers,
    )
    .await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (StatusCode::CONFLICT, &json!("placement.concurrent_update"))
    );
}

fn claim(vcpus: i64, generation: Value) -> Value {
    json!({"allocations": {HOST: {"resources": {"VCPU": vcpus}}}, "project_id": "p", "user_id": "u", "consumer_generation": generation})
}

fn consumer(n: u32) -> String {
    format!("/allocations/aaaaaaaa-0000-4000-8000-{n:012}")
}

/// What must hold on every database.
async fn scenario(router: Router) {
    host(&router, 4).await;
    assert_eq!(
        call(&router, Method::PUT, &consumer(1), claim(3, Value::Null))
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    let (status, body) = call(&router, Method::PUT, &consumer(1), claim(3, Value::Null)).await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (StatusCode::CONFLICT, &json!("placement.concurrent_update"))
    );
    let (status, body) = call(&router, Method::PUT, &consumer(2), claim(2, Value::Null)).await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (StatusCode::CONFLICT, &json!("placement.undefined_code")),
        "{body}"
    );
    let (_, body) = call(&router, Method::GET, &consumer(1), Value::Null).await;
    assert_eq!(body["consumer_generation"], 1);
    assert_eq!(
        call(&router, Method::PUT, &consumer(1), claim(1, json!(1)))
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    let (_, body) = call(
        &router,
        Method::GET,
        &format!("/resource_providers/{HOST}/usages"),
        Value::Null,
    )
    .await;
    assert_eq!(body["usages"], json!({"MEMORY_MB": 0, "VCPU": 1}));
    let (_, body) = call(
        &router,
        Method::GET,
        "/allocation_candidates?resources=VCPU:3,MEMORY_MB:900",
        Value::Null,
    )
    .await;
    assert_eq!(
        body["allocation_requests"].as_array().map(Vec::len),
        Some(1),
        "{body}"
    );
    let (_, body) = call(
        &router,
        Method::GET,
        "/allocation_candidates?resources=VCPU:4",
        Value::Null,
    )
    .await;
    assert_eq!(body["allocation_requests"], json!([]));
    let (status, _) = call(
        &router,
        Method::DELETE,
        &format!("/resource_providers/{HOST}"),
        Value::Null,
    )
    .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(
        call(&router, Method::DELETE, &consumer(1), Value::Null)
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        call(&router, Method::DELETE, &consumer(1), Value::Null)
            .await
            .0,
        StatusCode::NOT_FOUND
    );

    // Ten consumers want one of four processors each, at once.
    let racing = (10..20).map(|n| {
        let router = router.clone();
        tokio::spawn(async move {
            call(&router, Method::PUT, &consumer(n), claim(1, Value::Null))
                .await
                .0
        })
    });
    let outcomes = futures::future::join_all(racing.collect::<Vec<_>>()).await;
    let taken = outcomes
        .iter()
        .filter(|status| matches!(status, Ok(status) if *status == StatusCode::NO_CONTENT))
        .count();
    assert_eq!(taken, 4, "{outcomes:?}");
    let (_, body) = call(&router, Method::GET, "/usages?project_id=p", Value::Null).await;
    assert_eq!(body["usages"], json!({"VCPU": 4}));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_on_every_database() {
    testing::databases::each(|db| async move {
        let ctx = testing::context_on("placement", &std::env::temp_dir(), InProcess::new(), db);
        scenario(
            start(ctx, Config::default())
                .await
                .expect("the service starts")
                .router,
        )
        .await;
    })
    .await;
}

async fn on_sqlite() -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ctx = testing::context("placement", folder.path(), InProcess::new()).await;
    (
        start(ctx, Config::default())
            .await
            .expect("the service starts")
            .router,
        folder,
    )
}

#[tokio::test]
async fn no_row_is_open() {
    let (router, _folder) = on_sqlite().await;
    let open = testing::rows_open_without_token(&api(), &router).await;
    assert!(open.is_empty(), "{open:?}");
    let (status, _, body) = testing::call(&router, "", Method::GET, "/", Value::Null).await;
    assert_eq!(
        (status, &body["versions"][0]["max_version"]),
        (StatusCode::OK, &json!("1.39"))
    );
    let (status, _, _) = testing::call(
        &router,
        "member",
        Method::GET,
        "/resource_providers",
        Value::Null,
    )
    .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn traits_and_bad_requests() {
    let (router, _folder) = on_sqlite().await;
    host(&router, 4).await;
    assert_eq!(
        call(&router, Method::PUT, "/traits/CUSTOM_GOLD", Value::Null)
            .await
            .0,
        StatusCode::CREATED
    );
    assert_eq!(
        call(&router, Method::PUT, "/traits/CUSTOM_GOLD", Value::Null)
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        call(&router, Method::PUT, "/traits/gold", Value::Null)
            .await
            .0,
        StatusCode::BAD_REQUEST
    );
    let path = format!("/resource_providers/{HOST}/traits");
    let body =
        json!({"traits": ["CUSTOM_GOLD", "HW_CPU_X86_SVM"], "resource_provider_generation": 1});
    assert_eq!(
        call(&router, Method::PUT, &path, body).await.0,
        StatusCode::OK
    );
    for (query, found) in [
        ("CUSTOM_GOLD", 1),
        ("!CUSTOM_GOLD", 0),
        ("HW_CPU_X86_VMX", 0),
        ("in:HW_CPU_X86_VMX,CUSTOM_GOLD", 1),
    ] {
        let (_, body) = call(
            &router,
            Method::GET,
            &format!("/allocation_candidates?resources=VCPU:1&required={query}"),
            Value::Null,
        )
        .await;
        assert_eq!(
            body["allocation_requests"].as_array().map(Vec::len),
            Some(found),
            "{query}: {body}"
        );
    }
    assert_eq!(
        call(&router, Method::DELETE, "/traits/CUSTOM_GOLD", Value::Null)
            .await
            .0,
        StatusCode::CONFLICT
    );
    for path in [
        "/allocation_candidates",
        "/allocation_candidates?resources=NOPE:1",
        "/allocation_candidates?resources=VCPU:1&x=1",
    ] {
        assert_eq!(
            call(&router, Method::GET, path, Value::Null).await.0,
            StatusCode::BAD_REQUEST,
            "{path}"
        );
    }
    let unknown = json!({"allocations": {"11111111-2222-4333-8444-00000000000f": {"resources": {"VCPU": 1}}}, "project_id": "p", "user_id": "u", "consumer_generation": null});
    assert_eq!(
        call(&router, Method::PUT, &consumer(1), unknown).await.0,
        StatusCode::BAD_REQUEST
    );
}
