//! A store of type swift against a real Swift: proxy, object, container and account servers, where they are installed
//! (docs/image.md says how). Identity is not there: who asks for a token is given one of Swift's own by a few lines here.
use super::*;
use axum::{extract::State, routing::post};
use imports::{config, data, database, raw, show, start_with, until};
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Runs one of the servers with its configuration here instead of in /etc, and a cache that is a dictionary.
const RUN: &str = r#"
import sys
import swift.common.utils as utils
folder, kind = sys.argv[1], sys.argv[2]
utils.SWIFT_CONF_FILE = folder + "/swift.conf"
sys.path.insert(0, folder)
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(f"{folder}/{kind}.conf", f"{kind}-server"))
"#;

const CACHE: &str = r#"
class Cache(dict):
    def __bool__(self):
        return True
    def get(self, key, raise_on_error=False, **rest):
        return super().get(key)
    def set(self, key, value, time=0, **rest):
        self[key] = value
    def incr(self, key, delta=1, time=0, **rest):
        self[key] = int(self.get(key) or 0) + delta
        return self[key]
    def delete(self, key, **rest):
        self.pop(key, None)

def factory(conf, **rest):
    cache = Cache()
    def wrap(app):
        def call(env, start):
            env["swift.cache"] = cache
            return app(env, start)
        return call
    return wrap
"#;

struct Swift {
    servers: Vec<Child>,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Swift {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Swift {
    async fn start() -> Option<Swift> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let there = [
            "swift-proxy-server",
            "swift-object-server",
            "swift-ring-builder",
        ]
        .iter()
        .all(|program| Path::new("/usr/bin").join(program).exists());
        if !there {
            eprintln!("skipped: the programs of Swift are not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let write = |name: &str, text: &str| std::fs::write(at.join(name), text).unwrap();
        std::fs::create_dir_all(at.join("devices/one")).unwrap();
        write("run.py", RUN);
        write("dictcache.py", CACHE);
        write(
            "swift.conf",
            "[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n",
        );
        let user =
            String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let common = |port: u16| {
            format!(
                "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nuser = {}\nswift_dir = {folder}\ndevices = {folder}/devices\nmount_check = false\nworkers = 0\nlog_address = {folder}/none\nfallocate_reserve = 0\n",
                user.trim(),
                folder = at.display()
            )
        };
        let mut servers = Vec::new();
        let run = |kind: &str| {
            let log = std::fs::File::create(at.join(format!("{kind}.log"))).unwrap();
            Command::new("/usr/bin/python3")
                .arg(at.join("run.py"))
                .arg(at)
                .arg(kind)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap()
        };
        for kind in ["account", "container", "object"] {
            let port = free_port();
            write(
                &format!("{kind}.conf"),
                &format!(
                    "{}[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n",
                    common(port)
                ),
            );
            let device = format!("r1z1-127.0.0.1:{port}/one");
            let builder = format!("{kind}.builder");
            for words in [
                vec![&*builder, "create", "4", "1", "0"],
                vec![&*builder, "add", &device, "1"],
                vec![&*builder, "rebalance"],
            ] {
                let done = Command::new("/usr/bin/swift-ring-builder")
                    .args(&words)
                    .current_dir(at)
                    .output()
                    .unwrap();
                assert!(done.status.code().unwrap_or(9) < 2, "{words:?}: {done:?}");
            }
            servers.push(run(kind));
        }
        let port = free_port();
        write(
            "proxy.conf",
            &format!(
                "{}[pipeline:main]\npipeline = catch_errors dictcache tempauth slo proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n[filter:catch_errors]\nuse = egg:swift#catch_errors\n[filter:dictcache]\npaste.filter_factory = dictcache:factory\n[filter:tempauth]\nuse = egg:swift#tempauth\nuser_service_glance = word .admin\n[filter:slo]\nuse = egg:swift#slo\n",
                common(port)
            ),
        );
        servers.push(run("proxy"));
        let swift = Swift {
            servers,
            folder,
            port,
        };
        for _ in 0..3000 {
            if swift.ask().await.is_some() {
                return Some(swift);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(swift.folder.path().join("proxy.log")).unwrap();
        panic!("Swift does not answer: {log}")
    }

    fn auth_url(&self) -> String {
        format!("http://127.0.0.1:{}/auth/v1.0", self.port)
    }

    /// A token and the account's URL.
    async fn ask(&self) -> Option<(String, String)> {
        ask(&self.auth_url(), "service:glance", "word").await
    }

    /// Names in a container, by its own list.
    async fn names(&self, container: &str) -> Vec<String> {
        let (token, url) = self.ask().await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .get(format!("{url}/{container}"))
            .header("x-auth-token", token);
        let told = answer.send().await.unwrap().text().await.unwrap();
        told.lines().map(str::to_owned).collect()
    }

    async fn empty(&self, container: &str) {
        for _ in 0..500 {
            if self.names(container).await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{container} has {:?}", self.names(container).await)
    }
}

async fn ask(url: &str, user: &str, key: &str) -> Option<(String, String)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .get(url)
        .header("x-auth-user", user)
        .header("x-auth-key", key);
    let answer = request.send().await.ok()?;
    let word = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    Some((word("x-auth-token")?, word("x-storage-url")?))
}

/// What identity answers to a password: Swift's own token, and a catalogue with its URL.
async fn tokens(
    State(url): State<String>,
    axum::Json(body): axum::Json<Value>,
) -> Result<([(&'static str, String); 1], axum::Json<Value>), StatusCode> {
    let user = &body["auth"]["identity"]["password"]["user"];
    let project = body["auth"]["scope"]["project"]["name"].as_str().unwrap();
    let name = format!("{project}:{}", user["name"].as_str().unwrap());
    let found = ask(&url, &name, user["password"].as_str().unwrap()).await;
    let (token, url) = found.ok_or(StatusCode::UNAUTHORIZED)?;
    let endpoints = json!([
        {"interface": "public", "region_id": "Other", "url": "http://127.0.0.1:9/no"},
        {"interface": "internal", "region_id": "RegionOne", "url": "http://127.0.0.1:9/no"},
        {"interface": "public", "region_id": "RegionOne", "url": url},
    ]);
    let catalog = json!([{"type": "image", "endpoints": []}, {"type": "object-store", "endpoints": endpoints}]);
    Ok((
        [("x-subject-token", token)],
        axum::Json(json!({"token": {"catalog": catalog}})),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_in_a_container() {
    let Some(swift) = Swift::start().await else {
        return;
    };
    let identity = Router::new()
        .route("/v3/auth/tokens", post(tokens))
        .with_state(swift.auth_url());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, identity).await });
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("word");
    std::fs::write(&key, "word\n").unwrap();
    let text = format!(
        "[stores.v3]\ntype = 'swift'\ndefault = true\nauth_url = 'http://{at}/v3'\nregion = 'RegionOne'\nuser = 'glance'\ncontainer = 'images'\nsegment_bytes = 1000000\npassword_file = '{key}'\n\
         [stores.v1]\ntype = 'swift'\nauth_url = '{}'\nuser = 'service:glance'\ncontainer = 'more images'\npassword_file = '{key}'\n\
         [stores.wrong]\ntype = 'swift'\nauth_url = '{}'\nuser = 'service:nobody'\ncontainer = 'images'\npassword_file = '{key}'\n",
        swift.auth_url(),
        swift.auth_url(),
        key = key.display()
    );
    let db = database(folder.path()).await;
    let one = start_with(&db, folder.path(), config(&text)).await;
    let router = &one.router;

    // One object, and one in segments.
    let small = raw(router).await;
    assert_eq!(
        put(router, &small, Body::from("hello")).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(show(router, &small).await["stores"], "v3");
    assert_eq!(data(router, &small).await, (StatusCode::OK, json!("hello")));
    let large = raw(router).await;
    let text: String = (0..500_000).map(|n| format!("{n:07}")).collect();
    assert_eq!(
        put(router, &large, Body::from(text.clone())).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(files(folder.path()), 0);
    assert_eq!(
        (
            swift.names("images").await.len(),
            swift.names("images_segments").await.len()
        ),
        (2, 4)
    );
    assert_eq!(data(router, &large).await, (StatusCode::OK, json!(text)));
    // By the other way to a token, into a container that was not there.
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["v1"]});
    imports::accepted(router, "admin", &large, copy).await;
    until(router, &large, |shown| shown["stores"] == "v1,v3").await;
    assert_eq!(swift.names("more%20images").await.len(), 1);
    // With a wrong password nothing is taken.
    let id = raw(router).await;
    imports::stage(router, &id, Body::from("hello")).await;
    let wrong = json!({"method": {"name": "glance-direct"}, "stores": ["wrong"]});
    imports::accepted(router, "member", &id, wrong).await;
    until(router, &id, |shown| shown["status"] == "queued").await;
    assert_eq!(files(folder.path()), 0);
    for id in [&small, &large] {
        let path = format!("/v2/images/{id}");
        removed(router, "member", &path).await;
    }
    swift.empty("images").await;
    swift.empty("images_segments").await;
    swift.empty("more%20images").await;
}
