//! The guard of a Galera cluster: one on each controller decides when and how the local MariaDB starts, so that the
//! cluster comes back by itself after any crash and after a loss of all power, and never from a stale node.
//!
//! | part | job |
//! |---|---|
//! | [`core`] | what is decided: data of a node, decision, promises between guards; pure |
//! | [`run`] | the loops that look, decide and act |
//! | [`local`], [`sql`], [`status`] | what is found on this node |
//! | [`units`] | starting and stopping the server: systemd, or a process for tests |
//! | [`http`], [`peers`], [`state`] | `/healthz`, and what guards and operators say to each other |
//!
//! It knows no database that lies in the server, no role that installs it, and nothing of OpenStack.

pub mod config;
pub mod core;
pub mod http;
pub mod local;
pub mod peers;
pub mod run;
pub mod sql;
pub mod state;
pub mod status;
pub mod units;

pub use config::Config;

use crate::peers::Peers;
use crate::run::Shared;
use crate::units::{ProcessUnits, SystemdUnits, Units};
use service_kit::config::TlsConfig;
use service_kit::tls::{Identity, TlsListener};
use service_kit::{StartError, server, telemetry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs the guard until SIGINT or SIGTERM. The server runs on: systemd ends it when the machine stops.
pub async fn serve(config: Config) -> Result<(), StartError> {
    telemetry::init(&config.log).map_err(|source| StartError::Io {
        what: "cannot open the log file".to_owned(),
        source,
    })?;
    telemetry::install_metrics();
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    server::stop_on_signal(shutdown.clone())?;
    let config = Arc::new(config);
    let units: Arc<dyn Units> = match &config.process {
        None => Arc::new(SystemdUnits::new(&config.unit)),
        Some(process) => Arc::new(ProcessUnits::new(process.clone())),
    };
    let peers = Peers::new(&config).map_err(StartError::Config)?;
    let shared = Arc::new(Shared::new(Arc::clone(&config)));
    let identity = config.tls.as_ref().map(|tls| {
        Identity::read(&TlsConfig {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        })
    });
    let identity = identity.transpose()?;
    let listener = server::bind(config.listen).await?;
    tracing::info!(name = config.name, listen = %config.listen, nodes = config.nodes.len(), "guards the database");
    for name in config.nodes.keys().filter(|name| **name != config.name) {
        tasks.spawn(run::ask(
            Arc::clone(&shared),
            peers.clone(),
            name.clone(),
            shutdown.clone(),
        ));
    }
    tasks.spawn(run::work(
        Arc::clone(&shared),
        units,
        peers,
        shutdown.clone(),
        || {
            tracing::info!("the server is Synced: ready");
            server::tell_ready();
        },
    ));
    let router = http::router(shared);
    let result = match identity {
        None => server::serve(listener, router, shutdown.clone()).await,
        Some(identity) => match TlsListener::new(listener, identity) {
            Ok(listener) => server::serve(listener, router, shutdown.clone()).await,
            Err(error) => Err(error),
        },
    };
    shutdown.cancel();
    server::drain(&tasks).await;
    result.map_err(|source| StartError::Io {
        what: "serving".to_owned(),
        source,
    })
}
