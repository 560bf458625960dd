//! The network service: Neutron's API v2.0 over OVN.
//!
//! ```text
//!  api/ ──► app/ ──► store/ (database: what is wanted)
//!                      │ woken by the bus, by the driver, by the clock
//!                   worker ──► driver: OVN's northbound database, or simulated
//! ```
//!
//! What the API accepts is a committed row; the worker brings OVN in line with all rows, whatever was lost on the way.

pub mod addressing;
mod api;
mod app;
pub mod config;
mod driver;
pub mod model;
pub mod ovn;
pub mod store;
mod views;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use http::Uri;
use service_kit::{Context, Service, StartError};
use tower::ServiceExt;

pub use config::Config;

use app::App;
use driver::{Driver, SimulatedDriver};
use ovn::OvnDriver;
use store::Migrator;
use worker::Worker;

/// Starts the service: schema, driver, worker, API.
pub async fn start(ctx: Context, config: Config) -> Result<Service, StartError> {
    let faults = config.check();
    if !faults.is_empty() {
        return Err(StartError::Config(faults.join("; ")));
    }
    service_kit::store::migrate::<Migrator>(&ctx.db).await?;
    let driver = open_driver(&ctx, &config)?;
    let worker = Worker {
        db: ctx.db.clone(),
        driver: driver.clone(),
        bus: ctx.bus.clone(),
        resync: Duration::from_secs(config.network.resync_seconds.max(1)),
        tasks: ctx.tasks.clone(),
    };
    ctx.tasks.spawn(worker.run(ctx.shutdown.clone()));
    let app = Arc::new(App {
        db: ctx.db.clone(),
        driver,
        config,
        bus: ctx.bus.clone(),
    });
    let router = api::api()
        .governed_by(&ctx)?
        .into_router(app, ctx.tokens.clone(), &ctx.auth_url);
    Ok(Service {
        router: without_json_suffix(router),
    })
}

fn open_driver(ctx: &Context, config: &Config) -> Result<Arc<dyn Driver>, StartError> {
    if config.simulate {
        return Ok(Arc::new(SimulatedDriver::default()));
    }
    let ovn = OvnDriver::open(
        &config.ovn,
        config.network.dns_servers.clone(),
        config.network.dns_domain.clone(),
        &ctx.tasks,
        ctx.shutdown.clone(),
    );
    Ok(Arc::new(
        ovn.map_err(|error| StartError::Config(error.to_string()))?,
    ))
}

/// The rows of the HTTP side, for whatever tells or checks what the service can do.
pub fn table() -> service_kit::Table {
    api::api().table()
}

/// Method, path, operation and rule of each route, for tests and documentation.
pub fn routes() -> Vec<(http::Method, &'static str, &'static str, service_kit::Rule)> {
    api::api()
        .rows()
        .map(|(method, path, operation, rule)| (method.clone(), path, operation, rule))
        .collect()
}

/// `/v2.0/networks.json` means `/v2.0/networks`: Neutron's old client writes it so. The API's description is named so.
fn without_json_suffix(inner: Router) -> Router {
    let entry = move |mut request: Request| {
        let path = request.uri().path();
        let wrong = path != service_kit::openapi::PATH;
        let shorter =
            path.strip_suffix(".json")
                .filter(|_| wrong)
                .map(|path| match request.uri().query() {
                    Some(query) => format!("{path}?{query}"),
                    None => path.to_owned(),
                });
        if let Some(uri) = shorter.and_then(|text| text.parse::<Uri>().ok()) {
            *request.uri_mut() = uri;
        }
        inner.clone().oneshot(request)
    };
    Router::new().fallback(entry)
}
