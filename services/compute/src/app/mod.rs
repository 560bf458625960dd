//! The service's logic, one file a subject. Knows no HTTP: the API's files decode, call this, and encode.

pub mod agents;
pub mod claims;
pub mod conductor;
pub mod create;
pub mod inventory;
pub mod ports;
pub mod scheduler;
pub mod servers;

use std::sync::Arc;

use openstack_client::Client;
use sea_orm::DatabaseConnection;
use service_kit::Context;
use service_kit::work::Queue;

use crate::config::Config;
use crate::hypervisor::Step;

/// What every part of the service works with.
pub struct App {
    /// The database.
    pub db: DatabaseConnection,
    /// Wake-ups.
    pub bus: Arc<dyn bus::Bus>,
    /// Calls to other services as ourselves.
    pub client: Client,
    /// This controller.
    pub host: String,
    /// For links.
    pub public_url: String,
    /// Settings.
    pub config: Config,
    /// Stops waiting requests when the service stops.
    pub shutdown: tokio_util::sync::CancellationToken,
}

impl App {
    /// The service's state from its surroundings.
    pub fn new(ctx: &Context, config: Config) -> Arc<Self> {
        Arc::new(App {
            db: ctx.db.clone(),
            bus: ctx.bus.clone(),
            client: ctx.client.clone(),
            host: ctx.host.clone(),
            public_url: ctx.public_url.clone(),
            config,
            shutdown: ctx.shutdown.clone(),
        })
    }

    /// Work of the conductor: scheduling, ports, cleaning up.
    pub fn conductor(&self) -> Queue {
        Queue::new(
            self.db.clone(),
            self.bus.clone(),
            "compute",
            conductor::QUEUE,
        )
    }

    /// Work of one host's agent.
    pub fn agent(&self, host: &str) -> Queue {
        Queue::new(
            self.db.clone(),
            self.bus.clone(),
            "compute",
            &agent_queue(host),
        )
    }
}

/// The name of a host's queue.
pub fn agent_queue(host: &str) -> String {
    format!("agent.{host}")
}

/// Why a step of building or deleting a server did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StepError {
    /// Trying again later may help.
    #[error("{step}: {message}")]
    Later {
        /// Where.
        step: Step,
        /// Why.
        message: String,
    },
    /// It will not.
    #[error("{step}: {message}")]
    Never {
        /// Where.
        step: Step,
        /// Why.
        message: String,
    },
}

impl StepError {
    /// An answer of another service, seen from a step.
    pub fn client(step: Step, what: &str, error: &openstack_client::ClientError) -> Self {
        let message = format!("{what}: {}", error.message());
        // Our own token may just be renewed, the catalogue may just be written: worth another try.
        let later = error.is_transient()
            || matches!(error, openstack_client::ClientError::NoEndpoint { .. })
            || error.status().is_some_and(|status| {
                status.is_server_error() || status == http::StatusCode::UNAUTHORIZED
            });
        if later {
            StepError::Later { step, message }
        } else {
            StepError::Never { step, message }
        }
    }

    /// Where.
    pub fn step(&self) -> Step {
        match self {
            StepError::Later { step, .. } | StepError::Never { step, .. } => *step,
        }
    }

    /// Why.
    pub fn message(&self) -> &str {
        match self {
            StepError::Later { message, .. } | StepError::Never { message, .. } => message,
        }
    }
}

impl From<crate::store::StoreError> for StepError {
    fn from(error: crate::store::StoreError) -> Self {
        StepError::Later {
            step: Step::Scheduler,
            message: error.to_string(),
        }
    }
}
