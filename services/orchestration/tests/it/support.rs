//! The service on a SQLite file and a simulated cloud, in a runtime of its own that a test can kill.
use super::cloud::Cloud;
use axum::Router;
use http::{Method, StatusCode};
use openstack_client::{Credentials, InProcess};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use service_kit::{store, testing};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

pub const MEMBER: &str = "member@p1";
/// Most that a test waits for a stack on a machine under load.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Service {
    pub cloud: Cloud,
    folder: PathBuf,
    running: Option<(Runtime, Router)>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

impl Service {
    pub fn start(folder: &Path, cloud: &Cloud) -> Self {
        let mut service = Service {
            cloud: cloud.clone(),
            folder: folder.to_owned(),
            running: None,
        };
        service.restart();
        service
    }

    /// Ends the service as SIGKILL does, wherever it is, and starts it again on the same database.
    pub fn restart(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_timeout(Duration::from_secs(60));
            let url = format!(
                "sqlite://{}",
                self.folder.join("orchestration.db").display()
            );
            let short = self::runtime();
            short.block_on(async {
                let db = store::connect(&url).await.unwrap();
                // The dead worker's lease runs out at once.
                db.execute_unprepared("UPDATE operations SET lease_until = 0")
                    .await
                    .unwrap();
                db.close().await.unwrap();
            });
        }
        let mut table = self.cloud.table();
        table.killed = false;
        table.kill_at = None;
        drop(table);
        let runtime = runtime();
        let router = runtime.block_on(async {
            let others = InProcess::new();
            let mut ctx = testing::context("orchestration", &self.folder, others.clone()).await;
            for service in ["identity", "image", "compute", "network"] {
                others.register(service, self.cloud.router(service));
            }
            let heat = Credentials::password("heat", "secret", "service");
            ctx.client = ctx.client.with_credentials(heat);
            orchestration::start(ctx, orchestration::Config::default())
                .await
                .unwrap()
                .router
        });
        self.running = Some((runtime, router));
    }

    /// A call by a member of the project; the path without `/v1/p1`.
    pub fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let (runtime, router) = self.running.as_ref().unwrap();
        let path = format!("/v1/p1{path}");
        let (status, _, body) =
            runtime.block_on(testing::call(router, MEMBER, method, &path, body));
        (status, body)
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, Value::Null);
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    /// Creates a stack; its path.
    pub fn create(&self, name: &str, template: &str, more: Value) -> String {
        let mut body = json!({"stack_name": name, "template": template, "timeout_mins": 20});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let (status, body) = self.call(Method::POST, "/stacks", body);
        assert_eq!(status, StatusCode::CREATED, "{body}");
        format!("/stacks/{name}/{}", body["stack"]["id"].as_str().unwrap())
    }

    pub fn update(&self, path: &str, template: &str, more: Value) {
        let mut body = json!({ "template": template });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let (status, body) = self.call(Method::PUT, path, body);
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    }

    pub fn delete(&self, path: &str) {
        let (status, body) = self.call(Method::DELETE, path, Value::Null);
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }

    /// The stack when nothing is under way any more; nothing when the cloud wants the service killed.
    pub fn settled(&self, path: &str) -> Option<Value> {
        let begun = Instant::now();
        loop {
            if self.cloud.table().killed {
                return None;
            }
            let stack = self.get(path)["stack"].clone();
            let status = stack["stack_status"].as_str().unwrap();
            if !status.ends_with("IN_PROGRESS") {
                return Some(stack);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "still {status}: {}",
                self.get(&format!("{path}/resources"))
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a state, and gives the stack.
    pub fn reaches(&self, path: &str, status: &str) -> Value {
        let stack = self.settled(path).unwrap();
        assert_eq!(
            stack["stack_status"], status,
            "{}",
            stack["stack_status_reason"]
        );
        stack
    }

    pub fn output(&self, path: &str, name: &str) -> Value {
        self.get(&format!("{path}/outputs/{name}"))["output"]["output_value"].clone()
    }

    pub fn physical_id(&self, path: &str, resource: &str) -> String {
        let view = self.get(&format!("{path}/resources/{resource}"));
        let id = &view["resource"]["physical_resource_id"];
        id.as_str().unwrap().to_owned()
    }
}
