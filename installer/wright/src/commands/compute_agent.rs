//! `wright serve compute-agent`: the agent of a compute node. It has no database and no HTTP side: it asks the
//! compute service for work, with the credentials of its configuration file.
use super::serve::explain;
use crate::error::CommandError;
use compute::{AgentConfig, AgentContext, start_agent};
use diagnostics::{Diagnostics, ExitStatus, Source};
use serde::Deserialize;
use service_kit::config::{IdentityConfig, LogConfig, default_host, explain_toml};
use service_kit::{StartError, server, telemetry};
use std::path::Path;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// `/etc/wright/compute-agent.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// This node's FQDN: the API's `host`; default: the system's host name.
    #[serde(default = "default_host")]
    host: String,
    /// Region of the catalogue.
    region: String,
    /// The agent's user.
    identity: IdentityConfig,
    #[serde(default)]
    log: LogConfig,
    #[serde(default)]
    agent: AgentConfig,
}

pub async fn run(path: &Path) -> Result<ExitStatus, CommandError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::failed(format!("cannot read `{name}`: {error}")))?;
    let file: File = toml::from_str(&text)
        .map_err(|error| Diagnostics::from(explain_toml(&Source::new(&name, &text), &error)))?;
    serve(file).await.map_err(explain)?;
    Ok(ExitStatus::Done)
}

async fn serve(file: File) -> Result<(), StartError> {
    telemetry::init(&file.log).map_err(|source| StartError::Io {
        what: "cannot open the log file".to_owned(),
        source,
    })?;
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    server::stop_on_signal(shutdown.clone())?;
    let context = AgentContext {
        client: server::client(&file.region, &file.identity)?,
        host: file.host,
        shutdown: shutdown.clone(),
        tasks: tasks.clone(),
    };
    start_agent(context, file.agent).await?;
    server::tell_ready();
    shutdown.cancelled().await;
    server::drain(&tasks).await;
    Ok(())
}
