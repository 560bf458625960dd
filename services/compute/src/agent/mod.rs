//! The agent on a compute node: takes work from the compute service over HTTP and does it with a hypervisor.
//! It keeps nothing of its own but the guests: what it was doing when it died, it is given again.

pub mod images;
pub mod metadata;
pub mod metadata_tree;
pub mod protocol;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use openstack_client::{Client, ClientError};
use service_kit::StartError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use self::images::ImageService;
use self::protocol::{ClaimAnswer, ClaimRequest, ExpectedGuests, Guests, GuestsAnswer, Heartbeat};
use self::worker::Worker;
use crate::config::{AgentConfig, DriverKind};
use crate::hypervisor::domain_xml::Wiring;
use crate::hypervisor::libvirt::{LibvirtDriver, LibvirtSettings};
use crate::hypervisor::simulated::SimulatedDriver;
use crate::hypervisor::{Hypervisor, HypervisorError, PowerAction, PowerState};

/// How often the agent says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often guests are compared with what the service knows.
const SYNC: Duration = Duration::from_secs(30);
/// How long one request for work waits at the service.
const WAIT: u64 = 20;

/// What the agent needs from its surroundings: no database.
#[derive(Clone)]
pub struct AgentContext {
    /// This node's FQDN.
    pub host: String,
    /// Calls as a user with the role `service`.
    pub client: Client,
    /// Cancelled when the agent shall stop.
    pub shutdown: CancellationToken,
    /// The agent's loops are spawned here.
    pub tasks: TaskTracker,
}

/// The driver that the configuration names.
pub fn driver(config: &AgentConfig) -> Arc<dyn Hypervisor> {
    match config.driver {
        DriverKind::Simulated => Arc::new(SimulatedDriver::new(config.simulated.clone())),
        DriverKind::Libvirt => Arc::new(LibvirtDriver::new(LibvirtSettings {
            uri: config.libvirt_uri.clone(),
            instances: config.instances.clone(),
            virt_type: config.virt_type.fixed(),
            machine: config.machine.clone(),
            cpu: config.cpu.clone(),
            vnc_listen: config.vnc_listen.clone(),
            wiring: Wiring::OpenVSwitch {
                bridge: config.integration_bridge.clone(),
                offload: config.offload,
            },
            shutdown_timeout: Duration::from_secs(config.shutdown_timeout),
            call_timeout: Duration::from_secs(120),
        })),
    }
}

/// Starts the agent's loops on `ctx.tasks`; returns at once. The service, libvirt or both may be away: the agent waits.
pub async fn start_agent(ctx: AgentContext, config: AgentConfig) -> Result<(), StartError> {
    let driver = driver(&config);
    start_agent_with(ctx, config, driver).await
}

/// The same with a driver that the caller made: for tests.
pub async fn start_agent_with(
    ctx: AgentContext,
    config: AgentConfig,
    driver: Arc<dyn Hypervisor>,
) -> Result<(), StartError> {
    if ctx.host.is_empty() || ctx.host.contains(['/', '?', '#', ' ']) {
        return Err(StartError::Config(format!(
            "`{}` is not a host name",
            ctx.host
        )));
    }
    let agent = Arc::new(Agent {
        path: format!("/internal/agents/{}", ctx.host),
        client: ctx.client.clone(),
        host: ctx.host.clone(),
        driver,
        config,
    });
    ctx.tasks
        .spawn(beat(Arc::clone(&agent), ctx.shutdown.clone()));
    let resumed = CancellationToken::new();
    ctx.tasks.spawn(sync(
        Arc::clone(&agent),
        resumed.clone(),
        ctx.shutdown.clone(),
    ));
    if agent.config.metadata && agent.config.driver == DriverKind::Libvirt {
        ctx.tasks
            .spawn(metadata::run(Arc::clone(&agent), ctx.shutdown.clone()));
    }
    ctx.tasks.spawn(async move {
        // Or a guest might be started that somebody has just asked to stop.
        resumed.cancelled().await;
        work(agent, ctx.shutdown).await;
    });
    Ok(())
}

/// Shuts down all guests of this host, as before it is turned off. The agent must have ended: the service shall not
/// take it for the guests' own doing. Gives how many ran.
pub async fn shut_down_guests(config: &AgentConfig) -> Result<usize, HypervisorError> {
    let driver = driver(config);
    let guests = driver.list().await?.into_iter();
    let running: Vec<Uuid> = guests
        .filter(|guest| guest.power_state != PowerState::Shutdown)
        .map(|guest| guest.id)
        .collect();
    // At once: each may take the whole time that it is given.
    let ends = running.iter().map(|id| driver.shut_down(*id));
    for end in futures::future::join_all(ends).await {
        end?;
    }
    Ok(running.len())
}

/// What the loops share.
pub struct Agent {
    path: String,
    client: Client,
    host: String,
    driver: Arc<dyn Hypervisor>,
    config: AgentConfig,
}

impl Agent {
    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        self.client
            .request(
                http::Method::POST,
                "compute",
                &format!("{}/{what}", self.path),
            )
            .json(body)
            .fetch()
            .await
    }
}

async fn beat(agent: Arc<Agent>, shutdown: CancellationToken) {
    let mut pause = Duration::from_millis(200);
    while !shutdown.is_cancelled() {
        let result: Result<(), String> = async {
            let capacity = agent
                .driver
                .capacity()
                .await
                .map_err(|error| error.to_string())?;
            let beat = Heartbeat {
                address: agent.config.address.clone(),
                capacity,
            };
            agent
                .post::<serde_json::Value>("heartbeat", &beat)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        }
        .await;
        // A failed heartbeat is tried again soon, and then less and less often.
        pause = match result {
            Ok(()) => HEARTBEAT,
            Err(error) => {
                tracing::warn!(host = %agent.host, %error, "no heartbeat");
                if pause >= HEARTBEAT {
                    Duration::from_secs(1)
                } else {
                    (pause * 2).min(HEARTBEAT / 2)
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn sync(agent: Arc<Agent>, resumed: CancellationToken, shutdown: CancellationToken) {
    let mut pause = Duration::from_millis(200);
    while agent.config.resume_guests && !shutdown.is_cancelled() {
        match resume(&agent).await {
            Ok(()) => break,
            Err(error) => tracing::warn!(host = %agent.host, error, "guests cannot be resumed yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
        pause = (pause * 2).min(HEARTBEAT);
    }
    resumed.cancel();
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(SYNC) => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = sync_once(&agent).await {
            tracing::warn!(host = %agent.host, error, "guests could not be compared");
        }
    }
}

/// Starts guests that the service believes to run, and that do not: those that the host took down with it.
async fn resume(agent: &Agent) -> Result<(), String> {
    let answer: ExpectedGuests = agent
        .client
        .request(
            http::Method::GET,
            "compute",
            &format!("{}/guests", agent.path),
        )
        .fetch()
        .await
        .map_err(|error| error.to_string())?;
    for spec in answer.running {
        let state = agent.driver.power_state(spec.id).await;
        if !matches!(
            state.map_err(|error| error.to_string())?,
            Some(PowerState::Shutdown | PowerState::Crashed)
        ) {
            continue;
        }
        match agent.driver.power(&spec, PowerAction::Start).await {
            Ok(_) => tracing::info!(server = %spec.id, "resumed"),
            Err(error) if error.transient => return Err(error.to_string()),
            // The comparison that follows tells the service.
            Err(error) => tracing::error!(server = %spec.id, %error, "cannot be resumed"),
        }
    }
    Ok(())
}

/// Tells the service which guests run here, and destroys those that were deleted while this host was away.
async fn sync_once(agent: &Agent) -> Result<(), String> {
    let guests = agent
        .driver
        .list()
        .await
        .map_err(|error| error.to_string())?;
    // A simulated host forgets its guests with its process; the service must not take that for their end.
    if agent.config.driver == DriverKind::Simulated && guests.is_empty() {
        return Ok(());
    }
    let answer: GuestsAnswer = agent
        .post("guests", &Guests { guests })
        .await
        .map_err(|error| error.to_string())?;
    for id in answer.destroy {
        tracing::info!(server = %id, "destroying the guest of a server that was deleted");
        agent
            .driver
            .destroy(id)
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn work(agent: Arc<Agent>, shutdown: CancellationToken) {
    let images = Arc::new(ImageService {
        client: agent.client.clone(),
    });
    let worker = Arc::new(Worker {
        agent: Arc::clone(&agent),
        images,
    });
    let mut running = tokio::task::JoinSet::new();
    let limit = agent.config.workers.max(1);
    let mut pause = Duration::from_millis(100);
    while !shutdown.is_cancelled() {
        while running.try_join_next().is_some() {}
        if running.len() >= limit {
            let _ = running.join_next().await;
            continue;
        }
        let request = ClaimRequest {
            limit: limit - running.len(),
            wait: WAIT,
        };
        let claim = agent.post::<ClaimAnswer>("claim", &request);
        let answer = tokio::select! {
            answer = claim => answer,
            () = shutdown.cancelled() => break,
        };
        match answer {
            Ok(answer) => {
                pause = Duration::from_millis(100);
                for operation in answer.operations {
                    let worker = Arc::clone(&worker);
                    running.spawn(async move { worker.run(operation).await });
                }
            }
            Err(error) => {
                tracing::warn!(host = %agent.host, %error, "cannot ask for work");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    }
    // What was begun is finished: a guest half built would only be built again.
    while running.join_next().await.is_some() {}
}
