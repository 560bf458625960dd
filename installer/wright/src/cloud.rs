//! The environment's cloud as its administrator sees it: a client, a shell on the nodes.
use crate::environment::Environment;
use crate::error::CommandError;
use crate::settings::Settings;
use async_trait::async_trait;
use openstack_client::{Client, ClientOptions, Credentials, Transport};
use openstack_types::Interface;
use state::{EnvironmentFolder, Secrets, Store};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Longest that a command on a node may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);
pub const REGION: &str = "RegionOne";

/// A client with the administrator's rights, over the internal virtual address.
pub fn client(
    folder: &EnvironmentFolder,
    environment: &Environment,
) -> Result<Client, CommandError> {
    client_at(folder, auth_url(environment)?)
}

/// Where the identity service of the environment's controllers answers.
pub fn auth_url(environment: &Environment) -> Result<String, CommandError> {
    match environment.plan.vips.internal {
        Some(vip) => Ok(format!("{}/v3", url(vip, 5000))),
        None => Err(CommandError::failed(
            "the plan has no internal virtual address",
        )),
    }
}

/// Where a service of the cloud answers, on a virtual address or on a controller's own.
pub fn url(address: Ipv4Addr, port: u16) -> String {
    format!("https://{address}:{port}")
}

/// How a service at this URL is called: one of the cloud's is of the environment's authority, one of `wright up` is on
/// this machine and without TLS.
pub fn transport(folder: &EnvironmentFolder, url: &str) -> Result<Transport, CommandError> {
    match url.starts_with("https:") {
        true => Transport::http_with_roots(&[authority(folder)?]),
        false => Transport::http(),
    }
    .map_err(|error| anyhow::anyhow!("no HTTP client: {error}").into())
}

/// A client with the administrator's rights for an identity service at this URL.
pub fn client_at(folder: &EnvironmentFolder, auth_url: String) -> Result<Client, CommandError> {
    let secrets = Secrets::open(folder).map_err(anyhow::Error::from)?;
    let Some(password) = secrets.get("identity_admin").map_err(anyhow::Error::from)? else {
        return Err(
            CommandError::failed("the environment has no administrator yet").hint(format!(
                "deploy it: `wright -e {} deploy`",
                folder.environment()
            )),
        );
    };
    let options = ClientOptions {
        auth_url,
        region: REGION.to_owned(),
        interface: Interface::Internal,
    };
    Ok(Client::new(
        transport(folder, &options.auth_url)?,
        options,
        Credentials::password("admin", password.expose(), "admin"),
    ))
}

/// The certificate of the environment's authority.
fn authority(folder: &EnvironmentFolder) -> Result<Vec<u8>, CommandError> {
    let path = folder.ca();
    std::fs::read(&path).map_err(|error| {
        CommandError::failed(format!("cannot read `{}`: {error}", path.display())).hint(format!(
            "deploying writes it: `wright -e {} deploy`",
            folder.environment()
        ))
    })
}

/// Where the identity service listens that `wright up` runs for this environment on this machine; `None` for an
/// environment that is deployed on nodes.
pub fn on_this_machine(settings: &Settings) -> Option<String> {
    let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env)?;
    let openrc = std::fs::read_to_string(folder.openrc()).ok()?;
    let url = openrc
        .lines()
        .find_map(|line| line.strip_prefix("export OS_AUTH_URL="))?
        .trim_matches('\'');
    url.starts_with("http://127.0.0.1:").then(|| url.to_owned())
}

/// Commands on nodes by `ssh`, each node's host key being the one from its installation.
pub struct SshShell {
    key: PathBuf,
    known_hosts: PathBuf,
    addresses: BTreeMap<String, Ipv4Addr>,
}

impl SshShell {
    pub async fn new(
        folder: &EnvironmentFolder,
        environment: &Environment,
        store: &Store,
    ) -> Result<Self, CommandError> {
        let mut known = String::new();
        let mut addresses = BTreeMap::new();
        for record in store.nodes().await.map_err(anyhow::Error::from)? {
            let planned = environment.plan.nodes.get(&record.name);
            let address = planned.and_then(|node| node.addresses.get(&inventory::NetworkName::Pxe));
            if let (Some(address), Some(key)) = (address, &record.ssh_host_key) {
                known.push_str(&format!("{address} {}\n", key.trim()));
                addresses.insert(record.name.clone(), *address);
            }
        }
        let known_hosts = folder.ssh().join("known_hosts");
        state::folder::replace_file(&known_hosts, known.as_bytes()).map_err(anyhow::Error::from)?;
        Ok(SshShell {
            key: folder.ssh_key(),
            known_hosts,
            addresses,
        })
    }
}

impl SshShell {
    /// `ssh` that runs these words on the node.
    ///
    /// # Errors
    /// The node has no host key that is known from its installation.
    pub fn ssh(&self, node: &str, argv: &[&str]) -> Result<std::process::Command, String> {
        let address = self
            .addresses
            .get(node)
            .ok_or_else(|| format!("`{node}` is not installed"))?;
        let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
        let mut ssh = std::process::Command::new("ssh");
        ssh.arg("-i")
            .arg(&self.key)
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.known_hosts.display()))
            .args([
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=30",
            ])
            // A node that is gone is noticed within a minute, however long its command is to run.
            .args([
                "-o",
                "ServerAliveInterval=15",
                "-o",
                "ServerAliveCountMax=4",
            ])
            .args(["-o", "LogLevel=ERROR", &format!("root@{address}"), "--"])
            .arg(words.join(" "));
        Ok(ssh)
    }
}

#[async_trait]
impl health::NodeShell for SshShell {
    async fn run(&self, node: &str, argv: &[&str]) -> Result<(i32, String), String> {
        let run = Command::from(self.ssh(node, argv)?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMMAND_TIMEOUT, run)
            .await
            .map_err(|_| format!("no answer within {} s", COMMAND_TIMEOUT.as_secs()))?
            .map_err(|error| format!("cannot run ssh: {error}"))?;
        let code = output.status.code().unwrap_or(-1);
        if code == 255 {
            return Err(format!(
                "ssh: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

/// A word for the shell on the other side.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
