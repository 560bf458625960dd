//! What the service does, one file a resource: checks, rules, writes. Knows neither HTTP nor OVN: it writes the
//! database and wakes the worker that brings the virtual network in line.

pub mod agents;
pub mod attributes;
mod availability;
pub mod faults;
pub mod floating_ips;
pub mod networks;
mod port_addresses;
pub mod ports;
pub mod quotas;
pub mod router_legs;
pub mod routers;
pub mod security_groups;
pub mod security_rules;
pub mod subnets;
pub mod tags;

use std::sync::Arc;

use sea_orm::{DatabaseConnection, DatabaseTransaction, EntityTrait};
use service_kit::{ApiError, RequestContext};

use crate::config::Config;
use crate::driver::Driver;
use crate::store::TxError;
use crate::store::entity::network;
use attributes::Attributes;

/// The topic that wakes the worker.
pub const SYNC_TOPIC: &str = "network.sync";

/// The service's logic over its database.
pub struct App {
    pub db: DatabaseConnection,
    pub driver: Arc<dyn Driver>,
    pub config: Config,
    pub bus: Arc<dyn bus::Bus>,
}

/// Runs a body in a transaction, again when it lost a race; then wakes the worker.
macro_rules! write {
    ($app:expr, $tx:ident => $body:expr) => {{
        let written = service_kit::store::retry(|| async {
            let $tx = service_kit::store::begin(&$app.db).await?;
            let value = $body;
            $tx.commit().await?;
            Ok::<_, crate::store::TxError>(value)
        });
        let value = written.await.map_err(service_kit::ApiError::from)?;
        $app.wake();
        Ok(value)
    }};
}
pub(crate) use write;

impl App {
    /// Tells the worker that the database changed. Should the bus fail, the periodic comparison finds it too.
    pub fn wake(&self) {
        self.bus.wake(SYNC_TOPIC);
    }
}

/// A new id.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Whose the new resource is: the caller's, or whatever an administrator says.
fn owner(
    caller: &RequestContext,
    attributes: &Attributes,
    resource: &str,
) -> Result<String, ApiError> {
    let asked = attributes
        .text("project_id")?
        .or(attributes.text("tenant_id")?);
    match asked {
        Some(project) if project != caller.project_id && !privileged(caller) => {
            Err(faults::policy(&format!("create_{resource}:tenant_id")))
        }
        Some(project) => Ok(project),
        None => Ok(caller.project_id.clone()),
    }
}

/// Administrators and the cloud's own services may set what users may not.
pub fn privileged(caller: &RequestContext) -> bool {
    caller.allows(service_kit::Rule::Service)
}

/// Whether the caller sees what belongs to `project`.
pub fn owns(caller: &RequestContext, project: &str) -> bool {
    privileged(caller) || caller.owns(project)
}

/// Refuses attributes that only administrators may set.
fn admin_only(
    caller: &RequestContext,
    attributes: &Attributes,
    action: &str,
    names: &[&str],
) -> Result<(), ApiError> {
    match names
        .iter()
        .find(|name| attributes.has(name) && !privileged(caller))
    {
        Some(name) => Err(faults::policy(&format!("{action}:{name}"))),
        None => Ok(()),
    }
}

/// A network that the caller may use, with what is known of it.
async fn visible_network(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    id: &str,
) -> Result<network::Model, TxError> {
    let found = network::Entity::find_by_id(id).one(tx).await?;
    let visible = found
        .filter(|network| owns(caller, &network.project_id) || network.shared || network.external);
    Ok(visible.ok_or_else(|| faults::not_found("network", id))?)
}
