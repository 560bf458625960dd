//! Image through its router: the life of an image, and what is refused.

// Clippy allows these in tests, but knows helpers of tests only below `#[test]`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod copies;
mod imports;
mod metadefs;
mod quotas;
mod s3;
mod stores;
mod swift;
mod tasks;

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use openstack_client::InProcess;
use serde_json::{Value, json};
use service_kit::testing::{self, call, databases};
use std::path::Path;
use tower::ServiceExt;

async fn start(db: &sea_orm::DatabaseConnection, folder: &Path) -> Router {
    // As every program that calls others does at its start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ctx = testing::context_on("image", folder, InProcess::new(), db.clone());
    image::start(ctx, image::Config::default())
        .await
        .unwrap()
        .router
}

async fn put(router: &Router, id: &str, body: Body) -> StatusCode {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("/v2/images/{id}/file"))
        .header("x-auth-token", "member")
        .header("content-type", "application/octet-stream")
        .body(body)
        .unwrap();
    router.clone().oneshot(request).await.unwrap().status()
}

async fn create(router: &Router, token: &str, body: Value) -> String {
    let (status, _, body) = call(router, token, Method::POST, "/v2/images", body).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

async fn patch(router: &Router, id: &str, changes: Value) -> (StatusCode, Value) {
    let kind = "application/openstack-images-v2.1-json-patch";
    patch_as(router, id, kind, changes).await
}

async fn patch_as(router: &Router, id: &str, kind: &str, changes: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("/v2/images/{id}"))
        .header("x-auth-token", "member")
        .header("content-type", kind)
        .body(Body::from(changes.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

/// A removal that must be done.
async fn removed(router: &Router, who: &str, path: &str) {
    let (status, _, told) = call(router, who, Method::DELETE, path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{told}");
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("images")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_lives_and_goes() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let router = start(&db, folder.path()).await;
        let wanted = json!({"name": "disk", "disk_format": "raw", "container_format": "bare", "os_distro": "debian"});
        let id = create(&router, "member", wanted).await;
        assert_eq!(put(&router, &id, Body::from("hello")).await, StatusCode::NO_CONTENT);
        assert_eq!(put(&router, &id, Body::from("again")).await, StatusCode::CONFLICT);
        let path = format!("/v2/images/{id}");
        let (_, _, shown) = call(&router, "member", Method::GET, &path, Value::Null).await;
        assert_eq!(shown["status"], "active");
        assert_eq!(shown["size"], 5);
        assert_eq!(shown["checksum"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(shown["os_distro"], "debian");
        let (status, headers, data) = call(&router, "member", Method::GET, &format!("{path}/file"), Value::Null).await;
        assert_eq!((status, data), (StatusCode::OK, json!("hello")));
        assert_eq!(headers["content-length"], "5");

        // Another project sees it when it is shared and accepted.
        let (status, ..) = call(&router, "member@p2", Method::GET, &path, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let members = format!("{path}/members");
        let (status, ..) = call(&router, "member", Method::POST, &members, json!({"member": "p2"})).await;
        assert_eq!(status, StatusCode::OK);
        let (status, ..) = call(&router, "member@p2", Method::GET, &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        let (_, _, list) = call(&router, "member@p2", Method::GET, "/v2/images", Value::Null).await;
        assert_eq!(list["images"], json!([]));
        let accepted = json!({"status": "accepted"});
        let (status, ..) = call(&router, "member@p2", Method::PUT, &format!("{members}/p2"), accepted).await;
        assert_eq!(status, StatusCode::OK);
        let (_, _, list) = call(&router, "member@p2", Method::GET, "/v2/images", Value::Null).await;
        assert_eq!(list["images"][0]["id"], json!(id));
        let (status, ..) = call(&router, "member@p2", Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        let (status, changed) = patch(&router, &id, json!([
            {"op": "replace", "path": "/name", "value": "other"},
            {"op": "remove", "path": "/os_distro"},
            {"op": "add", "path": "/protected", "value": true},
        ]))
        .await;
        assert_eq!((status, &changed["name"], changed.get("os_distro")), (StatusCode::OK, &json!("other"), None));
        let (status, _) = patch(&router, &id, json!([{"op": "replace", "path": "/size", "value": 1}])).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, _) = patch(&router, &id, json!([{"op": "add", "path": "/visibility", "value": "public"}])).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, ..) = call(&router, "member", Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "protected");
        patch(&router, &id, json!([{"op": "replace", "path": "/protected", "value": false}])).await;
        let (status, ..) = call(&router, "member", Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(files(folder.path()), 0);
    })
    .await;
}

#[tokio::test]
async fn bad_data_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/image.db", folder.path().display());
    let db = service_kit::store::connect(&url).await.unwrap();
    let router = start(&db, folder.path()).await;
    let id = create(
        &router,
        "member",
        json!({"name": "q", "disk_format": "qcow2", "container_format": "bare"}),
    )
    .await;
    let mut header = vec![0u8; 512];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    header[15] = 200;
    assert_eq!(
        put(&router, &id, Body::from(header)).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(settled(&router, &id).await, "queued");
    // The client goes away half-way.
    let pieces = vec![
        Ok(Bytes::from(vec![0u8; 100_000])),
        Err(std::io::Error::other("connection reset")),
    ];
    let body = Body::from_stream(futures::stream::iter(pieces));
    let raw = create(
        &router,
        "member",
        json!({"name": "r", "disk_format": "raw", "container_format": "bare"}),
    )
    .await;
    assert_eq!(put(&router, &raw, body).await, StatusCode::BAD_REQUEST);
    assert_eq!(settled(&router, &raw).await, "queued");
    assert_eq!(files(folder.path()), 0);
    // And may begin again.
    assert_eq!(
        put(&router, &raw, Body::from("whole")).await,
        StatusCode::NO_CONTENT
    );
    for bad in [
        json!({"disk_format": "floppy"}),
        json!({"min_ram": -1}),
        json!({"id": "no"}),
        json!([]),
    ] {
        let (status, ..) = call(&router, "member", Method::POST, "/v2/images", bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let (status, ..) = call(
        &router,
        "member",
        Method::POST,
        "/v2/images",
        json!({"visibility": "public"}),
    )
    .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

/// Media type v2.0 writes an operation another way; names beginning with `os_glance` are the service's own; an image without
/// an id is none.
#[tokio::test]
async fn older_patches_reserved_names_and_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/image.db", folder.path().display());
    let db = service_kit::store::connect(&url).await.unwrap();
    let router = start(&db, folder.path()).await;
    let id = create(&router, "member", json!({"name": "a", "kept": "x"})).await;
    let draft = async |changes: Value| {
        let kind = "application/openstack-images-v2.0-json-patch";
        patch_as(&router, &id, kind, changes).await
    };
    let (status, changed) = draft(json!([
        {"replace": "/name", "value": "b"},
        {"add": "/os_distro", "value": "debian"},
        {"remove": "/kept"},
    ]))
    .await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!(
        (&changed["name"], &changed["os_distro"], changed.get("kept")),
        (&json!("b"), &json!("debian"), None)
    );
    for (bad, expected) in [
        (
            json!([{"op": "replace", "path": "/name", "value": "c"}]),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!([{"add": "/name", "replace": "/name", "value": "c"}]),
            StatusCode::BAD_REQUEST,
        ),
        (json!({"replace": "/name"}), StatusCode::BAD_REQUEST),
        (
            json!([{"add": "/os_glance_own", "value": "c"}]),
            StatusCode::FORBIDDEN,
        ),
    ] {
        let (status, body) = draft(bad.clone()).await;
        assert_eq!(status, expected, "{bad}: {body}");
    }
    let own = json!({"os_glance_own": "c"});
    let (status, ..) = call(&router, "member", Method::POST, "/v2/images", own).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    for method in [Method::GET, Method::DELETE] {
        let (status, ..) = call(&router, "member", method, "/v2/images/", Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}

/// Owners and administrators switch an image off and on; others cannot, also when they see it.
#[tokio::test]
async fn an_image_is_switched_off_and_on() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/image.db", folder.path().display());
    let db = service_kit::store::connect(&url).await.unwrap();
    let router = start(&db, folder.path()).await;
    let wanted =
        json!({"disk_format": "raw", "container_format": "bare", "visibility": "community"});
    let id = create(&router, "member", wanted).await;
    put(&router, &id, Body::from("hello")).await;
    let file = format!("/v2/images/{id}/file");
    for (who, action, expected, read) in [
        (
            "member@p2",
            "deactivate",
            StatusCode::FORBIDDEN,
            StatusCode::OK,
        ),
        (
            "member",
            "deactivate",
            StatusCode::NO_CONTENT,
            StatusCode::FORBIDDEN,
        ),
        (
            "member@p2",
            "reactivate",
            StatusCode::FORBIDDEN,
            StatusCode::FORBIDDEN,
        ),
        (
            "member",
            "reactivate",
            StatusCode::NO_CONTENT,
            StatusCode::OK,
        ),
        (
            "admin",
            "deactivate",
            StatusCode::NO_CONTENT,
            StatusCode::FORBIDDEN,
        ),
    ] {
        let path = format!("/v2/images/{id}/actions/{action}");
        let (status, ..) = call(&router, who, Method::POST, &path, Value::Null).await;
        assert_eq!(status, expected, "{who} {action}");
        let (status, ..) = call(&router, "member", Method::GET, &file, Value::Null).await;
        assert_eq!(status, read, "after {who} {action}");
    }
}

/// The status once it is no longer `saving`: a refused upload is put back in the background.
async fn settled(router: &Router, id: &str) -> String {
    loop {
        let (_, _, shown) = call(
            router,
            "member",
            Method::GET,
            &format!("/v2/images/{id}"),
            Value::Null,
        )
        .await;
        let status = shown["status"].as_str().unwrap().to_owned();
        if status != "saving" {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn lists_in_pages_and_by_filters() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/image.db", folder.path().display());
    let db = service_kit::store::connect(&url).await.unwrap();
    let router = start(&db, folder.path()).await;
    for n in 0..5 {
        create(
            &router,
            "member",
            json!({"name": format!("i{n}"), "tags": [format!("t{}", n % 2)]}),
        )
        .await;
    }
    let mut path = "/v2/images?limit=2&sort=name:asc".to_owned();
    let mut names = Vec::new();
    loop {
        let (status, _, page) = call(&router, "reader", Method::GET, &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        names.extend(
            page["images"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["name"].as_str().unwrap().to_owned()),
        );
        match page.get("next") {
            Some(next) => path = next.as_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["i0", "i1", "i2", "i3", "i4"]);
    for (query, found) in [
        ("tag=t0", 3),
        ("name=i3", 1),
        ("name=in:i1,i2", 2),
        ("status=active", 0),
        ("owner=p1", 5),
    ] {
        let (_, _, list) = call(
            &router,
            "reader",
            Method::GET,
            &format!("/v2/images?{query}"),
            Value::Null,
        )
        .await;
        assert_eq!(list["images"].as_array().unwrap().len(), found, "{query}");
    }
    let (status, ..) = call(
        &router,
        "reader",
        Method::GET,
        "/v2/images?limit=x",
        Value::Null,
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

/// Texts that no table takes are refused as such, not as a fault of ours, on every database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_are_too_long_or_have_a_nul() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let router = start(&db, folder.path()).await;
        let long = "x".repeat(1 << 20);
        let (bad, large) = (StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE);
        for (body, expected) in [
            (json!({"name": long}), bad),
            (json!({"name": "a\0b"}), bad),
            (json!({"tags": [long]}), bad),
            (json!({"tags": (0..128).map(|n| format!("{n}{}", "\u{1}".repeat(250))).collect::<Vec<_>>()}), bad),
            (json!({"a": long}), large),
            (json!({"a": "x".repeat(40_000), "b": "x".repeat(40_000)}), large),
            (json!({ ("x".repeat(256)): "a" }), large),
        ] {
            let (status, ..) = call(&router, "member", Method::POST, "/v2/images", body).await;
            assert_eq!(status, expected);
        }
        let owner = json!({"owner": "x".repeat(65)});
        assert_eq!(call(&router, "admin", Method::POST, "/v2/images", owner).await.0, bad);
        let id = create(&router, "member", json!({"name": "a", "a": "\0", "tags": ["\0"]})).await;
        let members = format!("/v2/images/{id}/members");
        for member in ["", "a\0b", &long] {
            let body = json!({ "member": member });
            assert_eq!(call(&router, "member", Method::POST, &members, body).await.0, bad);
        }
        for path in ["/v2/images/%00", "/v2/images/%00/file", "/v2/tasks/a%00", "/v2/metadefs/namespaces/%00"] {
            let (status, ..) = call(&router, "admin", Method::GET, path, Value::Null).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        }
        let (status, ..) = call(&router, "admin", Method::GET, "/v2/tasks?type=%00", Value::Null).await;
        assert_eq!(status, bad);
        let unknown = format!("{members}/nobody");
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(call(&router, "member", method, &unknown, Value::Null).await.0, StatusCode::NOT_FOUND);
        }
    })
    .await;
}
