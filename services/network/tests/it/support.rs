//! What the tests share: a started service and short ways to call it.

use std::time::{Duration, Instant};

use axum::Router;
use http::Method;
use openstack_client::InProcess;
use sea_orm::DatabaseConnection;
use serde_json::{Value, json};
use service_kit::{Context, testing};

/// A service that runs until it is dropped.
pub struct Cloud {
    pub router: Router,
    pub context: Context,
    _folder: tempfile::TempDir,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.context.shutdown.cancel();
    }
}

impl Cloud {
    /// On SQLite, with simulated networks: one physical network, room for two routers.
    pub async fn simulated() -> Cloud {
        let physical = json!([{"name": "physnet-app", "vlan_range": [100, 101]}]);
        let settings =
            json!({"simulate": true, "physical_networks": physical, "quotas": {"router": 2}});
        Cloud::start(None, config(settings)).await
    }

    pub async fn start(db: Option<DatabaseConnection>, config: network::Config) -> Cloud {
        let folder = tempfile::tempdir().unwrap();
        let context = match db {
            Some(db) => testing::context_on("network", folder.path(), InProcess::new(), db),
            None => testing::context("network", folder.path(), InProcess::new()).await,
        };
        let service = network::start(context.clone(), config).await.unwrap();
        Cloud {
            router: service.router,
            context,
            _folder: folder,
        }
    }

    pub async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let (status, _, body) = testing::call(&self.router, token, method, path, body).await;
        (status.as_u16(), body)
    }

    pub async fn get(&self, token: &str, path: &str) -> Value {
        let (status, body) = self.call(token, Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Makes a resource and gives it without its envelope.
    pub async fn create(
        &self,
        token: &str,
        path: &str,
        resource: &str,
        attributes: Value,
    ) -> Value {
        let (status, body) = self
            .call(token, Method::POST, path, json!({resource: attributes}))
            .await;
        assert_eq!(status, 201, "POST {path} {attributes}: {body}");
        body[resource].clone()
    }

    pub async fn put(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(token, Method::PUT, path, body).await;
        assert_eq!(status, 200, "PUT {path}: {answer}");
        answer
    }

    pub async fn delete(&self, token: &str, path: &str) {
        let (status, body) = self.call(token, Method::DELETE, path, Value::Null).await;
        assert_eq!(status, 204, "DELETE {path}: {body}");
    }

    /// The status and type of the fault that a call gets.
    pub async fn fault(&self, token: &str, method: Method, path: &str, body: Value) -> String {
        let (status, body) = self.call(token, method, path, body).await;
        format!(
            "{status} {}",
            body["NeutronError"]["type"].as_str().unwrap_or("none")
        )
    }

    /// Waits until a port has a status; the deadline is for a machine with much else to do.
    pub async fn wait_for_port(&self, id: &str, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let port = self.get("admin", &format!("/v2.0/ports/{id}")).await;
            if port["port"]["status"] == status {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "port {id} is not {status}: {port}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A configuration from what a file would hold.
pub fn config(value: Value) -> network::Config {
    serde_json::from_value(value).unwrap()
}

pub fn id(resource: &Value) -> &str {
    resource["id"].as_str().unwrap()
}
