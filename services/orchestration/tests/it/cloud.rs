//! A simulated cloud: the calls of identity, compute and image that the engine makes, with their refusals,
//! in front of one table of objects. It refuses whoever does not act by a living trust. Faults come by a seed.
use super::cloud_network;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What goes wrong, each in percent of the calls.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// 503, and nothing is done.
    pub unavailable: u32,
    /// It is done, but the answer is 503.
    pub lost: u32,
    /// 409, and nothing is done.
    pub conflict: u32,
    /// A delete is done, and its answer is 404.
    pub gone: u32,
    pub slow: u32,
}

#[derive(Clone)]
pub struct Cloud(pub Arc<Mutex<Table>>);

pub struct Table {
    /// By collection and id.
    pub objects: BTreeMap<(String, String), Value>,
    pub next: u32,
    /// How many calls have changed anything.
    pub changes: u64,
    /// At this many, the world stops answering: the test kills the service.
    pub kill_at: Option<u64>,
    pub killed: bool,
    faults: Faults,
    rng: StdRng,
}

/// One call, taken apart.
pub struct Call {
    pub method: Method,
    /// Without the API's version.
    pub path: Vec<String>,
    pub query: HashMap<String, String>,
    pub body: Value,
}

/// A refusal.
pub type Refusal = (StatusCode, String);

pub fn refuse<T>(status: StatusCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err((status, message.into()))
}

impl Table {
    pub fn new_id(&mut self) -> String {
        self.next += 1;
        format!("00000000-0000-4000-8000-{:012}", self.next)
    }

    pub fn put(&mut self, collection: &str, object: Value) {
        let id = object["id"].as_str().unwrap().to_owned();
        self.objects.insert((collection.to_owned(), id), object);
    }

    pub fn get(&self, collection: &str, id: &str) -> Result<&Value, Refusal> {
        match self.objects.get(&(collection.to_owned(), id.to_owned())) {
            Some(object) => Ok(object),
            None => refuse(StatusCode::NOT_FOUND, format!("no {collection} {id}")),
        }
    }

    pub fn remove(&mut self, collection: &str, id: &str) -> Result<Value, Refusal> {
        match self.objects.remove(&(collection.to_owned(), id.to_owned())) {
            Some(object) => Ok(object),
            None => refuse(StatusCode::NOT_FOUND, format!("no {collection} {id}")),
        }
    }

    pub fn all<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .filter(move |((of, _), _)| of == collection)
            .map(|(_, object)| object)
    }
}

impl Cloud {
    /// With an image, a flavor and an external network.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut table = Table {
            objects: BTreeMap::new(),
            next: 0,
            changes: 0,
            kill_at: None,
            killed: false,
            faults,
            rng: StdRng::seed_from_u64(seed),
        };
        table.put("images", json!({"id": "image-1", "name": "guest"}));
        table.put("flavors", json!({"id": "flavor-1", "name": "tiny"}));
        table.put(
            "networks",
            json!({"id": "external", "name": "app", "router:external": true, "status": "ACTIVE"}),
        );
        Cloud(Arc::new(Mutex::new(table)))
    }

    pub fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap()
    }

    pub fn router(&self, service: &'static str) -> Router {
        let cloud = self.clone();
        Router::new()
            .fallback(
                move |State(cloud): State<Cloud>, request: Request| async move {
                    cloud.answer(service, request).await
                },
            )
            .with_state(cloud)
    }

    /// What stands, without ids and without names that differ from run to run.
    pub fn summary(&self) -> Vec<String> {
        let table = self.table();
        let mut lines: Vec<String> = table
            .objects
            .iter()
            .filter(|((collection, _), _)| collection != "trusts")
            .map(|((collection, _), object)| {
                let mut plain = Map::new();
                for (name, value) in object.as_object().unwrap() {
                    let varies = ["id", "name", "description", "addresses", "polls"];
                    let address = name.contains("ip") && name != "remote_ip_prefix";
                    if !varies.contains(&name.as_str()) && !name.ends_with("_id") && !address {
                        plain.insert(name.clone(), value.clone());
                    }
                }
                if collection == "servers" {
                    plain.insert("plugged".to_owned(), json!(object["port_id"].is_string()));
                }
                for reference in [
                    "security_groups",
                    "external_gateway_info",
                    "user_data",
                    "networks",
                ] {
                    if plain.contains_key(reference) {
                        plain.insert(reference.to_owned(), json!("set"));
                    }
                }
                format!("{collection} {}", Value::Object(plain))
            })
            .collect();
        lines.sort();
        lines
    }

    /// How many objects of a collection there are.
    pub fn count(&self, collection: &str) -> usize {
        self.table().all(collection).count()
    }

    async fn answer(&self, service: &str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let header = |name: &str| {
            let value = parts.headers.get(name);
            value
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let mut path: Vec<String> = parts
            .uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        path.remove(0);
        let decode = |text: &str| text.replace('+', " ").replace("%20", " ");
        let call = Call {
            method: parts.method.clone(),
            path,
            query: parts
                .uri
                .query()
                .unwrap_or_default()
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.to_owned(), decode(value)))
                .collect(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        let token = header("x-auth-token");
        if service == "identity" {
            return self.identity(&call, &token, &header("x-subject-token"));
        }
        let changes = call.method != Method::GET;
        let (fault, lost, gone, slow) = {
            let mut table = self.table();
            let trust = token.strip_prefix("trust-").unwrap_or_default().to_owned();
            if table.get("trusts", &trust).is_err() {
                return fault(StatusCode::UNAUTHORIZED, "not by a trust");
            }
            let faults = table.faults;
            let mut hit = |percent: u32| table.rng.random_ratio(percent, 100);
            let fault = if hit(faults.unavailable) {
                Some(StatusCode::SERVICE_UNAVAILABLE)
            } else if changes && hit(faults.conflict) {
                Some(StatusCode::CONFLICT)
            } else {
                None
            };
            let delete = call.method == Method::DELETE;
            (
                fault,
                changes && hit(faults.lost),
                delete && hit(faults.gone),
                hit(faults.slow),
            )
        };
        if slow {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(status) = fault {
            return self::fault(status, "injected");
        }
        let (result, dead) = {
            let mut table = self.table();
            if table.killed {
                (refuse(StatusCode::SERVICE_UNAVAILABLE, ""), true)
            } else {
                let result = match service {
                    "network" => cloud_network::answer(&mut table, &call),
                    "compute" => compute(&mut table, &call),
                    _ => image(&table, &call),
                };
                if changes && result.is_ok() {
                    table.changes += 1;
                    table.killed = table.kill_at == Some(table.changes);
                }
                (result, table.killed)
            }
        };
        if dead {
            // Done, but nobody lives to hear of it.
            return std::future::pending().await;
        }
        match result {
            Ok(_) if lost => self::fault(StatusCode::SERVICE_UNAVAILABLE, "the answer is lost"),
            Ok(_) if gone => self::fault(StatusCode::NOT_FOUND, "gone already"),
            Ok(Value::Null) => StatusCode::NO_CONTENT.into_response(),
            Ok(answer) => axum::Json(answer).into_response(),
            Err((status, message)) => self::fault(status, &message),
        }
    }

    /// Tokens and trusts; who comes with which token is not checked here.
    fn identity(&self, call: &Call, token: &str, subject: &str) -> Response {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        let mut table = self.table();
        match (&call.method, path.as_slice()) {
            (&Method::POST, ["auth", "tokens"]) => {
                let trust = call.body["auth"]["scope"]["OS-TRUST:trust"]["id"].as_str();
                let (text, user) = match trust {
                    Some(id) if table.get("trusts", id).is_ok() => {
                        (format!("trust-{id}"), "user-member")
                    }
                    Some(id) => return fault(StatusCode::NOT_FOUND, &format!("no trust {id}")),
                    None => ("service".to_owned(), "user-heat"),
                };
                let header = [("x-subject-token", text)];
                (StatusCode::CREATED, header, axum::Json(token_body(user))).into_response()
            }
            (&Method::GET, ["auth", "tokens"]) => {
                let header = [("x-subject-token", subject.to_owned())];
                (header, axum::Json(token_body("user-member"))).into_response()
            }
            (&Method::POST, ["OS-TRUST", "trusts"]) => {
                let mut trust = call.body["trust"].clone();
                let right = trust["trustor_user_id"] == "user-member"
                    && trust["trustee_user_id"] == "user-heat"
                    && trust["impersonation"] == true
                    && trust["roles"] == json!([{"name": "member"}])
                    && token.starts_with("member");
                if !right {
                    return fault(StatusCode::FORBIDDEN, &format!("not such a trust: {trust}"));
                }
                trust["id"] = table.new_id().into();
                table.put("trusts", trust.clone());
                (StatusCode::CREATED, axum::Json(json!({ "trust": trust }))).into_response()
            }
            (&Method::DELETE, ["OS-TRUST", "trusts", id]) if token == format!("trust-{id}") => {
                match table.remove("trusts", id) {
                    Ok(_) => StatusCode::NO_CONTENT.into_response(),
                    Err((status, message)) => fault(status, &message),
                }
            }
            _ => fault(StatusCode::FORBIDDEN, "no such call"),
        }
    }
}

fn fault(status: StatusCode, message: &str) -> Response {
    let body = json!({"error": {"code": status.as_u16(), "message": message, "title": "fault"}});
    (
        status,
        [("content-type", "application/json")],
        Body::from(body.to_string()),
    )
        .into_response()
}

fn token_body(user: &str) -> Value {
    let services = [
        ("identity", "http://identity.test/v3"),
        ("image", "http://image.test"),
        ("compute", "http://compute.test/v2.1"),
        ("network", "http://network.test"),
    ];
    let catalog: Vec<Value> = services
        .iter()
        .map(|(kind, url)| {
            json!({"id": kind, "type": kind, "name": kind, "endpoints": [{"id": kind,
                "interface": "internal", "region_id": "RegionOne", "region": "RegionOne", "url": url}]})
        })
        .collect();
    let default = json!({"id": "default", "name": "Default"});
    json!({"token": {
        "methods": ["password"], "user": {"id": user, "name": user, "domain": default}, "audit_ids": [],
        "expires_at": "2999-01-01T00:00:00.000000Z", "issued_at": "2026-01-01T00:00:00.000000Z",
        "project": {"id": "p1", "name": "p1", "domain": default},
        "roles": [{"id": "member", "name": "member"}], "catalog": catalog,
    }})
}

fn image(table: &Table, call: &Call) -> Result<Value, Refusal> {
    match call.path.get(1) {
        Some(id) => Ok(table.get("images", id)?.clone()),
        None => {
            let name = &call.query["name"];
            let found: Vec<&Value> = table
                .all("images")
                .filter(|image| image["name"] == name.as_str())
                .collect();
            Ok(json!({ "images": found }))
        }
    }
}

fn compute(table: &mut Table, call: &Call) -> Result<Value, Refusal> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match (&call.method, path.as_slice()) {
        (&Method::GET, ["flavors"]) => {
            Ok(json!({"flavors": table.all("flavors").collect::<Vec<_>>()}))
        }
        (&Method::GET, ["servers", "detail"]) => {
            Ok(json!({"servers": table.all("servers").collect::<Vec<_>>()}))
        }
        (&Method::POST, ["servers"]) => {
            let mut server = call.body["server"].clone();
            table.get("flavors", server["flavorRef"].as_str().unwrap_or_default())?;
            let mut addresses = Vec::new();
            for network in server["networks"].as_array().cloned().unwrap_or_default() {
                let port = network["port"].as_str().unwrap_or_default();
                let port = table.get("ports", port)?.clone();
                if table
                    .all("servers")
                    .any(|other| other["port_id"] == port["id"])
                {
                    return refuse(StatusCode::CONFLICT, "the port is in use");
                }
                server["port_id"] = port["id"].clone();
                addresses.push(json!({"addr": port["fixed_ips"][0]["ip_address"]}));
            }
            let id = table.new_id();
            server["id"] = json!(id);
            server["status"] = json!("BUILD");
            server["polls"] = json!(0);
            server["addresses"] = json!({"net": addresses});
            table.put("servers", server.clone());
            Ok(json!({ "server": server }))
        }
        (&Method::GET, ["servers", id]) => {
            let mut server = table.get("servers", id)?.clone();
            let polls = server["polls"].as_u64().unwrap_or_default() + 1;
            server["polls"] = json!(polls);
            match server["status"].as_str() {
                Some("BUILD") if polls > 1 => server["status"] = json!("ACTIVE"),
                Some("DELETING") => {
                    table.remove("servers", id)?;
                    return Ok(json!({ "server": server }));
                }
                _ => {}
            }
            table.put("servers", server.clone());
            Ok(json!({ "server": server }))
        }
        (&Method::PUT, ["servers", id]) => {
            let mut server = table.get("servers", id)?.clone();
            server["name"] = call.body["server"]["name"].clone();
            table.put("servers", server.clone());
            Ok(json!({ "server": server }))
        }
        (method, ["servers", id, "os-interface", rest @ ..]) => {
            let mut server = table.get("servers", id)?.clone();
            let port = match rest.first() {
                Some(port) => json!(port),
                None => call.body["interfaceAttachment"]["port_id"].clone(),
            };
            if *method == Method::POST {
                if table.all("servers").any(|other| other["port_id"] == port) {
                    return refuse(StatusCode::BAD_REQUEST, "the port is in use");
                }
                server["port_id"] = port;
            } else if server["port_id"] != port {
                return refuse(StatusCode::NOT_FOUND, "the port is not the server's");
            } else if *method == Method::DELETE {
                server["port_id"] = Value::Null;
            }
            table.put("servers", server);
            Ok(json!({}))
        }
        (&Method::DELETE, ["servers", id]) => {
            let mut server = table.get("servers", id)?.clone();
            server["status"] = json!("DELETING");
            table.put("servers", server);
            Ok(Value::Null)
        }
        _ => refuse(
            StatusCode::NOT_IMPLEMENTED,
            format!("{} {path:?}", call.method),
        ),
    }
}
