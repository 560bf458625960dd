//! The network service makes a network with a subnet and gives a port an address.
use super::{fresh_name, remove, text_at};
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;
use openstack_client::Client;
use serde_json::json;

pub struct MakeNetwork;

/// Documentation addresses (RFC 5737): they collide with nobody's.
const CIDR: &str = "203.0.113.0/28";

#[async_trait]
impl Check for MakeNetwork {
    fn name(&self) -> String {
        "network".to_owned()
    }

    fn tries(&self) -> String {
        format!("create a network, a subnet {CIDR} and a port, delete them")
    }

    fn next_step(&self) -> String {
        "read /var/log/neutron/ on the controllers; see that OVN's databases answer".to_owned()
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let network = create(&cloud.client).await?;
        let result = port(&cloud.client, &network).await;
        remove(
            &cloud.client,
            "network",
            &format!("/v2.0/networks/{network}"),
        )
        .await?;
        Ok(Seen::Well(format!("a port got {}", result?)))
    }
}

/// A network with a subnet; its id.
pub(super) async fn create(client: &Client) -> Result<String, String> {
    let body = json!({"network": {"name": fresh_name()}});
    let network = client
        .post("network", "/v2.0/networks", &body)
        .await
        .map_err(|e| e.to_string())?;
    let id = text_at(&network, "/network/id")?.to_owned();
    let body = json!({"subnet": {"network_id": id, "ip_version": 4, "cidr": CIDR}});
    if let Err(error) = client.post("network", "/v2.0/subnets", &body).await {
        remove(client, "network", &format!("/v2.0/networks/{id}")).await?;
        return Err(error.to_string());
    }
    Ok(id)
}

async fn port(client: &Client, network: &str) -> Result<String, String> {
    let body = json!({"port": {"network_id": network}});
    let port = client
        .post("network", "/v2.0/ports", &body)
        .await
        .map_err(|e| e.to_string())?;
    let id = text_at(&port, "/port/id")?;
    let address = text_at(&port, "/port/fixed_ips/0/ip_address").map(str::to_owned);
    remove(client, "network", &format!("/v2.0/ports/{id}")).await?;
    address
}
