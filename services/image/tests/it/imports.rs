//! Imports through the router: staged data, data from the web, several stores, and what happens when a controller goes.
use super::*;
use axum::routing::get;
use sea_orm::ConnectionTrait;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::net::TcpListener;

/// A service with its folder, and what the configuration says beyond its own.
pub struct Started {
    pub router: Router,
    pub ctx: service_kit::Context,
    pub folder: PathBuf,
}

impl Started {
    pub fn stop(&self) {
        self.ctx.shutdown.cancel();
    }
}

pub async fn start_with(
    db: &sea_orm::DatabaseConnection,
    folder: &Path,
    config: image::Config,
) -> Started {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ctx = testing::context_on("image", folder, InProcess::new(), db.clone());
    let router = image::start(ctx.clone(), config).await.unwrap().router;
    Started {
        router,
        ctx,
        folder: folder.to_owned(),
    }
}

pub fn config(text: &str) -> image::Config {
    toml::from_str(text).unwrap()
}

pub async fn database(folder: &Path) -> sea_orm::DatabaseConnection {
    let url = format!("sqlite://{}/image.db", folder.display());
    service_kit::store::connect(&url).await.unwrap()
}

pub async fn stage(router: &Router, id: &str, body: Body) -> StatusCode {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("/v2/images/{id}/stage"))
        .header("x-auth-token", "member")
        .body(body)
        .unwrap();
    router.clone().oneshot(request).await.unwrap().status()
}

pub async fn show(router: &Router, id: &str) -> Value {
    let path = format!("/v2/images/{id}");
    call(router, "member", Method::GET, &path, Value::Null)
        .await
        .2
}

pub async fn data(router: &Router, id: &str) -> (StatusCode, Value) {
    let path = format!("/v2/images/{id}/file");
    let (status, _, data) = call(router, "member", Method::GET, &path, Value::Null).await;
    (status, data)
}

pub async fn import(router: &Router, who: &str, id: &str, body: Value) -> (StatusCode, Value) {
    let path = format!("/v2/images/{id}/import");
    let (status, _, told) = call(router, who, Method::POST, &path, body).await;
    (status, told)
}

/// An import that must be accepted.
pub async fn accepted(router: &Router, who: &str, id: &str, body: Value) {
    let (status, told) = import(router, who, id, body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
}

/// The image when `done` says so; gives up after a time that no import here needs.
pub async fn until(router: &Router, id: &str, done: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1500 {
        let shown = show(router, id).await;
        if done(&shown) {
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it stays {}", show(router, id).await)
}

pub async fn raw(router: &Router) -> String {
    let wanted = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    create(router, "member", wanted).await
}

/// What an image's task has come to.
async fn task(router: &Router, id: &str) -> Value {
    let path = format!("/v2/images/{id}/tasks");
    for _ in 0..1500 {
        let (status, _, told) = call(router, "member", Method::GET, &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{told}");
        let task = told["tasks"][0].clone();
        if matches!(task["status"].as_str(), Some("success" | "failure")) {
            return task;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a task does not end")
}

/// A web server on loopback: `/image` has data, `/slow` begins and goes on for ever, `/to?where` sends on.
pub async fn web() -> SocketAddr {
    let slow = || async {
        let pieces = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(&[7; 1000])), ()))
        });
        Body::from_stream(pieces)
    };
    let to = |uri: http::Uri| async move {
        let place = uri.query().unwrap_or_default().to_owned();
        (StatusCode::FOUND, [(http::header::LOCATION, place)])
    };
    let app = Router::new()
        .route("/image", get(|| async { "from the web" }))
        .route("/slow", get(slow))
        .route(
            "/cut",
            get(|| async {
                let pieces = vec![
                    Ok(Bytes::from_static(b"half")),
                    Err(std::io::Error::other("cut")),
                ];
                Body::from_stream(futures::stream::iter(pieces))
            }),
        )
        .route("/to", get(to));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    at
}

/// Lets the service reach that server.
pub const LOCAL: &str = "[web_download]\nallowed_ports = []\nallowed_networks = ['127.0.0.0/8']\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staged_data_become_an_image() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let one = start_with(&db, folder.path(), image::Config::default()).await;
        let router = &one.router;
        let id = raw(router).await;
        let direct = json!({"method": {"name": "glance-direct"}});
        assert_eq!(
            import(router, "member", &id, direct.clone()).await.0,
            StatusCode::CONFLICT
        );
        assert_eq!(
            stage(router, &id, Body::from("hello")).await,
            StatusCode::NO_CONTENT
        );
        let shown = show(router, &id).await;
        assert_eq!(
            (&shown["status"], &shown["size"]),
            (&json!("uploading"), &json!(5))
        );
        assert_eq!(
            (&shown["checksum"], shown.get("stores")),
            (&Value::Null, None)
        );
        assert_eq!(data(router, &id).await.0, StatusCode::NO_CONTENT);
        assert_eq!(
            stage(router, &id, Body::from("again")).await,
            StatusCode::CONFLICT
        );
        assert_eq!(
            import(router, "member@p2", &id, direct.clone()).await.0,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            import(router, "reader", &id, direct.clone()).await.0,
            StatusCode::FORBIDDEN
        );
        let path = format!("/v2/images/{id}/import");
        let (status, headers, _) =
            call(router, "member", Method::POST, &path, direct.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let shown = until(router, &id, |shown| shown["status"] == "active").await;
        assert_eq!(shown["checksum"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(
            (
                &shown["stores"],
                &shown["os_glance_importing_to_stores"],
                &shown["os_glance_failed_import"]
            ),
            (&json!("file"), &json!(""), &json!(""))
        );
        assert_eq!(data(router, &id).await, (StatusCode::OK, json!("hello")));
        let task = task(router, &id).await;
        assert_eq!(
            (&task["status"], &task["result"]["image_id"]),
            (&json!("success"), &json!(id))
        );
        assert_eq!(task["input"]["import_req"], direct);
        assert_eq!(
            task["request_id"],
            headers["x-openstack-request-id"].to_str().unwrap()
        );
        assert_eq!(
            import(router, "member", &id, direct).await.0,
            StatusCode::CONFLICT
        );
        // What the service has written is not for users to remove.
        let (status, _) = patch(
            router,
            &id,
            json!([{"op": "remove", "path": "/os_glance_failed_import"}]),
        )
        .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        one.stop();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_come_from_the_web_by_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let at = web().await;
    let one = start_with(&db, folder.path(), config(LOCAL)).await;
    let router = &one.router;
    let ask = |uri: String| json!({"method": {"name": "web-download", "uri": uri}});
    let id = raw(router).await;
    let hop = format!("http://{at}/to?http://localhost:{}/image", at.port());
    accepted(router, "member", &id, ask(hop)).await;
    until(router, &id, |shown| shown["status"] == "active").await;
    assert_eq!(
        data(router, &id).await,
        (StatusCode::OK, json!("from the web"))
    );

    // What is refused at once, and what fails on the way: the image is as before, nothing is left, and it may be tried again.
    for bad in [
        "ftp://h/a",
        "http://169.254.169.254/a",
        "http://10.0.0.1/a",
        "file:///etc/passwd",
    ] {
        let id = raw(router).await;
        let (status, told) = import(router, "member", &id, ask(bad.to_owned())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {told}");
    }
    let before = files(&one.folder);
    for bad in [
        format!("http://{at}/none"),
        format!("http://{at}/cut"),
        format!("http://{at}/to?http://{at}/none"),
        format!("http://{at}/to?/to?/to"),
        format!("http://{at}/to?http://169.254.169.254/latest"),
        format!("http://{at}/to?file:///etc/passwd"),
        "http://does-not-exist.invalid/a".to_owned(),
    ] {
        let id = raw(router).await;
        accepted(router, "member", &id, ask(bad.clone())).await;
        let shown = until(router, &id, |shown| {
            shown["os_glance_failed_import"] == "file"
        })
        .await;
        assert_eq!(
            (&shown["status"], &shown["size"]),
            (&json!("queued"), &Value::Null),
            "{bad}"
        );
        let task = task(router, &id).await;
        assert_eq!(task["status"], "failure", "{bad}");
        assert!(!task["message"].as_str().unwrap().is_empty(), "{bad}");
        assert_eq!(files(&one.folder), before, "{bad}");
        assert_eq!(
            put(router, &id, Body::from("by hand")).await,
            StatusCode::NO_CONTENT
        );
        let path = format!("/v2/images/{id}");
        call(router, "member", Method::DELETE, &path, Value::Null).await;
    }
    // By the defaults nothing here is reached, by no name either.
    let folder = tempfile::tempdir().unwrap();
    let strict = "[web_download]\nallowed_ports = []\n";
    let db = database(folder.path()).await;
    let two = start_with(&db, folder.path(), config(strict)).await;
    let id = raw(&two.router).await;
    let own_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for (host, expected) in [
        ("localhost", StatusCode::BAD_REQUEST),
        ("127.0.0.1", StatusCode::BAD_REQUEST),
        // Found in /etc/hosts or nowhere: never on the internet.
        (own_name.trim(), StatusCode::ACCEPTED),
    ] {
        let uri = format!("http://{host}:{}/image", at.port());
        assert_eq!(
            import(&two.router, "member", &id, ask(uri)).await.0,
            expected,
            "{host}"
        );
    }
    let shown = until(&two.router, &id, |shown| {
        shown["os_glance_failed_import"] == "file"
    })
    .await;
    assert_eq!(shown["status"], "queued");
}

/// A controller goes in the middle of a download: another one does it anew, and nothing of the first is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_controller_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let at = web().await;
    let one = start_with(&db, folder.path(), config(LOCAL)).await;
    let id = raw(&one.router).await;
    let ask = json!({"method": {"name": "web-download", "uri": format!("http://{at}/slow")}});
    accepted(&one.router, "member", &id, ask).await;
    for _ in 0..500 {
        if files(&one.folder) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files(&one.folder), 1, "it has begun");
    // It stops in good order: the operation is given back.
    one.stop();
    one.ctx.tasks.close();
    one.ctx.tasks.wait().await;
    assert_eq!(files(&one.folder), 0);
    assert_eq!(show(&one.router, &id).await["status"], "importing");
    // The other cannot find the data any more: it takes the import back.
    let sql = "UPDATE operations SET payload = REPLACE(payload, '/slow', '/none'), not_before = 0";
    db.execute_unprepared(sql).await.unwrap();
    let two = start_with(&db, folder.path(), config(LOCAL)).await;
    let shown = until(&two.router, &id, |shown| shown["status"] == "queued").await;
    assert_eq!(shown["os_glance_failed_import"], "file");
    assert_eq!(task(&two.router, &id).await["status"], "failure");

    // One that is killed leaves its claim and half a file behind. When the claim has run out, it is done by the next.
    let id = raw(&two.router).await;
    assert_eq!(
        stage(&two.router, &id, Body::from("hello")).await,
        StatusCode::NO_CONTENT
    );
    two.stop();
    two.ctx.tasks.close();
    two.ctx.tasks.wait().await;
    let direct = json!({"method": {"name": "glance-direct"}});
    accepted(&two.router, "member", &id, direct).await;
    let sql =
        "UPDATE operations SET state = 'claimed', owner = 'gone', generation = 1, lease_until = 1";
    db.execute_unprepared(sql).await.unwrap();
    let half = folder
        .path()
        .join(format!("images/{id}.x.part-node-1.domain.tld"));
    std::fs::write(&half, "half").unwrap();
    let three = start_with(&db, folder.path(), config(LOCAL)).await;
    until(&three.router, &id, |shown| shown["status"] == "active").await;
    assert!(!half.exists());
    assert_eq!(
        data(&three.router, &id).await,
        (StatusCode::OK, json!("hello"))
    );
}

/// An image that is deleted while its data are fetched stays deleted, and nothing of it is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let at = web().await;
    let text = format!("{LOCAL}[images]\nmax_bytes = 60000\n");
    let one = start_with(&db, folder.path(), config(&text)).await;
    let router = &one.router;
    let ask = json!({"method": {"name": "web-download", "uri": format!("http://{at}/slow")}});
    let id = raw(router).await;
    accepted(router, "member", &id, ask.clone()).await;
    for _ in 0..500 {
        if files(&one.folder) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let path = format!("/v2/images/{id}");
    let (status, ..) = call(router, "member", Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    // The download ends at the largest size.
    for _ in 0..1500 {
        if files(&one.folder) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files(&one.folder), 0);
    assert_eq!(
        call(router, "member", Method::GET, &path, Value::Null)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    // So it does for one that is not deleted: what is too large is told.
    let id = raw(router).await;
    accepted(router, "member", &id, ask).await;
    let task = task(router, &id).await;
    assert_eq!(task["status"], "failure");
    assert!(
        task["message"].as_str().unwrap().contains("60000"),
        "{task}"
    );
}

#[tokio::test]
async fn what_no_import_can_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let one = start_with(
        &db,
        folder.path(),
        config("[import]\nmethods = ['glance-direct']\n"),
    )
    .await;
    let router = &one.router;
    let (_, _, told) = call(
        router,
        "reader",
        Method::GET,
        "/v2/info/import",
        Value::Null,
    )
    .await;
    assert_eq!(told["import-methods"]["value"], json!(["glance-direct"]));
    let id = raw(router).await;
    stage(router, &id, Body::from("hello")).await;
    for bad in [
        json!({}),
        json!([]),
        json!({"method": "glance-direct"}),
        json!({"method": {}}),
        json!({"method": {"name": "web-download", "uri": "http://h/a"}}),
        json!({"method": {"name": "glance-download"}}),
        json!({"method": {"name": "x".repeat(1 << 20)}}),
        json!({"method": {"name": "glance-direct"}, "stores": []}),
        json!({"method": {"name": "glance-direct"}, "stores": ["a\0b"]}),
        json!({"method": {"name": "glance-direct"}, "stores": [5]}),
        json!({"method": {"name": "glance-direct"}, "stores": ["file"], "all_stores": true}),
        json!({"method": {"name": "glance-direct"}, "all_stores": "yes"}),
    ] {
        let (status, told) = import(router, "member", &id, bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");
    }
    assert_eq!(show(router, &id).await["status"], "uploading");
    // Formats may be missing when data are staged by nobody: then nothing is.
    let bare = create(router, "member", json!({"name": "b"})).await;
    assert_eq!(
        stage(router, &bare, Body::from("hello")).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(show(router, &bare).await["status"], "queued");
    let direct = json!({"method": {"name": "glance-direct"}});
    assert_eq!(
        import(router, "member", &bare, direct.clone()).await.0,
        StatusCode::BAD_REQUEST
    );
    let none = uuid::Uuid::new_v4().to_string();
    assert_eq!(
        import(router, "member", &none, direct).await.0,
        StatusCode::NOT_FOUND
    );
}

/// A controller that goes in the middle of an upload and does not come back: the others give the upload up, but no other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_a_controller_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let one = start_with(&db, folder.path(), image::Config::default()).await;
    let (lost, fresh) = (raw(&one.router).await, raw(&one.router).await);
    let minute_ago = chrono::Utc::now().timestamp_micros() - 60_000_000;
    for (id, at) in [(&lost, minute_ago - 600_000_000), (&fresh, minute_ago)] {
        let sql = format!(
            "UPDATE images SET status = 'saving', upload_host = 'gone', updated_at = {at} WHERE id = '{id}'"
        );
        db.execute_unprepared(&sql).await.unwrap();
    }
    one.stop();
    let two = start_with(&db, folder.path(), image::Config::default()).await;
    until(&two.router, &lost, |shown| shown["status"] == "queued").await;
    assert_eq!(show(&two.router, &fresh).await["status"], "saving");
    let sent = put(&two.router, &lost, Body::from("hello")).await;
    assert_eq!(sent, StatusCode::NO_CONTENT);
}
