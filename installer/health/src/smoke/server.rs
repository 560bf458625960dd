//! Compute boots a server and takes it away again.
use super::{fresh_name, network, remove, text_at};
use crate::{Check, Cloud, Guest, Seen};
use async_trait::async_trait;
use serde_json::json;
use std::time::Duration;

pub struct BootServer;

/// Between two looks at the server.
const POLL: Duration = Duration::from_secs(2);

#[async_trait]
impl Check for BootServer {
    fn name(&self) -> String {
        "server".to_owned()
    }

    fn tries(&self) -> String {
        "boot a server on a network of its own until it is ACTIVE, delete it".to_owned()
    }

    fn next_step(&self) -> String {
        "run `openstack server show` on it for its fault; read /var/log/nova/ on the named node"
            .to_owned()
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let Some(guest) = &cloud.guest else {
            return Ok(Seen::Skipped(
                "the cloud has no image to boot from yet".to_owned(),
            ));
        };
        let network = network::create(&cloud.client).await?;
        let result = boot(cloud, guest, &network).await;
        remove(
            &cloud.client,
            "network",
            &format!("/v2.0/networks/{network}"),
        )
        .await?;
        Ok(Seen::Well(format!("ACTIVE on {}", result?)))
    }
}

async fn boot(cloud: &Cloud, guest: &Guest, network: &str) -> Result<String, String> {
    let body = json!({"server": {
        "name": fresh_name(), "imageRef": guest.image, "flavorRef": guest.flavor, "networks": [{"uuid": network}],
    }});
    let server = cloud
        .client
        .post("compute", "/servers", &body)
        .await
        .map_err(|e| e.to_string())?;
    let path = format!("/servers/{}", text_at(&server, "/server/id")?);
    let result = wait_active(cloud, &path).await;
    remove(&cloud.client, "compute", &path).await?;
    while cloud.client.get("compute", &path).await.is_ok() {
        tokio::time::sleep(POLL).await;
    }
    result
}

/// The host once the server is ACTIVE; ends with the check's own time limit otherwise.
async fn wait_active(cloud: &Cloud, path: &str) -> Result<String, String> {
    loop {
        let answer = cloud
            .client
            .get("compute", path)
            .await
            .map_err(|e| e.to_string())?;
        match text_at(&answer, "/server/status")? {
            "ACTIVE" => return Ok(text_at(&answer, "/server/OS-EXT-SRV-ATTR:host")?.to_owned()),
            "ERROR" => {
                let cause =
                    text_at(&answer, "/server/fault/message").unwrap_or("no fault is given");
                return Err(format!("the server is in ERROR: {cause}"));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
