//! The metadata service: 169.254.169.254:80 for the guests of this node. Each network has a namespace of its own,
//! whose only wire is a port of the integration bridge that OVN takes for the network's localport, so a guest is known
//! by its network and its source address, and two networks may use the same addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri, header};
use serde_json::Value;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Agent;
use super::metadata_tree::answer;
use crate::hypervisor::GuestSpec;

/// The address that guests know.
const ADDRESS: &str = "169.254.169.254";
/// How often the networks of this node are looked up.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long one command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves every network on which this node has guests, until `shutdown`.
pub async fn run(agent: Arc<Agent>, shutdown: CancellationToken) {
    let mut served: BTreeMap<Uuid, CancellationToken> = BTreeMap::new();
    while !shutdown.is_cancelled() {
        match networks(&agent).await {
            Ok(wanted) => {
                for network in &wanted {
                    if served.contains_key(network) {
                        continue;
                    }
                    let stop = shutdown.child_token();
                    match serve(&agent, *network, stop.clone()).await {
                        Ok(()) => {
                            tracing::info!(%network, "serving metadata");
                            served.insert(*network, stop);
                        }
                        Err(error) => {
                            tracing::warn!(%network, error, "metadata cannot be served yet")
                        }
                    }
                }
                let gone: Vec<Uuid> = served
                    .keys()
                    .filter(|network| !wanted.contains(network))
                    .copied()
                    .collect();
                for network in gone {
                    if let Some(stop) = served.remove(&network) {
                        stop.cancel();
                    }
                    remove(&agent, network).await;
                }
            }
            Err(error) => tracing::debug!(error, "the node's networks cannot be read"),
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => {}
        }
    }
    // The namespaces stay: a restarted agent finds them as they are.
}

async fn networks(agent: &Agent) -> Result<Vec<Uuid>, String> {
    let path = format!("{}/networks", agent.path);
    let mut answer = agent
        .client
        .get("compute", &path)
        .await
        .map_err(|error| error.to_string())?;
    serde_json::from_value(answer["networks"].take()).map_err(|error| error.to_string())
}

impl Agent {
    fn namespace(&self, network: Uuid) -> String {
        format!("{}{network}", self.config.metadata_prefix)
    }

    /// Runs a command where the integration bridge is.
    async fn on_the_wires(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let Some(namespace) = &self.config.network_namespace else {
            return command(program, arguments).await;
        };
        let net = format!("--net=/run/netns/{namespace}");
        command("nsenter", &[&[&net, "--", program], arguments].concat()).await
    }

    async fn vsctl(&self, arguments: &[&str]) -> Result<(), String> {
        let database = self.config.ovsdb.as_ref().map(|db| format!("--db={db}"));
        let mut all = vec!["--timeout=20"];
        all.extend(database.as_deref());
        all.extend(arguments);
        command("ovs-vsctl", &all).await
    }
}

/// Both ends of the wire: at most 15 characters.
fn ends(network: Uuid) -> (String, String) {
    let id = network.simple().to_string();
    (format!("tap{}0", &id[..10]), format!("tap{}1", &id[..10]))
}

async fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let run = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(COMMAND_TIMEOUT, run).await {
        Err(_) => Err(format!("{program} did not finish in time")),
        Ok(Err(error)) => Err(format!("{program} cannot be started: {error}")),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(format!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// Makes the namespace and its wire (what is there already stays), and listens inside.
async fn serve(agent: &Arc<Agent>, network: Uuid, stop: CancellationToken) -> Result<(), String> {
    let request = agent
        .client
        .request(Method::GET, "network", "/v2.0/ports")
        .query("network_id", network)
        .query("device_owner", "network:distributed");
    let answer: Value = request.fetch().await.map_err(|error| error.to_string())?;
    let port = &answer["ports"][0];
    let (Some(port_id), Some(mac)) = (port["id"].as_str(), port["mac_address"].as_str()) else {
        return Err("the network has no metadata port".to_owned());
    };
    let (name, (outer, inner)) = (agent.namespace(network), ends(network));
    if !std::path::Path::new("/run/netns").join(&name).exists() {
        command("ip", &["netns", "add", &name]).await?;
    }
    let there = ["link", "show", "dev", &outer];
    if agent.on_the_wires("ip", &there).await.is_err() {
        let wire = [
            "link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", &name,
        ];
        agent.on_the_wires("ip", &wire).await?;
    }
    command("ip", &["-n", &name, "link", "set", "lo", "up"]).await?;
    command(
        "ip",
        &["-n", &name, "link", "set", &inner, "address", mac, "up"],
    )
    .await?;
    agent
        .on_the_wires("ip", &["link", "set", &outer, "up"])
        .await?;
    command(
        "ip",
        &[
            "-n",
            &name,
            "address",
            "replace",
            &format!("{ADDRESS}/32"),
            "dev",
            &inner,
        ],
    )
    .await?;
    let subnets = agent
        .client
        .request(Method::GET, "network", "/v2.0/subnets")
        .query("network_id", network);
    let subnets: Value = subnets.fetch().await.map_err(|error| error.to_string())?;
    for ip in port["fixed_ips"].as_array().into_iter().flatten() {
        let subnet = subnets["subnets"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|subnet| subnet["id"] == ip["subnet_id"]);
        let prefix = subnet.and_then(|subnet| {
            subnet["cidr"]
                .as_str()?
                .rsplit('/')
                .next()?
                .parse::<u8>()
                .ok()
        });
        if let (Some(address), Some(prefix)) = (ip["ip_address"].as_str(), prefix) {
            command(
                "ip",
                &[
                    "-n",
                    &name,
                    "address",
                    "replace",
                    &format!("{address}/{prefix}"),
                    "dev",
                    &inner,
                ],
            )
            .await?;
        }
    }
    let id = format!("external_ids:iface-id={port_id}");
    let bridge = &agent.config.integration_bridge;
    let plug = ["--may-exist", "add-port", bridge, &outer, "--"];
    let name_it = ["set", "Interface", &outer, &id];
    agent.vsctl(&[&plug[..], &name_it[..]].concat()).await?;
    // Replies to guests cross Open vSwitch's user space in some set-ups: checksums must be whole there.
    let _ = command(
        "ip",
        &["netns", "exec", &name, "ethtool", "-K", &inner, "tx", "off"],
    )
    .await;
    let listener = tokio::task::spawn_blocking(move || listen_in(&name))
        .await
        .map_err(|error| error.to_string())??;
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
    let state = Arc::new(Served {
        agent: Arc::clone(agent),
        network,
    });
    let router = Router::new()
        .fallback(handle)
        .with_state(state)
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
        {
            tracing::warn!(%network, %error, "metadata service ended");
        }
    });
    Ok(())
}

/// A listening socket inside a namespace: a socket stays where it was made, so only a thread has to go there.
fn listen_in(name: &str) -> Result<std::net::TcpListener, String> {
    let path = format!("/run/netns/{name}");
    let thread = std::thread::spawn(move || {
        let namespace = std::fs::File::open(&path).map_err(|error| format!("`{path}`: {error}"))?;
        nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("`{path}`: {error}"))?;
        let listener = std::net::TcpListener::bind((ADDRESS, 80))
            .map_err(|error| format!("cannot listen on {ADDRESS}:80: {error}"))?;
        listener
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        Ok(listener)
    });
    thread
        .join()
        .map_err(|_| "the thread that listens ended".to_owned())?
}

async fn remove(agent: &Agent, network: Uuid) {
    let (outer, _) = ends(network);
    let bridge = &agent.config.integration_bridge;
    for result in [
        agent
            .vsctl(&["--if-exists", "del-port", bridge, &outer])
            .await,
        command("ip", &["netns", "delete", &agent.namespace(network)]).await,
    ] {
        if let Err(error) = result {
            tracing::warn!(%network, error, "metadata namespace");
        }
    }
}

struct Served {
    agent: Arc<Agent>,
    network: Uuid,
}

async fn handle(
    State(served): State<Arc<Served>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match guest(&served, from.ip()).await {
        Ok(spec) => match answer(&spec, uri.path()) {
            Some((body, kind)) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Err(error) if error.is_not_found() => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::warn!(network = %served.network, %from, %error, "metadata cannot be answered");
            // Readers try again on this, and give up on others.
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn guest(
    served: &Served,
    address: IpAddr,
) -> Result<GuestSpec, openstack_client::ClientError> {
    let path = format!("{}/metadata", served.agent.path);
    let request = served
        .agent
        .client
        .request(Method::GET, "compute", &path)
        .query("network", served.network)
        .query("address", address);
    request.fetch().await
}
