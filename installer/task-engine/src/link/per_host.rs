//! Hosts that this product did not install, each reached in a way of its own: as any user, with that user's keys, root
//! by `sudo`, or without SSH because it is this machine.
//!
//! Where tasks need root, the agent is pushed and started by `sudo`, once a connection, and changes users itself from
//! there; where none does, it runs as the user who logged in. A password for `sudo` goes through its standard input.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};

use super::local::Local;
use super::ssh::{
    AGENT_PATH, Agent, HostKey, LoggedIn, Root, SshError, greet, rsa_hash, told, unreachable,
};
use super::{ConnectError, Reached, Stream, Transport};
use crate::hosts::HostSpec;

/// How one host is reached.
#[derive(Clone, Default)]
pub struct Access {
    /// It is this machine: no SSH.
    pub local: bool,
    /// Private keys, tried in this order; then those of the user's SSH agent.
    pub keys: Vec<PathBuf>,
    /// For SSH, tried last.
    pub password: Option<String>,
    /// Tasks want root, and the user is another: by `sudo`, with this password if it asks for one.
    pub sudo: Option<Sudo>,
}

#[derive(Clone, Default)]
pub struct Sudo {
    pub password: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords are nobody's business.
        f.debug_struct("Access")
            .field("local", &self.local)
            .field("keys", &self.keys)
            .field("sudo", &self.sudo.is_some())
            .finish_non_exhaustive()
    }
}

/// Reaches each host by its own [`Access`].
pub struct PerHost {
    access: HashMap<String, Access>,
    /// For hosts that come up while the run goes on.
    otherwise: Access,
    agent: Arc<Agent>,
    local: Local,
    connect: Duration,
}

impl PerHost {
    /// `agent` is the program that hosts are to run, `folder` where this machine's own keeps its state.
    ///
    /// # Errors
    /// The agent cannot be read.
    pub fn new(
        access: HashMap<String, Access>,
        otherwise: Access,
        agent: &Path,
        folder: &Path,
    ) -> Result<Self, SshError> {
        Ok(PerHost {
            access,
            otherwise,
            local: Local::new(agent, folder),
            agent: Arc::new(Agent::read(agent)?),
            connect: Duration::from_secs(20),
        })
    }

    fn access(&self, host: &HostSpec) -> &Access {
        self.access.get(&host.name).unwrap_or(&self.otherwise)
    }

    async fn session(&self, host: &HostSpec) -> Result<Handle<HostKey>, ConnectError> {
        if host.host_key.trim().is_empty() {
            return Err(ConnectError::Refused(format!(
                "the SSH host key of `{0}` ({1} port {2}) is not known; compare its fingerprint, then \
                 `wright node trust {1}:{2} --fingerprint SHA256:...`, or log in once by `ssh`",
                host.name, host.address, host.port
            )));
        }
        let access = self.access(host);
        let mut session = greet(host, self.connect).await?;
        let failed = |error: russh::Error| unreachable(host, &error.to_string());
        let hash = rsa_hash(&session).await;
        let mut tried = Vec::new();
        for path in &access.keys {
            let key: Arc<PrivateKey> = match russh::keys::load_secret_key(path, None) {
                Ok(key) => Arc::new(key),
                Err(error) => {
                    tried.push(format!("`{}` ({error})", path.display()));
                    continue;
                }
            };
            tried.push(format!("`{}`", path.display()));
            let key = PrivateKeyWithHashAlg::new(key, hash);
            let answer = session
                .authenticate_publickey(host.user.clone(), key)
                .await
                .map_err(failed)?;
            if answer.success() {
                return Ok(session);
            }
        }
        if let Ok(mut agent) = AgentClient::connect_env().await {
            for identity in agent.request_identities().await.unwrap_or_default() {
                let AgentIdentity::PublicKey { key, comment } = identity else {
                    continue;
                };
                tried.push(format!("the agent's `{comment}`"));
                let answer = session
                    .authenticate_publickey_with(host.user.clone(), key, hash, &mut agent)
                    .await;
                if matches!(answer, Ok(AuthResult::Success)) {
                    return Ok(session);
                }
            }
        }
        if let Some(password) = &access.password {
            tried.push("a password".to_owned());
            let answer = session
                .authenticate_password(host.user.clone(), password.clone())
                .await
                .map_err(failed)?;
            if answer.success() {
                return Ok(session);
            }
        }
        let tried = match tried.is_empty() {
            true => "there was no key to try".to_owned(),
            false => format!("tried {}", tried.join(", ")),
        };
        Err(ConnectError::Refused(format!(
            "`{}` does not let `{}` in: {tried}",
            host.name, host.user
        )))
    }

    /// How commands become root's. `sudo` is asked whether it wants a password, because one that nobody reads would
    /// reach the agent.
    async fn sudo(
        &self,
        session: &Handle<HostKey>,
        host: &HostSpec,
        sudo: &Sudo,
    ) -> Result<Root, ConnectError> {
        let (status, said) = told(session, host, "sudo -k -n true", &[]).await?;
        if status == Some(0) {
            return Ok(Root {
                words: "sudo -n ",
                secret: None,
            });
        }
        match &sudo.password {
            Some(password) => Ok(Root {
                words: "sudo -k -S -p '' ",
                secret: Some(format!("{password}\n")),
            }),
            None => Err(ConnectError::Refused(format!(
                "`{}` cannot become root on `{}`: {said}; give the password by `--become-password-file`, or allow it \
                 by a rule with NOPASSWD",
                host.user, host.name
            ))),
        }
    }
}

/// Where the agent of a user who is not root lies; the shell there knows the home.
const USER_AGENT: &str = "$HOME/.cache/wright/wright-agent";

fn place(host: &HostSpec, access: &Access) -> (&'static str, String) {
    match host.user == "root" || access.sudo.is_some() {
        true => (AGENT_PATH, format!("{AGENT_PATH} attach")),
        false => (
            USER_AGENT,
            format!(
                "sh -c 'mkdir -p -m 0700 \"$HOME/.local/state/wright-agent\" && \
                 exec \"{USER_AGENT}\" attach --root \"$HOME/.local/state/wright-agent\"'"
            ),
        ),
    }
}

#[async_trait]
impl Transport for PerHost {
    async fn reach(&self, host: &HostSpec) -> Result<Box<dyn Reached>, ConnectError> {
        let access = self.access(host);
        if access.local {
            return Ok(Box::new(ThisMachine {
                local: self.local.clone(),
                sudo: access.sudo.clone(),
            }));
        }
        let session = self.session(host).await?;
        let sudo = match &access.sudo {
            Some(sudo) => Some(self.sudo(&session, host, sudo).await?),
            None => None,
        };
        let (agent_path, attach) = place(host, access);
        Ok(Box::new(LoggedIn {
            session: Arc::new(session),
            host: host.clone(),
            agent: Some(self.agent.clone()),
            agent_path: agent_path.to_owned(),
            attach,
            sudo,
        }))
    }

    fn agent_sha256(&self) -> Option<&str> {
        Some(&self.agent.sha256)
    }
}

struct ThisMachine {
    local: Local,
    sudo: Option<Sudo>,
}

#[async_trait]
impl Reached for ThisMachine {
    async fn attach(&self) -> Result<Box<dyn Stream>, ConnectError> {
        match &self.sudo {
            None => self.local.open(&[], None).await,
            Some(Sudo { password: None }) => self.local.open(&["sudo", "-n"], None).await,
            Some(Sudo { password }) => {
                let words = ["sudo", "-k", "-S", "-p", ""];
                self.local.open(&words, password.as_deref()).await
            }
        }
    }

    async fn install_agent(&self) -> Result<(), ConnectError> {
        Err(ConnectError::Refused(
            "the agent of this machine is not the one that was asked for, or does not start; \
             is `sudo` allowed without a password?"
                .to_owned(),
        ))
    }
}
