//! A store of type s3 against a real server of that protocol: moto, where it is installed (docs/image.md says how).
use super::*;
use imports::{config, data, database, raw, show, start_with, until};
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A server with the bucket `images`; it ends with the test.
struct Server {
    child: Child,
    port: u16,
    client: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let path = cache.join("stackwright/s3/bin/moto_server");
    path.exists().then_some(path)
}

impl Server {
    async fn start() -> Option<Server> {
        let Some(program) = program() else {
            eprintln!("skipped: there is no moto_server in ~/.cache/stackwright/s3/bin");
            return None;
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let server = Server {
            child,
            port,
            client,
        };
        for _ in 0..3000 {
            let made = server.client.put(server.url("images")).send().await;
            if made.is_ok_and(|answer| answer.status().is_success()) {
                return Some(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the S3 server does not answer")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// What the bucket has, by its own list.
    async fn objects(&self) -> usize {
        let told = self.client.get(self.url("images")).send().await.unwrap();
        told.text().await.unwrap().matches("<Key>").count()
    }

    async fn unfinished(&self) -> usize {
        let told = self
            .client
            .get(self.url("images?uploads"))
            .send()
            .await
            .unwrap();
        told.text().await.unwrap().matches("<UploadId>").count()
    }

    fn store(&self, folder: &Path, bucket: &str) -> String {
        let key = folder.join("key");
        std::fs::write(&key, "secret\n").unwrap();
        format!(
            "type = 's3'\nendpoint = 'http://127.0.0.1:{}'\nbucket = '{bucket}'\nprefix = 'our images/'\naccess_key = 'test'\nsecret_key_file = '{}'\npart_bytes = 5242880\n",
            self.port,
            key.display()
        )
    }
}

async fn put_large(router: &Router, id: &str, size: usize, store: &str) -> StatusCode {
    let pieces = (0..size).step_by(1 << 16).map(move |from| {
        let length = (size - from).min(1 << 16);
        Ok::<_, std::io::Error>(Bytes::from(vec![
            u8::try_from(from >> 16 & 0xff).unwrap();
            length
        ]))
    });
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("/v2/images/{id}/file"))
        .header("x-auth-token", "member")
        .header("x-image-meta-store", store)
        .body(Body::from_stream(futures::stream::iter(pieces)))
        .unwrap();
    router.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_in_a_bucket() {
    let Some(server) = Server::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let text = format!(
        "[stores.disk]\ntype = 'file'\n[stores.bucket]\ndefault = true\n{}[stores.none]\n{}",
        server.store(folder.path(), "images"),
        server.store(folder.path(), "no-such-bucket"),
    );
    let one = start_with(&db, folder.path(), config(&text)).await;
    let router = &one.router;

    // One object, and one in parts.
    let small = raw(router).await;
    assert_eq!(
        put(router, &small, Body::from("hello")).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(show(router, &small).await["stores"], "bucket");
    assert_eq!(data(router, &small).await, (StatusCode::OK, json!("hello")));
    let size = 13_000_001;
    let large = raw(router).await;
    assert_eq!(
        put_large(router, &large, size, "bucket").await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        (
            server.objects().await,
            server.unfinished().await,
            files(folder.path())
        ),
        (2, 0, 0)
    );
    let path = format!("/v2/images/{large}/file");
    let (_, headers, got) = call(router, "member", Method::GET, &path, Value::Null).await;
    assert_eq!(headers["content-length"], size.to_string());
    assert!(got.as_str().is_some());
    // Into the controllers' own files; then from there only.
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["disk"]});
    imports::accepted(router, "admin", &large, copy).await;
    until(router, &large, |shown| shown["stores"] == "bucket,disk").await;
    let path = format!("/v2/stores/bucket/{large}");
    removed(router, "admin", &path).await;
    for _ in 0..500 {
        if server.objects().await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((server.objects().await, files(folder.path())), (1, 1));

    // A bucket that is not there takes nothing, and the image may be tried again.
    let id = raw(router).await;
    assert_eq!(
        put_large(router, &id, size, "none").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(show(router, &id).await["status"], "queued");
    assert_eq!(
        put_large(router, &id, 5, "disk").await,
        StatusCode::NO_CONTENT
    );

    // Parts that an attempt left, which was killed, go with the next one; they are not another object's.
    let begin = |name: &str| {
        let url = server.url(&format!("images/our%20images/{name}?uploads"));
        server.client.post(url).send()
    };
    let staged = raw(router).await;
    assert_eq!(
        imports::stage(router, &staged, Body::from(vec![1u8; size])).await,
        StatusCode::NO_CONTENT
    );
    let names = std::fs::read_dir(folder.path().join("images")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.find(|name| name.starts_with(&staged)).unwrap();
    begin(&name).await.unwrap();
    begin(&format!("{name}.other")).await.unwrap();
    assert_eq!(server.unfinished().await, 2);
    let direct = json!({"method": {"name": "glance-direct"}});
    imports::accepted(router, "member", &staged, direct).await;
    until(router, &staged, |shown| shown["status"] == "active").await;
    assert_eq!(server.unfinished().await, 1);

    for id in [&small, &large, &staged] {
        let path = format!("/v2/images/{id}");
        removed(router, "member", &path).await;
    }
    for _ in 0..500 {
        if server.objects().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.objects().await, 0);

    // The server goes away: what is uploaded is not taken, what is deleted goes when it is back. Nobody waits for ever.
    let id = raw(router).await;
    drop(server);
    assert_eq!(
        put(router, &id, Body::from("hello")).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        (
            show(router, &id).await["status"].clone(),
            files(folder.path())
        ),
        (json!("queued"), 1)
    );
}
