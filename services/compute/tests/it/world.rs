//! The service in process, with small stand-ins for placement, network and image that keep what they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use compute::agent::start_agent_with;
use compute::hypervisor::Hypervisor;
use compute::hypervisor::simulated::SimulatedSettings;
use compute::{AgentConfig, AgentContext, Config, start};
use http::{Method, Request, StatusCode};
use openstack_client::InProcess;
use serde_json::{Value, json};
use service_kit::{Context, testing};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

pub const IMAGE: &str = "0e0e0e0e-0000-4000-8000-000000000001";
pub const NETWORK: &str = "0a0a0a0a-0000-4000-8000-000000000001";

/// What the neighbours were told.
#[derive(Default)]
pub struct Neighbours {
    pub ports: BTreeMap<String, Value>,
    pub claims: BTreeMap<String, Value>,
    pub providers: BTreeMap<String, Value>,
    /// How many of the next ports are refused.
    pub refuse_ports: u32,
}

pub type Shared = Arc<Mutex<Neighbours>>;

fn network(shared: Shared) -> Router {
    type S = State<Shared>;
    async fn list(State(shared): S, Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
        let shared = shared.lock().expect("no panic while locked");
        let ports: Vec<&Value> = shared
            .ports
            .values()
            .filter(|port| {
                query
                    .get("device_id")
                    .is_none_or(|id| port["device_id"] == **id)
            })
            .collect();
        Json(json!({"ports": ports}))
    }
    async fn create(State(shared): S, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
        let mut shared = shared.lock().expect("no panic while locked");
        if shared.refuse_ports > 0 {
            shared.refuse_ports -= 1;
            return (
                StatusCode::CONFLICT,
                Json(
                    json!({"NeutronError": {"type": "IpAddressGenerationFailure", "message": "No more IP addresses available.", "detail": ""}}),
                ),
            );
        }
        let n = shared.ports.len() + 1;
        let mut port = body["port"].clone();
        let id = uuid::Uuid::new_v4().to_string();
        port["id"] = json!(id);
        port["mac_address"] = json!(format!("fa:16:3e:00:{:02x}:{:02x}", n / 256, n % 256));
        port["fixed_ips"] =
            json!([{"subnet_id": "s1", "ip_address": format!("10.0.{}.{}", n / 250, n % 250 + 2)}]);
        port["status"] = json!("ACTIVE");
        shared.ports.insert(id, port.clone());
        (StatusCode::CREATED, Json(json!({"port": port})))
    }
    async fn change(
        State(shared): S,
        Path(id): Path<String>,
        Json(body): Json<Value>,
    ) -> Json<Value> {
        let mut shared = shared.lock().expect("no panic while locked");
        let port = shared.ports.entry(id).or_default();
        for (key, value) in body["port"].as_object().into_iter().flatten() {
            port[key] = value.clone();
        }
        Json(json!({"port": port}))
    }
    async fn delete(State(shared): S, Path(id): Path<String>) -> StatusCode {
        shared
            .lock()
            .expect("no panic while locked")
            .ports
            .remove(&id);
        StatusCode::NO_CONTENT
    }
    let net = json!({"id": NETWORK, "name": "private", "project_id": "p1", "shared": true, "router:external": false, "mtu": 1442, "subnets": ["s1"]});
    let (one, all) = (json!({"network": net}), json!({"networks": [net]}));
    let subnets = json!({"subnets": [{"id": "s1", "cidr": "10.0.0.0/16", "gateway_ip": "10.0.0.1", "enable_dhcp": true}]});
    let show = move |Path(id): Path<String>| async move {
        if id == NETWORK {
            (StatusCode::OK, Json(one))
        } else {
            (
                StatusCode::NOT_FOUND,
                Json(
                    json!({"NeutronError": {"type": "NetworkNotFound", "message": "gone", "detail": ""}}),
                ),
            )
        }
    };
    Router::new()
        .route("/v2.0/networks", get(async move || Json(all)))
        .route("/v2.0/networks/{id}", get(show))
        .route("/v2.0/subnets", get(async move || Json(subnets)))
        .route(
            "/v2.0/floatingips",
            get(async || Json(json!({"floatingips": []}))),
        )
        .route("/v2.0/ports", get(list).post(create))
        .route("/v2.0/ports/{id}", put(change).delete(delete))
        .with_state(shared)
}

fn placement(shared: Shared) -> Router {
    type S = State<Shared>;
    async fn show(State(shared): S, Path(id): Path<String>) -> Json<Value> {
        let shared = shared.lock().expect("no panic while locked");
        Json(
            shared
                .claims
                .get(&id)
                .cloned()
                .unwrap_or(json!({"allocations": {}})),
        )
    }
    async fn claim(
        State(shared): S,
        Path(id): Path<String>,
        Json(mut body): Json<Value>,
    ) -> (StatusCode, Json<Value>) {
        let mut shared = shared.lock().expect("no panic while locked");
        let known = body["allocations"]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(provider, _)| shared.providers.contains_key(provider));
        if !known {
            return (
                StatusCode::BAD_REQUEST,
                Json(
                    json!({"errors": [{"code": "placement.undefined_code", "detail": "that does not exist"}]}),
                ),
            );
        }
        body["consumer_generation"] = json!(1);
        shared.claims.insert(id, body);
        (StatusCode::NO_CONTENT, Json(Value::Null))
    }
    async fn release(State(shared): S, Path(id): Path<String>) -> StatusCode {
        match shared
            .lock()
            .expect("no panic while locked")
            .claims
            .remove(&id)
        {
            Some(_) => StatusCode::NO_CONTENT,
            None => StatusCode::NOT_FOUND,
        }
    }
    async fn provider(State(shared): S, Json(body): Json<Value>) -> StatusCode {
        let id = body["uuid"].as_str().unwrap_or_default().to_owned();
        shared
            .lock()
            .expect("no panic while locked")
            .providers
            .insert(id, Value::Null);
        StatusCode::OK
    }
    async fn offers(
        State(shared): S,
        Path(id): Path<String>,
        Json(body): Json<Value>,
    ) -> Json<Value> {
        shared
            .lock()
            .expect("no panic while locked")
            .providers
            .insert(id, body.clone());
        Json(body)
    }
    Router::new()
        .route("/allocations/{id}", get(show).put(claim).delete(release))
        .route("/resource_providers", post(provider))
        .route(
            "/resource_providers/{id}",
            get(async || Json(json!({"generation": 0}))),
        )
        .route("/resource_providers/{id}/inventories", put(offers))
        .with_state(shared)
}

fn image() -> Router {
    Router::new().nest("/v2", image_v2())
}

/// The image service below its version.
pub fn image_v2() -> Router {
    let show = async |Path(id): Path<String>| {
        if id == IMAGE {
            (
                StatusCode::OK,
                Json(
                    json!({"id": IMAGE, "name": "tiny", "status": "active", "disk_format": "raw", "size": 1024, "os_hash_algo": "sha512", "os_hash_value": "00", "min_ram": 64, "min_disk": 0}),
                ),
            )
        } else {
            (
                StatusCode::NOT_FOUND,
                Json(
                    json!({"message": "No image found", "code": "404 Not Found", "title": "Not Found"}),
                ),
            )
        }
    };
    Router::new().route("/images/{id}", get(show))
}

/// The service and its neighbours.
pub struct World {
    pub router: Router,
    pub neighbours: Shared,
    ctx: Context,
    _folder: tempfile::TempDir,
}

impl World {
    /// With a simulated host that fails every so many calls (0: never).
    pub async fn new(fail_every: u32) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let registry = InProcess::new();
        let neighbours = Shared::default();
        registry.register("network", network(neighbours.clone()));
        registry.register("placement", placement(neighbours.clone()));
        registry.register("image", image());
        let ctx = testing::context("compute", folder.path(), registry.clone()).await;
        let config = Config {
            simulate: Some(SimulatedSettings {
                fail_every,
                ..SimulatedSettings::default()
            }),
            ..Config::default()
        };
        let service = start(ctx.clone(), config)
            .await
            .expect("the service starts");
        registry.register("compute", service.router.clone());
        let world = World {
            router: service.router,
            neighbours,
            ctx,
            _folder: folder,
        };
        world
            .until("a host", async |w| {
                w.get("/os-hypervisors").await["hypervisors"]
                    .as_array()
                    .is_some_and(|hosts| !hosts.is_empty())
            })
            .await;
        let flavor =
            json!({"flavor": {"name": "test500", "id": "500", "ram": 512, "vcpus": 2, "disk": 1}});
        assert_eq!(
            world
                .call("admin", Method::POST, "/flavors", flavor)
                .await
                .0,
            StatusCode::OK
        );
        let unlimited = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        assert_eq!(
            world
                .call("admin", Method::PUT, "/os-quota-sets/p1", unlimited)
                .await
                .0,
            StatusCode::OK
        );
        world
    }

    pub async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v2.1{path}"))
            .header("x-auth-token", token)
            .header("x-openstack-nova-api-version", "2.79");
        let body = if body.is_null() {
            axum::body::Body::empty()
        } else {
            axum::body::Body::from(body.to_string())
        };
        let response = self
            .router
            .clone()
            .oneshot(request.body(body).expect("a request"))
            .await
            .expect("routers do not fail");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 64 << 20)
            .await
            .expect("a body");
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("admin", Method::GET, path, Value::Null).await.1
    }

    pub async fn boot(&self, name: &str, more: Value) -> String {
        let mut server = json!({"name": name, "imageRef": IMAGE, "flavorRef": "500", "networks": [{"uuid": NETWORK}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            server[key] = value.clone();
        }
        let (status, body) = self
            .call("admin", Method::POST, "/servers", json!({"server": server}))
            .await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        body["server"]["id"].as_str().expect("an id").to_owned()
    }

    pub async fn server(&self, id: &str) -> Value {
        self.get(&format!("/servers/{id}")).await["server"].clone()
    }

    /// Waits until a server has a status and no task, and returns it.
    pub async fn until_status(&self, id: &str, status: &str) -> Value {
        self.until(&format!("{id} {status}"), async |w| {
            let server = w.server(id).await;
            server["status"] == *status && server["OS-EXT-STS:task_state"].is_null()
        })
        .await;
        self.server(id).await
    }

    pub async fn until(&self, what: &str, done: impl AsyncFn(&World) -> bool) {
        for _ in 0..1200 {
            if done(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never came: {what}");
    }

    pub async fn action(&self, id: &str, body: Value) -> StatusCode {
        self.call(
            "admin",
            Method::POST,
            &format!("/servers/{id}/action"),
            body,
        )
        .await
        .0
    }

    /// An agent of a host beside the simulated one, until `shutdown`.
    pub async fn agent(
        &self,
        host: &str,
        driver: Arc<dyn Hypervisor>,
        config: AgentConfig,
        shutdown: CancellationToken,
    ) -> TaskTracker {
        let tasks = TaskTracker::new();
        let around = AgentContext {
            host: host.to_owned(),
            client: self.ctx.client.clone(),
            shutdown,
            tasks: tasks.clone(),
        };
        start_agent_with(around, config, driver)
            .await
            .expect("the agent starts");
        tasks.close();
        tasks
    }

    /// Stops the service as a process does.
    pub async fn stop(self) {
        self.ctx.shutdown.cancel();
        self.ctx.tasks.close();
        self.ctx.tasks.wait().await;
    }
}
