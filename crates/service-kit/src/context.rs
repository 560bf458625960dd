//! What a service's `start` gets and gives back.
//!
//! Does not know whether the service runs alone or with all others in one process.

use crate::{store::StoreError, tokens::TokenValidator};
use axum::Router;
use sea_orm::DatabaseConnection;
use std::{path::PathBuf, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A service's surroundings. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Name of the service: `identity`, `network`, ...
    pub service: &'static str,
    /// `RegionOne`.
    pub region: String,
    /// This host's FQDN: the API's `host`.
    pub host: String,
    /// The URL under which users reach this service, without a path: `http://127.0.0.1:9696`.
    pub public_url: String,
    /// Identity's URL with `/v3`.
    pub auth_url: String,
    /// The service's own database, connected; the service migrates it at start.
    pub db: DatabaseConnection,
    /// Wake-ups inside the service.
    pub bus: Arc<dyn bus::Bus>,
    /// Calls to other services with the service's own credentials.
    pub client: openstack_client::Client,
    /// Validates callers' tokens.
    pub tokens: Arc<dyn TokenValidator>,
    /// A folder of the service's own: images, keys, caches.
    pub data_dir: PathBuf,
    /// An operator's rules of who may call what; without it those of the code hold.
    pub policy_file: Option<PathBuf>,
    /// Cancelled when the service shall stop.
    pub shutdown: CancellationToken,
    /// Background workers are spawned here; a stop waits for them.
    pub tasks: TaskTracker,
}

/// A started service.
pub struct Service {
    /// Its HTTP side, to be served or called in process.
    pub router: Router,
}

/// A service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its configuration is wrong.
    #[error("configuration: {0}")]
    Config(String),
    /// Its policy file is wrong.
    #[error("{0}")]
    Policy(diagnostics::Diagnostics),
    /// Its database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another service that it needs.
    #[error("cannot call another service: {0}")]
    Client(#[from] openstack_client::ClientError),
    /// Its bus.
    #[error(transparent)]
    Bus(#[from] bus::BusError),
    /// A file or socket.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path or address.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl From<sea_orm::DbErr> for StartError {
    fn from(error: sea_orm::DbErr) -> Self {
        StartError::Store(StoreError::Database(error))
    }
}
