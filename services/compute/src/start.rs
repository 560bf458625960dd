//! Starting the service on a controller: schema, conductor, heartbeats, router.

use std::sync::Arc;
use std::time::Duration;

use service_kit::{Api, Context, FaultStyle, Service, StartError, work};

use crate::agent::{AgentContext, start_agent};
use crate::api::{MICROVERSIONS, routes};
use crate::app::App;
use crate::app::conductor::Conductor;
use crate::config::{AgentConfig, Config, DriverKind};
use crate::store::flavors::{self, Flavor};
use crate::store::{StoreError, hosts, migrations::Migrator};

/// How often a controller says that its parts live.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The parts of a controller by upstream's names.
const PARTS: [&str; 3] = ["nova-conductor", "nova-scheduler", "nova-consoleauth"];

/// The HTTP side without its state, for tests of the route table.
pub fn api() -> Api<Arc<App>> {
    Api::new("compute", FaultStyle::Nova, routes::routes()).microversions(MICROVERSIONS)
}

/// The rows of the HTTP side, for whatever tells or checks what the service can do.
pub fn table() -> service_kit::Table {
    api().table()
}

/// Starts the service, and with `simulate` a compute node beside it.
pub async fn start(ctx: Context, config: Config) -> Result<Service, StartError> {
    service_kit::store::migrate::<Migrator>(&ctx.db).await?;
    let app = App::new(&ctx, config);
    let failed =
        |error: StoreError| StartError::Config(format!("cannot prepare the database: {error}"));
    first_flavors(&app).await.map_err(failed)?;
    beat(&app).await;
    let beating = Arc::clone(&app);
    let shutdown = ctx.shutdown.clone();
    ctx.tasks.spawn(async move {
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(HEARTBEAT) => beat(&beating).await,
                () = shutdown.cancelled() => {}
            }
        }
    });
    let owner = format!("{}/{}", ctx.host, std::process::id());
    let conductor = Arc::new(Conductor(Arc::clone(&app)));
    ctx.tasks.spawn(work::run(
        app.conductor(),
        owner,
        app.config.conductor_workers.max(1),
        ctx.shutdown.clone(),
        conductor,
    ));
    if let Some(simulated) = app.config.simulate.clone() {
        let agent = AgentConfig {
            driver: DriverKind::Simulated,
            simulated,
            metadata: false,
            vif_plugging_timeout: 0,
            workers: 32,
            ..AgentConfig::default()
        };
        let context = AgentContext {
            host: ctx.host.clone(),
            client: ctx.client.clone(),
            shutdown: ctx.shutdown.clone(),
            tasks: ctx.tasks.clone(),
        };
        start_agent(context, agent).await?;
    }
    Ok(Service {
        router: api()
            .governed_by(&ctx)?
            .into_router(app, ctx.tokens.clone(), &ctx.auth_url),
    })
}

async fn beat(app: &App) {
    for part in PARTS {
        if let Err(error) = hosts::heartbeat(&app.db, &app.host, part).await {
            tracing::warn!(part, %error, "cannot write a heartbeat");
        }
    }
}

async fn first_flavors(app: &App) -> Result<(), StoreError> {
    if !flavors::flavors(&app.db).await?.is_empty() {
        return Ok(());
    }
    for wanted in &app.config.flavors {
        let flavor = Flavor {
            id: wanted.id.clone(),
            name: wanted.name.clone(),
            ram: wanted.ram,
            vcpus: wanted.vcpus,
            disk: wanted.disk,
            ephemeral: 0,
            swap: 0,
            rxtx_factor: 1.0,
            is_public: true,
            description: None,
            extra_specs: Default::default(),
            projects: Default::default(),
        };
        match flavors::insert_flavor(&app.db, &flavor).await {
            // Another controller was quicker.
            Err(StoreError::Database(error)) if service_kit::store::is_duplicate(&error) => {}
            other => other?,
        }
    }
    Ok(())
}
