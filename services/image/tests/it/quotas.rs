//! Identity's limits as image holds them.
use super::*;
use imports::{config, database, raw, show, stage};
use std::sync::{Arc, Mutex};

/// An identity that has these limits, and a catalogue with itself.
fn identity(limits: Arc<Mutex<(Value, Value)>>) -> Router {
    let endpoint = json!({"id": "e", "interface": "internal", "region_id": "RegionOne", "region": "RegionOne",
        "url": "http://identity.test/v3"});
    let catalog =
        json!([{"id": "s", "type": "identity", "name": "identity", "endpoints": [endpoint]}]);
    let (of_registered, of_own) = (limits.clone(), limits);
    let token = move |headers: http::HeaderMap| async move {
        let who = headers["x-subject-token"].to_str().unwrap();
        let role = json!({"id": who, "name": who});
        axum::Json(
            json!({"token": {"methods": ["password"], "expires_at": "2999-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z", "roles": [role], "catalog": catalog,
            "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p1", "name": "p1", "domain": {"id": "default", "name": "Default"}}}}),
        )
    };
    use axum::routing::get;
    Router::new()
        .route("/v3/auth/tokens", get(token))
        .route(
            "/v3/registered_limits",
            get(async move || {
                axum::Json(json!({"registered_limits": of_registered.lock().unwrap().0}))
            }),
        )
        .route(
            "/v3/limits",
            get(async move || axum::Json(json!({"limits": of_own.lock().unwrap().1}))),
        )
}

async fn with_limits(folder: &Path, registered: Value, own: Value) -> Router {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let db = database(folder).await;
    let others = InProcess::new();
    let ctx = testing::context_on("image", folder, others.clone(), db);
    others.register(
        "identity",
        identity(Arc::new(Mutex::new((registered, own)))),
    );
    let config = config("[web_download]\nallowed_ports = []\n");
    image::start(ctx, config).await.unwrap().router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold() {
    let registered = |name: &str, limit: i64| json!({"resource_name": name, "default_limit": limit, "region_id": null});
    let folder = tempfile::tempdir().unwrap();
    let all = json!([
        registered("image_count_total", 50),
        registered("image_size_total", 2),
        registered("image_stage_total", 1),
        registered("image_count_uploading", 1),
        registered("volumes", 0),
    ]);
    let own = json!([
        {"resource_name": "image_count_total", "resource_limit": 4, "project_id": "p1", "region_id": null},
        {"resource_name": "image_count_total", "resource_limit": 0, "project_id": "p2", "region_id": null},
        {"resource_name": "image_size_total", "resource_limit": 0, "project_id": "p1", "region_id": "Elsewhere"},
    ]);
    let router = with_limits(folder.path(), all, own).await;
    let router = &router;
    let (_, _, told) = call(router, "reader", Method::GET, "/v2/info/usage", Value::Null).await;
    assert_eq!(
        told["usage"]["image_count_total"],
        json!({"limit": 4, "usage": 0})
    );
    assert_eq!(
        told["usage"]["image_size_total"],
        json!({"limit": 2, "usage": 0})
    );
    let (status, ..) = call(
        router,
        "member@p2",
        Method::POST,
        "/v2/images",
        json!({"name": "a"}),
    )
    .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    // While the data come, and before: no more than there is room for.
    let mib = |n: usize| Body::from(vec![0u8; n << 20]);
    let first = raw(router).await;
    assert_eq!(
        put(router, &first, mib(3)).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let told = imports::until(router, &first, |shown| shown["status"] == "queued").await;
    assert_eq!((&told["size"], files(folder.path())), (&Value::Null, 0));
    assert_eq!(put(router, &first, mib(1)).await, StatusCode::NO_CONTENT);
    let second = raw(router).await;
    assert_eq!(
        stage(router, &second, mib(2)).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    imports::until(router, &second, |shown| shown["status"] == "queued").await;
    assert_eq!(stage(router, &second, mib(1)).await, StatusCode::NO_CONTENT);
    // One image is under way: another may not be.
    let third = raw(router).await;
    assert_eq!(
        put(router, &third, Body::from("x")).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let direct = json!({"method": {"name": "glance-direct"}});
    imports::accepted(router, "member", &second, direct).await;
    imports::until(router, &second, |shown| shown["status"] == "active").await;
    // All the room is taken.
    assert_eq!(
        put(router, &third, Body::from("x")).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(show(router, &third).await["status"], "queued");
    raw(router).await;
    let (status, _, told) = call(
        router,
        "member",
        Method::POST,
        "/v2/images",
        json!({"name": "a"}),
    )
    .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{told}");
    let (_, _, told) = call(router, "reader", Method::GET, "/v2/info/usage", Value::Null).await;
    assert_eq!(
        told["usage"]["image_count_total"],
        json!({"limit": 4, "usage": 4})
    );
    assert_eq!(
        told["usage"]["image_size_total"],
        json!({"limit": 2, "usage": 2})
    );
    // What is deleted is no longer counted.
    let path = format!("/v2/images/{first}");
    removed(router, "member", &path).await;
    assert_eq!(
        put(router, &third, Body::from("x")).await,
        StatusCode::NO_CONTENT
    );
}

/// Without limits in identity, or with none of image's: as much as one likes.
#[tokio::test]
async fn no_limits() {
    for registered in [
        json!([]),
        json!([{"resource_name": "image_count_total", "default_limit": -1, "region_id": null}]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let router = with_limits(folder.path(), registered, json!([])).await;
        raw(&router).await;
        let (_, _, told) = call(
            &router,
            "reader",
            Method::GET,
            "/v2/info/usage",
            Value::Null,
        )
        .await;
        assert_eq!(
            told["usage"]["image_count_total"],
            json!({"limit": -1, "usage": 1})
        );
    }
}
