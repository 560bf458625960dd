//! The bundled services: names, ports, and how each is started with what lies below the cloud.

use super::below::Below;
use compute::AgentContext;
use service_kit::{Context, Service, StartError};

/// One bundled service: its name here, in the catalogue, and to operators.
pub(super) struct Bundled {
    /// Also its type in the catalogue.
    pub service: &'static str,
    /// Upstream's name, and its user in identity.
    pub name: &'static str,
    /// As in docs/ports.md.
    pub port: u16,
    /// What the catalogue adds to `http://HOST:PORT`.
    path: &'static str,
}

/// One line per service, in the order in which they start; [`start`] has the other one.
pub(super) const SERVICES: [Bundled; 6] = [
    Bundled {
        service: "identity",
        name: "keystone",
        port: 5000,
        path: "/v3",
    },
    Bundled {
        service: "image",
        name: "glance",
        port: 9292,
        path: "",
    },
    Bundled {
        service: "placement",
        name: "placement",
        port: 8778,
        path: "",
    },
    Bundled {
        service: "network",
        name: "neutron",
        port: 9696,
        path: "",
    },
    Bundled {
        service: "compute",
        name: "nova",
        port: 8774,
        path: "/v2.1",
    },
    Bundled {
        service: "orchestration",
        name: "heat",
        port: 8004,
        path: "/v1/%(project_id)s",
    },
];

impl Bundled {
    pub fn url(&self, offset: u16) -> String {
        format!("http://127.0.0.1:{}{}", self.port + offset, self.path)
    }
}

/// The other line per service.
pub(super) async fn start(
    ctx: Context,
    below: &Below,
    bootstrap: identity::Bootstrap,
) -> Result<Service, StartError> {
    match ctx.service {
        "identity" => identity::start(ctx, identity::Config::new(bootstrap)).await,
        "image" => image::start(ctx, image::Config::default()).await,
        "placement" => placement::start(ctx, placement::Config::default()).await,
        "network" => {
            let mut own = network::Config {
                simulate: matches!(below, Below::Simulated),
                ..network::Config::default()
            };
            if let Some((northbound, southbound)) = below.databases() {
                own.ovn.northbound = northbound;
                own.ovn.southbound = southbound;
            }
            network::start(ctx, own).await
        }
        "compute" => {
            let simulated = matches!(below, Below::Simulated);
            let own = compute::Config {
                simulate: simulated.then(Default::default),
                ..compute::Config::default()
            };
            if let Some(agent) = below.agent(&ctx.data_dir) {
                // This machine is the compute node, too; the agent waits until the API answers.
                let around = AgentContext {
                    host: ctx.host.clone(),
                    client: ctx.client.clone(),
                    shutdown: ctx.shutdown.clone(),
                    tasks: ctx.tasks.clone(),
                };
                compute::start_agent(around, agent).await?;
            }
            compute::start(ctx, own).await
        }
        "orchestration" => orchestration::start(ctx, orchestration::Config::default()).await,
        other => Err(StartError::Config(format!(
            "`{other}` is no bundled service"
        ))),
    }
}
