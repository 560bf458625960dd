//! The placement service: who offers how much of what, who holds which part of it, and who could take more.
//! Thin: flat providers, traits, aggregates, atomic claims. No nested or sharing providers.

pub mod api;
pub mod app;
pub mod store;

use std::sync::Arc;

use openstack_types::Microversion;
use serde::Deserialize;
use service_kit::{Api, Context, FaultStyle, Microversions, Service, StartError};

/// The service has nothing to set yet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

/// Versions that are spoken.
pub const MICROVERSIONS: Microversions = Microversions {
    service: "placement",
    legacy_header: None,
    min: Microversion::new(1, 0),
    max: Microversion::new(1, 39),
};

/// The HTTP side without its state, for tests of the route table.
pub fn api() -> Api<Arc<app::App>> {
    Api::new("placement", FaultStyle::Placement, api::routes()).microversions(MICROVERSIONS)
}

/// The rows of the HTTP side, for whatever tells or checks what the service can do.
pub fn table() -> service_kit::Table {
    api().table()
}

/// Starts the service.
pub async fn start(ctx: Context, _config: Config) -> Result<Service, StartError> {
    service_kit::store::migrate::<store::Migrator>(&ctx.db).await?;
    let app = Arc::new(app::App { db: ctx.db.clone() });
    Ok(Service {
        router: api()
            .governed_by(&ctx)?
            .into_router(app, ctx.tokens.clone(), &ctx.auth_url),
    })
}
