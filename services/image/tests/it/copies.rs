//! Two controllers with a disk each: an image is taken when both have it, and either gives it.
use super::*;
use std::net::SocketAddr;
use tokio::net::TcpListener;

const SECRET: &str = "between-controllers";

struct Controller {
    router: Router,
    folder: tempfile::TempDir,
}

impl Controller {
    /// The file with an image's data.
    fn file(&self, id: &str) -> Option<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("images")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        // One that is being written has its part's name still.
        paths.find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(id) && !name.contains(".part-")
        })
    }

    fn has(&self, id: &str) -> bool {
        self.file(id).is_some()
    }
}

async fn controller(db: &sea_orm::DatabaseConnection, peer: SocketAddr) -> Controller {
    let folder = tempfile::tempdir().unwrap();
    let ctx = testing::context_on("image", folder.path(), InProcess::new(), db.clone());
    let images = image::ImagesConfig {
        peers: vec![format!("http://{peer}")],
        peer_secret: SECRET.to_owned(),
        ..Default::default()
    };
    let service = image::start(
        ctx,
        image::Config {
            images,
            ..Default::default()
        },
    )
    .await
    .unwrap();
    Controller {
        router: service.router,
        folder,
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn database(folder: &Path) -> sea_orm::DatabaseConnection {
    // As every program that calls others does at its start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("sqlite://{}/image.db", folder.display());
    service_kit::store::connect(&url).await.unwrap()
}

async fn make(router: &Router) -> String {
    let wanted = json!({"name": "disk", "disk_format": "raw", "container_format": "bare"});
    create(router, "member", wanted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_on_both_controllers_before_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let ((one, at_one), (two, at_two)) = (listener().await, listener().await);
    let first = controller(&db, at_two).await;
    let id = make(&first.router).await;

    // Its peer is not there: nothing is taken, and it may be tried again.
    drop(two);
    let status = put(&first.router, &id, Body::from("hello")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!first.has(&id));
    let two = TcpListener::bind(at_two).await.unwrap();
    let second = controller(&db, at_one).await;
    for (listener, router) in [(one, &first.router), (two, &second.router)] {
        let app = router.clone();
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
    let path = format!("/v2/images/{id}");
    for _ in 0..100 {
        let (_, _, shown) = call(&first.router, "member", Method::GET, &path, Value::Null).await;
        if shown["status"] == "queued" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let status = put(&first.router, &id, Body::from("hello")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(first.has(&id) && second.has(&id));

    // One that has lost its disk gives what the other has, and fetches it when it starts again.
    std::fs::remove_file(first.file(&id).unwrap()).unwrap();
    let file = format!("{path}/file");
    let (status, _, data) = call(&first.router, "member", Method::GET, &file, Value::Null).await;
    assert_eq!((status, data), (StatusCode::OK, json!("hello")));
    let again = controller(&db, at_two).await;
    for _ in 0..250 {
        if again.has(&id) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let copied = std::fs::read(again.file(&id).unwrap()).unwrap();
    assert_eq!(copied, b"hello");
}

#[tokio::test]
async fn strangers_and_wrong_copies_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let (_one, at) = listener().await;
    let controller = controller(&db, at).await;
    let id = uuid::Uuid::new_v4().to_string();
    let send = async |id: &str, secret: &str, digest: &str| {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("/internal/images/{id}/data"))
            .header("authorization", format!("Bearer {secret}"))
            .header("x-image-sha512", digest)
            .body(Body::from("hello"))
            .unwrap();
        let response = controller.router.clone().oneshot(request).await.unwrap();
        response.status()
    };
    let hello = "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";
    assert_eq!(send(&id, "guessed", hello).await, StatusCode::NOT_FOUND);
    assert_eq!(send(&id, "", hello).await, StatusCode::NOT_FOUND);
    assert_eq!(
        send("..%2Fescaped", SECRET, hello).await,
        StatusCode::NOT_FOUND
    );
    for no_digest in ["0", "../../../etc/passwd", &"X".repeat(128)] {
        let status = send(&id, SECRET, no_digest).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{no_digest}");
    }
    let another = "0".repeat(128);
    assert_eq!(send(&id, SECRET, &another).await, StatusCode::BAD_REQUEST);
    assert_eq!(files(controller.folder.path()), 0);
    assert_eq!(send(&id, SECRET, hello).await, StatusCode::NO_CONTENT);
    assert!(controller.has(&id));
}

/// A copy of an upload that was not taken, because its answer was lost, is not given for the data that came later.
#[tokio::test]
async fn what_an_upload_left_is_not_given_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let ((one, at_one), (two, at_two)) = (listener().await, listener().await);
    let (first, second) = (controller(&db, at_two).await, controller(&db, at_one).await);
    let id = make(&first.router).await;
    let left = second
        .folder
        .path()
        .join("images")
        .join(format!("{id}.{}", "0".repeat(32)));
    std::fs::write(&left, "of an upload that was not taken").unwrap();
    for (listener, router) in [(one, &first.router), (two, &second.router)] {
        let app = router.clone();
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
    let status = put(&first.router, &id, Body::from("hello")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let file = format!("/v2/images/{id}/file");
    for router in [&first.router, &second.router] {
        let (status, _, data) = call(router, "member", Method::GET, &file, Value::Null).await;
        assert_eq!((status, data), (StatusCode::OK, json!("hello")));
    }
}

/// Data that lie there under the image's id alone, as they did before names had digests, are still given.
#[tokio::test]
async fn data_of_an_earlier_version_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let router = start(&db, folder.path()).await;
    let id = make(&router).await;
    assert_eq!(
        put(&router, &id, Body::from("hello")).await,
        StatusCode::NO_CONTENT
    );
    let images = folder.path().join("images");
    let named = std::fs::read_dir(&images)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::rename(named, images.join(&id)).unwrap();
    let path = format!("/v2/images/{id}");
    let (status, _, data) = call(
        &router,
        "member",
        Method::GET,
        &format!("{path}/file"),
        Value::Null,
    )
    .await;
    assert_eq!((status, data), (StatusCode::OK, json!("hello")));
    let (status, ..) = call(&router, "member", Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, files(folder.path())), (StatusCode::NO_CONTENT, 0));
}

/// Data are staged on one controller and imported by the other, also when the first is gone by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staged_here_and_imported_there() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let ((one, at_one), (two, at_two)) = (listener().await, listener().await);
    let (first, second) = (controller(&db, at_two).await, controller(&db, at_one).await);
    let mut servers = Vec::new();
    for (listener, router) in [(one, &first.router), (two, &second.router)] {
        let app = router.clone();
        servers.push(tokio::spawn(
            async move { axum::serve(listener, app).await },
        ));
    }
    let id = make(&first.router).await;
    let staged = imports::stage(&first.router, &id, Body::from("hello")).await;
    assert_eq!(staged, StatusCode::NO_CONTENT);
    assert!(first.has(&id) && second.has(&id));
    servers[0].abort();
    std::fs::remove_file(first.file(&id).unwrap()).unwrap();
    let direct = json!({"method": {"name": "glance-direct"}});
    let (status, told) = imports::import(&second.router, "member", &id, direct).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{told}");
    imports::until(&second.router, &id, |shown| shown["status"] == "active").await;
    // The one that was away has the image's data from the other.
    for router in [&first.router, &second.router] {
        let got = imports::data(router, &id).await;
        assert_eq!(got, (StatusCode::OK, json!("hello")));
    }
}
