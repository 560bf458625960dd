//! Routers and their gateways; their legs in subnets are in `router_legs`.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter,
    QueryOrder,
};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{ApiError, RequestContext};

use super::attributes::Attributes;
use super::ports::{FixedIp, FixedIps, NewPort};
use super::subnets::host_routes;
use super::{App, faults, new_id, owner, owns, privileged, visible_network, write};
use crate::model::device_owner;
use crate::store::entity::{floating_ip, port, router, router_interface};
use crate::store::{self, TxError, now};
use crate::views::{self, Gateway};

/// Attributes of the request to create one.
pub const CREATE: [&str; 9] = [
    "name",
    "description",
    "project_id",
    "tenant_id",
    "admin_state_up",
    "external_gateway_info",
    "distributed",
    "ha",
    "availability_zone_hints",
];
/// Attributes of the request to change one.
pub const UPDATE: [&str; 7] = [
    "name",
    "description",
    "admin_state_up",
    "external_gateway_info",
    "routes",
    "distributed",
    "ha",
];
const MAX_ROUTES: usize = 30;

/// `external_gateway_info`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayInfo {
    network_id: String,
    #[serde(default)]
    enable_snat: Option<bool>,
    #[serde(default)]
    external_fixed_ips: Vec<FixedIp>,
    #[serde(default, rename = "qos_policy_id")]
    _qos_policy_id: Option<String>,
}

impl App {
    pub async fn router_list(&self, caller: &RequestContext) -> Result<Vec<Value>, ApiError> {
        let mut query = router::Entity::find()
            .order_by_asc(router::Column::CreatedAt)
            .order_by_asc(router::Column::Id);
        if !privileged(caller) {
            query = query.filter(router::Column::ProjectId.eq(&caller.project_id));
        }
        self.router_views(query.all(&self.db).await?).await
    }

    pub async fn router_show(&self, caller: &RequestContext, id: &str) -> Result<Value, ApiError> {
        let found = router::Entity::find_by_id(id).one(&self.db).await?;
        let row = found
            .filter(|row| owns(caller, &row.project_id))
            .ok_or_else(|| faults::not_found("router", id))?;
        Ok(self.router_views(vec![row]).await?.remove(0))
    }

    async fn router_views(&self, rows: Vec<router::Model>) -> Result<Vec<Value>, ApiError> {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let tags = store::tags(&self.db, &ids).await?;
        let ports: Vec<String> = rows
            .iter()
            .filter_map(|row| row.gateway_port_id.clone())
            .collect();
        let mut addresses = store::allocations(&self.db, &ports).await?;
        let mut gateways = BTreeMap::new();
        for port in port::Entity::find()
            .filter(port::Column::DeviceOwner.eq(device_owner::ROUTER_GATEWAY))
            .all(&self.db)
            .await?
        {
            let addresses = addresses.remove(&port.id).unwrap_or_default();
            gateways.insert(
                port.id,
                Gateway {
                    network_id: port.network_id,
                    addresses,
                },
            );
        }
        let gateway =
            |row: &router::Model| row.gateway_port_id.as_ref().and_then(|id| gateways.get(id));
        Ok(rows
            .iter()
            .map(|row| {
                views::router(
                    row,
                    gateway(row),
                    tags.get(&row.id).map_or(&[], Vec::as_slice),
                )
            })
            .collect())
    }

    pub async fn router_create(
        &self,
        caller: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let project = owner(caller, attributes, "router")?;
        check_kind(attributes)?;
        let time = now();
        let new = router::Model {
            id: new_id(),
            project_id: project,
            name: attributes.text("name")?.unwrap_or_default(),
            description: attributes.text("description")?.unwrap_or_default(),
            admin_state_up: attributes.flag("admin_state_up")?.unwrap_or(true),
            gateway_port_id: None,
            enable_snat: true,
            routes: Default::default(),
            revision: 1,
            created_at: time.clone(),
            updated_at: time,
        };
        let made: Result<(), ApiError> = write!(self, tx => {
            self.check_quota(&tx, &new.project_id, "router").await?;
            router::Entity::insert(new.clone().into_active_model()).exec_without_returning(&tx).await?;
            if gateway_info(attributes)?.is_some() {
                let row = self.set_gateway(&tx, caller, new.clone(), attributes).await?;
                store::save_router(&tx, row).await?;
            }
        });
        made?;
        self.router_show(caller, &new.id).await
    }

    pub async fn router_update(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        check_kind(attributes)?;
        let written: Result<(), ApiError> = write!(self, tx => {
            let mut row = own_router(&tx, caller, id).await?;
            row.name = attributes.text("name")?.unwrap_or(row.name);
            row.description = attributes.text("description")?.unwrap_or(row.description);
            row.admin_state_up = attributes.flag("admin_state_up")?.unwrap_or(row.admin_state_up);
            row.routes = host_routes(attributes, "routes", MAX_ROUTES)?.unwrap_or(row.routes);
            let before = row.gateway_port_id.clone();
            if attributes.has("external_gateway_info") {
                row = self.set_gateway(&tx, caller, row, attributes).await?;
            }
            let row = store::save_router(&tx, row).await?;
            if row.gateway_port_id != before {
                self.remove_gateway_port(&tx, before).await?;
            }
        });
        written?;
        self.router_show(caller, id).await
    }

    pub async fn router_delete(&self, caller: &RequestContext, id: &str) -> Result<(), ApiError> {
        write!(self, tx => {
            let row = own_router(&tx, caller, id).await?;
            let legs = router_interface::Entity::find().filter(router_interface::Column::RouterId.eq(id));
            if legs.one(&tx).await?.is_some() {
                return Err(ApiError::conflict("RouterInUse", format!("Router {id} still has ports")).into());
            }
            check_no_floating_ip(&tx, &row).await?;
            let gateway = row.gateway_port_id.clone();
            row.delete(&tx).await?;
            self.remove_gateway_port(&tx, gateway).await?;
        })
    }

    async fn remove_gateway_port(
        &self,
        tx: &DatabaseTransaction,
        id: Option<String>,
    ) -> Result<(), TxError> {
        let Some(id) = id else { return Ok(()) };
        match port::Entity::find_by_id(id).one(tx).await? {
            Some(port) => self.remove_port(tx, port).await,
            None => Ok(()),
        }
    }

    /// Gives the router the gateway that is asked for; the port of an earlier one is left for the caller to remove.
    async fn set_gateway(
        &self,
        tx: &DatabaseTransaction,
        caller: &RequestContext,
        mut row: router::Model,
        attributes: &Attributes,
    ) -> Result<router::Model, TxError> {
        let Some(info) = gateway_info(attributes)? else {
            check_no_floating_ip(tx, &row).await?;
            row.gateway_port_id = None;
            return Ok(row);
        };
        if info.enable_snat.is_some() || !info.external_fixed_ips.is_empty() {
            // As upstream's policy has it: users get what the network's owner offers.
            let named = if info.enable_snat.is_some() {
                "enable_snat"
            } else {
                "external_fixed_ips"
            };
            if !privileged(caller) {
                return Err(faults::policy(&format!(
                    "update_router:external_gateway_info:{named}"
                ))
                .into());
            }
        }
        let network = visible_network(tx, caller, &info.network_id).await?;
        if !network.external {
            let message = format!(
                "Bad router request: Network {} is not an external network.",
                network.id
            );
            return Err(ApiError::bad_request("BadRequest", message).into());
        }
        row.enable_snat = info.enable_snat.unwrap_or(true);
        if let Some(now) = row.gateway_port_id.as_ref() {
            let current = port::Entity::find_by_id(now).one(tx).await?;
            if let Some(current) = current.filter(|port| port.network_id == network.id) {
                if !info.external_fixed_ips.is_empty() {
                    self.reallocate(tx, &network, &current, info.external_fixed_ips)
                        .await?;
                }
                return Ok(row);
            }
            check_no_floating_ip(tx, &row).await?;
        }
        let fixed_ips = if info.external_fixed_ips.is_empty() {
            FixedIps::Automatic
        } else {
            FixedIps::Exactly(info.external_fixed_ips)
        };
        // As upstream, the gateway port belongs to nobody: users do not see the addresses of external networks.
        let new = NewPort {
            device_id: row.id.clone(),
            device_owner: device_owner::ROUTER_GATEWAY.to_owned(),
            fixed_ips,
            ..NewPort::default()
        };
        row.gateway_port_id = Some(self.port_insert(tx, &network, new).await?.id);
        Ok(row)
    }
}

/// A router that the caller may change.
pub async fn own_router(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    id: &str,
) -> Result<router::Model, TxError> {
    let found = router::Entity::find_by_id(id).one(tx).await?;
    Ok(found
        .filter(|row| owns(caller, &row.project_id))
        .ok_or_else(|| faults::not_found("router", id))?)
}

async fn check_no_floating_ip(
    tx: &DatabaseTransaction,
    row: &router::Model,
) -> Result<(), TxError> {
    let query = floating_ip::Entity::find().filter(floating_ip::Column::RouterId.eq(&row.id));
    match query.one(tx).await? {
        Some(floating) => {
            let message = format!(
                "Gateway cannot be updated for router {}, since a gateway to external network {} is required by one or more floating IPs.",
                row.id, floating.floating_network_id
            );
            Err(ApiError::conflict("RouterExternalGatewayInUseByFloatingIp", message).into())
        }
        None => Ok(()),
    }
}

/// All routers are alike here: distributed inside, one active gateway with others in reserve.
fn check_kind(attributes: &Attributes) -> Result<(), ApiError> {
    if attributes.flag("distributed")? == Some(true) {
        return Err(faults::invalid_input(
            "distributed routers of upstream's kind are not supported; traffic between subnets is distributed anyway",
        ));
    }
    Ok(())
}

/// `None` for null and for the empty object, which clear the gateway.
fn gateway_info(attributes: &Attributes) -> Result<Option<GatewayInfo>, ApiError> {
    match attributes.raw("external_gateway_info") {
        Some(Value::Object(map)) if map.is_empty() => Ok(None),
        _ => attributes.decode("external_gateway_info"),
    }
}
