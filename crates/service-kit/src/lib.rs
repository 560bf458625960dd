//! What every service is built on: routes and policy, tokens, faults, store, configuration, stop.
//!
//! A service is `pub async fn start(ctx: Context, config: Config) -> Result<Service, StartError>`:
//!
//! ```ignore
//! fn routes() -> Vec<Route<Arc<App>>> {
//!     vec![Route::new(Method::GET, "/v2.0/networks", "get_networks", Rule::Reader, networks::list)]
//! }
//! pub async fn start(ctx: Context, config: Config) -> Result<Service, StartError> {
//!     store::migrate::<Migrator>(&ctx.db).await?;
//!     let app = Arc::new(App::new(&ctx, config));
//!     ctx.tasks.spawn(work::run(queue, ctx.shutdown.clone(), worker));
//!     let router = Api::new("network", FaultStyle::Neutron, routes())
//!         .governed_by(&ctx)?
//!         .into_router(app, ctx.tokens.clone(), &ctx.auth_url);
//!     Ok(Service { router })
//! }
//! ```
//!
//! The kit knows no service by name.

mod access_rules;
pub mod config;
pub mod context;
pub mod fault;
pub mod openapi;
pub mod page;
pub mod policy;
pub mod request;
pub mod routes;
pub mod server;
pub mod store;
pub mod table;
pub mod telemetry;
pub mod testing;
pub mod tls;
pub mod tokens;
pub mod version;
pub mod work;

pub use config::{Secret, ServiceConfig};
pub use context::{Context, Service, StartError};
pub use fault::{ApiError, FaultStyle};
pub use page::Page;
pub use policy::Rule;
pub use request::{Json, Path, Query, RequestContext};
pub use routes::{Api, CallerGone, Route};
pub use table::Table;
pub use tokens::{IdentityTokens, TokenError, TokenValidator};
pub use version::Microversions;
