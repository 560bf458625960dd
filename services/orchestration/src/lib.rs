//! Orchestration (Heat): stacks from templates.
//!
//! `api/` is HTTP, `app/` accepts operations, `engine/` carries them out, `resources/` holds the resource
//! types, `store/` all SQL. The language is `crates/hot`. This service knows the others only through their APIs.
mod api;
mod app;
mod engine;
mod resources;
mod store;

use app::App;
use engine::Engine;
use serde::Deserialize;
use service_kit::{Context, Service, StartError, store as database, work};
use std::sync::Arc;
use store::{Migrator, Store};

/// The service's own sections of its configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub engine: EngineConfig,
}

/// `[engine]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Stacks that are worked on at the same time.
    pub parallel_stacks: usize,
    /// Most living stacks of one project.
    pub stacks_per_project: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            parallel_stacks: 16,
            stacks_per_project: 512,
        }
    }
}

/// The rows of the HTTP side, for whatever tells or checks what the service can do.
pub fn table() -> service_kit::Table {
    api::api().table()
}

/// Starts the API and the engine.
///
/// # Errors
/// When the database cannot be migrated.
pub async fn start(ctx: Context, config: Config) -> Result<Service, StartError> {
    database::migrate::<Migrator>(&ctx.db).await?;
    let store = Store::new(ctx.db.clone());
    let types = Arc::new(resources::registry());
    let queue = work::Queue::new(
        ctx.db.clone(),
        Arc::clone(&ctx.bus),
        "orchestration",
        "engine",
    );
    let engine = Arc::new(Engine {
        store: store.clone(),
        types: Arc::clone(&types),
        client: ctx.client.clone(),
        region: ctx.region.clone(),
    });
    let engine_id = uuid::Uuid::new_v4().to_string();
    let owner = format!("{}/{engine_id}", ctx.host);
    ctx.tasks.spawn(work::run(
        queue.clone(),
        owner,
        config.engine.parallel_stacks,
        ctx.shutdown.clone(),
        engine,
    ));
    let app = Arc::new(App {
        store,
        queue,
        types,
        client: ctx.client.clone(),
        region: ctx.region.clone(),
        host: ctx.host.clone(),
        engine_id,
        public_url: ctx.public_url.clone(),
        stacks_per_project: config.engine.stacks_per_project,
    });
    Ok(Service {
        router: api::api().governed_by(&ctx)?.into_router(
            app,
            Arc::clone(&ctx.tokens),
            &ctx.auth_url,
        ),
    })
}
