//! SSH: one connection a node, the host key known beforehand, the agent pushed over it when it is not the right one.
//!
//! [`Ssh`] reaches the environment's own nodes, all alike. The functions below it serve `per_host`, where each host has
//! a user, keys and a way to root of its own.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use russh::ChannelMsg;
use russh::client::{self, Handle};
use russh::keys::{
    Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::held::Held;
use super::{ConnectError, Reached, Stream, Transport};
use crate::hosts::HostSpec;

/// Where the agent lies on a node.
pub const AGENT_PATH: &str = "/usr/local/sbin/wright-agent";

/// Reaches nodes with the environment's key.
pub struct Ssh {
    key: Arc<PrivateKey>,
    agent: Option<Arc<Agent>>,
    agent_path: String,
    attach: String,
    connect: Duration,
}

pub(super) struct Agent {
    bytes: Bytes,
    pub sha256: String,
    /// Made when the first node needs it.
    packed: OnceCell<Bytes>,
}

#[derive(Debug, thiserror::Error)]
pub enum SshError {
    #[error("the SSH key `{path}` cannot be used: {reason}")]
    Key { path: PathBuf, reason: String },
    #[error("the agent `{path}` cannot be read: {source}")]
    Agent {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Ssh {
    /// `key` is the environment's private key. `agent` is the binary that nodes are to run; without it they keep the
    /// one they have.
    pub fn new(key: &Path, agent: Option<&Path>) -> Result<Self, SshError> {
        let private = russh::keys::load_secret_key(key, None).map_err(|error| SshError::Key {
            path: key.to_path_buf(),
            reason: error.to_string(),
        })?;
        let agent = agent.map(Agent::read).transpose()?.map(Arc::new);
        Ok(Ssh {
            key: Arc::new(private),
            agent,
            agent_path: AGENT_PATH.to_owned(),
            attach: format!("{AGENT_PATH} attach"),
            connect: Duration::from_secs(20),
        })
    }

    /// Another place and command line for the agent: for tests that must not touch the machine's own.
    pub fn with_agent_at(mut self, path: &str, attach: &str) -> Self {
        path.clone_into(&mut self.agent_path);
        attach.clone_into(&mut self.attach);
        self
    }

    async fn session(&self, host: &HostSpec) -> Result<Handle<HostKey>, ConnectError> {
        let mut session = greet(host, self.connect).await?;
        let hash = rsa_hash(&session).await;
        let key = PrivateKeyWithHashAlg::new(self.key.clone(), hash);
        let authenticated = session
            .authenticate_publickey(host.user.clone(), key)
            .await
            .map_err(|error| unreachable(host, &error.to_string()))?;
        if !authenticated.success() {
            return Err(ConnectError::Refused(format!(
                "`{}` does not accept our key for `{}`",
                host.name, host.user
            )));
        }
        Ok(session)
    }
}

/// A session with a server that showed a key that is known, not authenticated yet. `host.host_key` holds one known key
/// a line.
pub(super) async fn greet(
    host: &HostSpec,
    patience: Duration,
) -> Result<Handle<HostKey>, ConnectError> {
    let lines = host.host_key.trim().lines();
    let wanted: Vec<PublicKey> = match lines.map(PublicKey::from_openssh).collect() {
        Ok(keys) if !host.host_key.trim().is_empty() => keys,
        Ok(_) => {
            return Err(ConnectError::Refused(format!(
                "the host key of `{}` is not known",
                host.name
            )));
        }
        Err(error) => {
            return Err(ConnectError::Refused(format!(
                "the host key of `{}` is not known or not readable: {error}",
                host.name
            )));
        }
    };
    let mut config = client::Config {
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 4,
        ..client::Config::default()
    };
    // The server is to show a key of a kind that is known, not the one that it likes best.
    let kinds: Vec<_> = wanted.iter().map(PublicKey::algorithm).collect();
    let known = |algorithm: &Algorithm| {
        kinds.iter().any(|kind| {
            kind == algorithm
                || matches!(
                    (kind, algorithm),
                    (Algorithm::Rsa { .. }, Algorithm::Rsa { .. })
                )
        })
    };
    let preferred: Vec<_> = config
        .preferred
        .key
        .iter()
        .filter(|one| known(one))
        .cloned()
        .collect();
    if !preferred.is_empty() {
        config.preferred.key = preferred.into();
    }
    let stream = dial(host).await?;
    let greeting = client::connect_stream(Arc::new(config), stream, HostKey { wanted });
    match timeout(patience, greeting).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(russh::Error::UnknownKey)) => Err(ConnectError::Refused(format!(
            "`{}` at {}:{} showed another SSH host key than the one it was given; was it reinstalled by someone else?",
            host.name, host.address, host.port
        ))),
        Ok(Err(error)) => Err(unreachable(host, &error.to_string())),
        Err(_) => Err(unreachable(
            host,
            &format!("no answer within {} seconds", patience.as_secs()),
        )),
    }
}

/// The hash that signatures by RSA keys are to use, as far as the server says.
pub(super) async fn rsa_hash(session: &Handle<HostKey>) -> Option<HashAlg> {
    let told = session.best_supported_rsa_hash().await;
    told.ok().flatten().flatten()
}

/// How long a host may take to answer the first packet. Others can be waiting for it.
const DIAL: Duration = Duration::from_secs(10);

async fn dial(host: &HostSpec) -> Result<TcpStream, ConnectError> {
    match timeout(DIAL, TcpStream::connect((host.address.as_str(), host.port))).await {
        Ok(Ok(stream)) => {
            // Small messages go back and forth: none is to wait for the next.
            stream
                .set_nodelay(true)
                .map_err(|error| unreachable(host, &error.to_string()))?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(unreachable(host, &error.to_string())),
        Err(_) => Err(unreachable(
            host,
            &format!("no answer within {} seconds", DIAL.as_secs()),
        )),
    }
}

pub(super) fn unreachable(host: &HostSpec, reason: &str) -> ConnectError {
    ConnectError::Unreachable(format!(
        "`{}` at {}:{}: {reason}",
        host.name, host.address, host.port
    ))
}

#[async_trait]
impl Transport for Ssh {
    async fn reach(&self, host: &HostSpec) -> Result<Box<dyn Reached>, ConnectError> {
        Ok(Box::new(LoggedIn {
            session: Arc::new(self.session(host).await?),
            host: host.clone(),
            agent: self.agent.clone(),
            agent_path: self.agent_path.clone(),
            attach: self.attach.clone(),
            sudo: None,
        }))
    }

    fn agent_sha256(&self) -> Option<&str> {
        self.agent.as_ref().map(|agent| agent.sha256.as_str())
    }
}

/// A node that has let us in.
pub(super) struct LoggedIn {
    pub session: Arc<Handle<HostKey>>,
    pub host: HostSpec,
    pub agent: Option<Arc<Agent>>,
    pub agent_path: String,
    pub attach: String,
    pub sudo: Option<Root>,
}

/// How commands become root's.
#[derive(Clone)]
pub(super) struct Root {
    /// The words before the command.
    pub words: &'static str,
    /// What they are told first.
    pub secret: Option<String>,
}

#[async_trait]
impl Reached for LoggedIn {
    async fn attach(&self) -> Result<Box<dyn Stream>, ConnectError> {
        let failed = |error: russh::Error| unreachable(&self.host, &error.to_string());
        let channel = self.session.channel_open_session().await.map_err(failed)?;
        let words = self.sudo.as_ref().map_or("", |root| root.words);
        let command = format!("{words}{}", self.attach);
        channel.exec(true, command).await.map_err(failed)?;
        if let Some(secret) = self.sudo.as_ref().and_then(|root| root.secret.as_ref()) {
            channel.data(secret.as_bytes()).await.map_err(failed)?;
        }
        Ok(Box::new(Held {
            stream: channel.into_stream(),
            _kept: self.session.clone(),
        }))
    }

    async fn install_agent(&self) -> Result<(), ConnectError> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let mut command = agent.installation(&self.agent_path);
        let mut secret = "";
        if let Some(root) = &self.sudo {
            // No quote stands in the command but double ones.
            command = format!("{}sh -c '{command}'", root.words);
            secret = root.secret.as_deref().unwrap_or_default();
        }
        let input = [
            Bytes::copy_from_slice(secret.as_bytes()),
            agent.packed().await?,
        ];
        let (status, said) = told(&self.session, &self.host, &command, &input).await?;
        installed(&self.host, status, &said)
    }
}

impl Agent {
    pub(super) fn read(path: &Path) -> Result<Self, SshError> {
        let bytes = std::fs::read(path).map_err(|source| SshError::Agent {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Agent {
            sha256: hex::encode(Sha256::digest(&bytes)),
            bytes: bytes.into(),
            packed: OnceCell::new(),
        })
    }

    /// The agent in gzip's format (RFC 1952), which every Linux unpacks. Less is sent, and above all less piles up in the
    /// SSH server: sshd copies all that its command has not read yet with every packet that comes, which made two
    /// mebibytes of it cost more than all the rest of a first run.
    async fn packed(&self) -> Result<Bytes, ConnectError> {
        let pack = || async {
            let bytes = self.bytes.clone();
            let packing = tokio::task::spawn_blocking(move || {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&bytes).and_then(|()| encoder.finish())
            });
            let packed = packing.await.map_err(std::io::Error::other).flatten();
            packed.map(Bytes::from).map_err(|error| {
                ConnectError::Refused(format!("the agent cannot be packed: {error}"))
            })
        };
        self.packed.get_or_try_init(pack).await.cloned()
    }

    /// The command that takes the packed agent from its input. Written beside and moved: whoever starts the agent meanwhile
    /// gets the old one or the new one, whole. The next attach notices that the running daemon is another file, lets
    /// it end its task, and replaces it.
    fn installation(&self, path: &str) -> String {
        format!(
            "set -e; mkdir -p \"$(dirname {path})\"; gzip -dc > {path}.new; \
             echo \"{sha256}  {path}.new\" | sha256sum -c --quiet; chmod 0755 {path}.new; mv -f {path}.new {path}",
            sha256 = self.sha256
        )
    }
}

/// Runs a command with this input; its exit status and the beginning of what it said.
pub(super) async fn told(
    session: &Handle<HostKey>,
    host: &HostSpec,
    command: &str,
    input: &[Bytes],
) -> Result<(Option<u32>, String), ConnectError> {
    let failed = |error: russh::Error| unreachable(host, &error.to_string());
    let mut channel = session.channel_open_session().await.map_err(failed)?;
    channel.exec(true, command).await.map_err(failed)?;
    for piece in input {
        channel.data_bytes(piece.clone()).await.map_err(failed)?;
    }
    channel.eof().await.map_err(failed)?;
    let (mut status, mut said) = (None, Vec::new());
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }
                if said.len() < 4096 =>
            {
                said.extend_from_slice(&data);
            }
            _ => {}
        }
    }
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

/// How putting the agent there came out.
fn installed(host: &HostSpec, status: Option<u32>, said: &str) -> Result<(), ConnectError> {
    match status {
        Some(0) => Ok(()),
        Some(code) => Err(ConnectError::Refused(format!(
            "the agent could not be put on `{}` (status {code}): {said}",
            host.name
        ))),
        None => Err(unreachable(
            host,
            "the connection ended while the agent was sent",
        )),
    }
}

/// Accepts keys that are known and no other; never the first that comes.
pub(super) struct HostKey {
    wanted: Vec<PublicKey>,
}

impl client::Handler for HostKey {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self
                .wanted
                .iter()
                .any(|wanted| key.key_data() == wanted.key_data()),
            _ => false,
        })
    }
}
