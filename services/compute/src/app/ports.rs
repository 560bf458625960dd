//! A server's ports at the network service: found, made, bound to the host, described for the guest, given back.
//! Every call here may be repeated: what was made for a server is found again by its `device_id`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use http::Method;
use openstack_client::{Client, ClientError};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{App, StepError};
use crate::hypervisor::{FixedIp, Interface, Step};
use crate::store::servers::{Server, WantedNic};

/// A port as the network service prints it: what we read of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Port {
    /// Id.
    pub id: Uuid,
    /// Its network.
    pub network_id: Uuid,
    /// Address on the wire.
    pub mac_address: String,
    /// Addresses.
    #[serde(default)]
    pub fixed_ips: Vec<PortIp>,
    /// Server that uses it, or empty.
    #[serde(default)]
    pub device_id: String,
    /// `compute:ZONE`, or empty.
    #[serde(default)]
    pub device_owner: String,
    /// `ACTIVE`, `DOWN`, ...
    #[serde(default)]
    pub status: String,
    /// Owner.
    #[serde(default)]
    pub project_id: String,
    /// Ids.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Words about how it is bound: `binding_failed` when no mechanism could.
    #[serde(default, rename = "binding:vif_type")]
    pub vif_type: String,
}

/// One address of a port.
#[derive(Debug, Clone, Deserialize)]
pub struct PortIp {
    /// Subnet.
    pub subnet_id: String,
    /// Address.
    pub ip_address: IpAddr,
}

#[derive(Debug, Deserialize)]
struct Subnet {
    id: String,
    cidr: ipnetwork::IpNetwork,
    #[serde(default)]
    gateway_ip: Option<IpAddr>,
    #[serde(default)]
    dns_nameservers: Vec<IpAddr>,
    #[serde(default)]
    host_routes: Vec<HostRoute>,
    #[serde(default)]
    enable_dhcp: bool,
}

#[derive(Debug, Deserialize)]
struct HostRoute {
    destination: ipnetwork::IpNetwork,
    nexthop: IpAddr,
}

fn failed(what: &str, error: &ClientError) -> StepError {
    StepError::client(Step::Port, what, error)
}

fn unreadable(what: &str, error: &serde_json::Error) -> StepError {
    StepError::Never {
        step: Step::Port,
        message: format!("{what}: the network service answered with something unexpected: {error}"),
    }
}

/// Reads one member of an answer.
fn part<T: serde::de::DeserializeOwned>(
    what: &str,
    mut answer: Value,
    member: &str,
) -> Result<T, StepError> {
    serde_json::from_value(answer[member].take()).map_err(|error| unreadable(what, &error))
}

/// All ports of a server.
pub async fn of_server(app: &App, server_id: &str) -> Result<Vec<Port>, StepError> {
    let what = "listing the server's ports";
    let request = app
        .client
        .request(Method::GET, "network", "/v2.0/ports")
        .query("device_id", server_id);
    let answer: Value = request.fetch().await.map_err(|e| failed(what, &e))?;
    part(what, answer, "ports")
}

/// One port.
pub async fn find(client: &Client, port_id: &str) -> Result<Port, StepError> {
    let what = format!("reading port {port_id}");
    let answer = client
        .get("network", &format!("/v2.0/ports/{port_id}"))
        .await
        .map_err(|e| failed(&what, &e))?;
    part(&what, answer, "port")
}

/// Makes or takes the ports that a server asked for, binds them to its host, and describes them.
pub async fn ensure(app: &App, server: &Server) -> Result<Vec<Interface>, StepError> {
    let host = server.host.clone().unwrap_or_default();
    let mut existing = of_server(app, &server.id).await?;
    let groups = if server.doc.security_groups.is_empty() {
        None
    } else {
        Some(group_ids(app, server).await?)
    };
    let mut ports: Vec<(Port, bool)> = Vec::new();
    for wanted in &server.doc.wanted_nics {
        match wanted {
            WantedNic::Port(id) => {
                existing.retain(|port| port.id.to_string() != *id);
                ports.push((bind(app, server, id, &host).await?, false));
            }
            WantedNic::Network { id, fixed_ip } => {
                let fits = |port: &Port| {
                    port.network_id.to_string() == *id
                        && !server
                            .doc
                            .wanted_nics
                            .contains(&WantedNic::Port(port.id.to_string()))
                        && fixed_ip.as_ref().is_none_or(|ip| {
                            port.fixed_ips
                                .iter()
                                .any(|p| p.ip_address.to_string() == *ip)
                        })
                };
                let port = match existing.iter().position(fits) {
                    Some(found) => {
                        let port = existing.remove(found);
                        bind(app, server, &port.id.to_string(), &host).await?
                    }
                    None => {
                        create(
                            app,
                            server,
                            id,
                            fixed_ip.as_deref(),
                            groups.as_deref(),
                            &host,
                        )
                        .await?
                    }
                };
                ports.push((port, true));
            }
        }
    }
    describe(app, &ports).await
}

fn device_owner(app: &App, server: &Server) -> String {
    format!(
        "compute:{}",
        server
            .doc
            .zone
            .as_deref()
            .unwrap_or(&app.config.default_availability_zone)
    )
}

async fn create(
    app: &App,
    server: &Server,
    network: &str,
    fixed_ip: Option<&str>,
    groups: Option<&[String]>,
    host: &str,
) -> Result<Port, StepError> {
    let mut port = json!({
        "network_id": network,
        "project_id": server.project_id,
        "device_id": server.id,
        "device_owner": device_owner(app, server),
        "admin_state_up": true,
        "binding:host_id": host,
    });
    if let Some(address) = fixed_ip {
        port["fixed_ips"] = json!([{"ip_address": address}]);
    }
    if let Some(groups) = groups {
        port["security_groups"] = json!(groups);
    }
    let what = format!("creating a port on network {network}");
    let answer = app
        .client
        .post("network", "/v2.0/ports", &json!({"port": port}))
        .await
        .map_err(|e| failed(&what, &e))?;
    checked(part(&what, answer, "port")?)
}

/// Binds a port to a host in the name of a server.
async fn bind(app: &App, server: &Server, port_id: &str, host: &str) -> Result<Port, StepError> {
    let body = json!({"port": {"device_id": server.id, "device_owner": device_owner(app, server), "binding:host_id": host}});
    let what = format!("binding port {port_id}");
    let answer = app
        .client
        .put("network", &format!("/v2.0/ports/{port_id}"), &body)
        .await
        .map_err(|e| failed(&what, &e))?;
    checked(part(&what, answer, "port")?)
}

fn checked(port: Port) -> Result<Port, StepError> {
    if port.vif_type == "binding_failed" {
        return Err(StepError::Never {
            step: Step::Port,
            message: format!("port {} cannot be bound to the host", port.id),
        });
    }
    Ok(port)
}

/// Names and ids of security groups as ids.
async fn group_ids(app: &App, server: &Server) -> Result<Vec<String>, StepError> {
    let what = "listing security groups";
    let request = app
        .client
        .request(Method::GET, "network", "/v2.0/security-groups")
        .query("project_id", &server.project_id);
    let answer: Value = request.fetch().await.map_err(|e| failed(what, &e))?;
    let known: Vec<Value> = part(what, answer, "security_groups")?;
    server
        .doc
        .security_groups
        .iter()
        .map(|wanted| {
            let found = known
                .iter()
                .find(|group| group["id"] == **wanted)
                .or_else(|| known.iter().find(|group| group["name"] == **wanted));
            found
                .and_then(|group| group["id"].as_str())
                .map(str::to_owned)
                .ok_or_else(|| StepError::Never {
                    step: Step::Port,
                    message: format!("Security group {wanted} not found."),
                })
        })
        .collect()
}

/// Ports with their networks and subnets, as the guest needs them.
pub async fn describe(app: &App, ports: &[(Port, bool)]) -> Result<Vec<Interface>, StepError> {
    let mut networks: BTreeMap<Uuid, (String, Option<u32>, Vec<Subnet>)> = BTreeMap::new();
    for id in ports
        .iter()
        .map(|(port, _)| port.network_id)
        .collect::<BTreeSet<_>>()
    {
        let what = format!("reading network {id}");
        let answer = app
            .client
            .get("network", &format!("/v2.0/networks/{id}"))
            .await
            .map_err(|e| failed(&what, &e))?;
        let (name, mtu) = (
            answer["network"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            answer["network"]["mtu"].as_u64(),
        );
        let subnets = app
            .client
            .request(Method::GET, "network", "/v2.0/subnets")
            .query("network_id", id);
        let answer: Value = subnets.fetch().await.map_err(|e| failed(&what, &e))?;
        networks.insert(
            id,
            (
                name,
                mtu.and_then(|mtu| u32::try_from(mtu).ok())
                    .filter(|mtu| *mtu > 0),
                part(&what, answer, "subnets")?,
            ),
        );
    }
    let mut out = Vec::new();
    for (port, owned) in ports {
        let Some((name, mtu, subnets)) = networks.get(&port.network_id) else {
            continue;
        };
        let fixed_ips = port.fixed_ips.iter().filter_map(|ip| {
            let subnet = subnets.iter().find(|subnet| subnet.id == ip.subnet_id)?;
            Some(FixedIp {
                address: ip.ip_address,
                subnet_id: ip.subnet_id.clone(),
                cidr: subnet.cidr,
                gateway: subnet.gateway_ip,
                dns: subnet.dns_nameservers.clone(),
                routes: subnet
                    .host_routes
                    .iter()
                    .map(|route| (route.destination, route.nexthop))
                    .collect(),
                dhcp: subnet.enable_dhcp,
            })
        });
        out.push(Interface {
            port_id: port.id,
            network_id: port.network_id,
            network_name: name.clone(),
            mac: port.mac_address.clone(),
            mtu: *mtu,
            fixed_ips: fixed_ips.collect(),
            floating_ips: Vec::new(),
            owned: *owned,
        });
    }
    Ok(out)
}

/// Gives back one port: deletes it when it was made for the server, else frees it for others.
pub async fn release(app: &App, port_id: &str, owned: bool) -> Result<(), StepError> {
    let path = format!("/v2.0/ports/{port_id}");
    let result = if owned {
        app.client.delete("network", &path).await
    } else {
        let body = json!({"port": {"device_id": "", "device_owner": "", "binding:host_id": ""}});
        app.client.put("network", &path, &body).await.map(drop)
    };
    match result {
        Err(error) if !error.is_not_found() => {
            Err(failed(&format!("giving back port {port_id}"), &error))
        }
        _ => Ok(()),
    }
}

/// Gives back all ports of a server, also ones that were made and never noted.
pub async fn release_all(app: &App, server: &Server) -> Result<(), StepError> {
    let given: BTreeSet<&str> = server
        .doc
        .wanted_nics
        .iter()
        .filter_map(|nic| match nic {
            WantedNic::Port(id) => Some(id.as_str()),
            WantedNic::Network { .. } => None,
        })
        .collect();
    let attached: BTreeSet<Uuid> = server
        .doc
        .interfaces
        .iter()
        .filter(|interface| !interface.owned)
        .map(|interface| interface.port_id)
        .collect();
    for port in of_server(app, &server.id).await? {
        let id = port.id.to_string();
        let owned = !given.contains(id.as_str()) && !attached.contains(&port.id);
        release(app, &id, owned).await?;
    }
    Ok(())
}

/// Floating addresses by port. An empty answer when the network service does not answer: lists of servers do not
/// fail for that.
pub async fn floating_ips(
    app: &App,
    project_id: Option<&str>,
) -> BTreeMap<Uuid, Vec<(IpAddr, IpAddr)>> {
    let mut request = app
        .client
        .request(Method::GET, "network", "/v2.0/floatingips")
        .timeout(std::time::Duration::from_secs(5));
    if let Some(project_id) = project_id {
        request = request.query("project_id", project_id);
    }
    let mut out: BTreeMap<Uuid, Vec<(IpAddr, IpAddr)>> = BTreeMap::new();
    let answer: Value = match request.fetch().await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%error, "cannot list floating addresses");
            return out;
        }
    };
    for floating in answer["floatingips"].as_array().into_iter().flatten() {
        let address = |name: &str| {
            floating[name]
                .as_str()
                .and_then(|text| text.parse::<IpAddr>().ok())
        };
        let port = floating["port_id"]
            .as_str()
            .and_then(|text| text.parse::<Uuid>().ok());
        if let (Some(port), Some(fixed), Some(outside)) = (
            port,
            address("fixed_ip_address"),
            address("floating_ip_address"),
        ) {
            out.entry(port).or_default().push((fixed, outside));
        }
    }
    out
}
