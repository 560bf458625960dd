//! Agents of installed nodes by SSH, as the roles reach them: the host key known, the agent put there when it is not
//! the right one.
use crate::commands::deploy::images;
use crate::environment::Environment;
use crate::error::CommandError;
use async_trait::async_trait;
use inventory::NetworkName;
use state::{EnvironmentFolder, Store};
use std::collections::BTreeMap;
use task_engine::link::Transport;
use task_engine::link::ssh::AGENT_PATH;
use task_engine::vars::SharedVars;
use task_engine::{HostSpec, Ssh};
use wiring::{Reach, Stream};

pub struct SshReach {
    ssh: Ssh,
    hosts: BTreeMap<String, HostSpec>,
}

impl SshReach {
    /// # Errors
    /// There is no agent to put on nodes, or no key to reach them with.
    pub async fn new(
        folder: &EnvironmentFolder,
        environment: &Environment,
        store: &Store,
    ) -> Result<Self, CommandError> {
        let agent = images::agent()?;
        let ssh = Ssh::new(&folder.ssh_key(), Some(&agent))
            .map_err(|error| {
                CommandError::failed(error.to_string()).hint("`wright deploy` makes the key")
            })?
            .with_agent_at(AGENT_PATH, &format!("{AGENT_PATH} probe"));
        let hosts = hosts(environment, store).await?;
        Ok(SshReach { ssh, hosts })
    }

    /// Nodes that can be asked at all.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }
}

/// Nodes whose host keys are known from their installation.
pub async fn hosts(
    environment: &Environment,
    store: &Store,
) -> Result<BTreeMap<String, HostSpec>, CommandError> {
    let mut hosts = BTreeMap::new();
    for record in store.nodes().await.map_err(anyhow::Error::from)? {
        let planned = environment.plan.nodes.get(&record.name);
        let address = planned.and_then(|node| node.addresses.get(&NetworkName::Pxe));
        if let (Some(address), Some(host_key)) = (address, record.ssh_host_key) {
            let host = HostSpec {
                name: record.name.clone(),
                address: address.to_string(),
                port: 22,
                user: "root".to_owned(),
                host_key,
                groups: Vec::new(),
                vars: serde_json::Map::new(),
                shared: SharedVars::default(),
            };
            hosts.insert(record.name, host);
        }
    }
    Ok(hosts)
}

#[async_trait]
impl Reach for SshReach {
    async fn open(&self, node: &str, renew: bool) -> Result<Box<dyn Stream>, String> {
        let host = self
            .hosts
            .get(node)
            .ok_or("it is not installed yet: no SSH host key of it is known")?;
        let reached = self
            .ssh
            .reach(host)
            .await
            .map_err(|error| error.to_string())?;
        if renew {
            reached
                .install_agent()
                .await
                .map_err(|error| error.to_string())?;
        }
        let stream = reached.attach().await.map_err(|error| error.to_string())?;
        Ok(Box::new(stream))
    }

    fn agent_sha256(&self) -> Option<&str> {
        self.ssh.agent_sha256()
    }
}
