//! A router's legs in subnets.

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter,
};
use serde_json::{Value, json};
use service_kit::{ApiError, RequestContext};

use super::attributes::Attributes;
use super::ports::{FixedIp, FixedIps, NewPort, own_port};
use super::routers::own_router;
use super::{App, faults, owns, visible_network, write};
use crate::model::device_owner;
use crate::store::entity::{allocation, floating_ip, port, router, router_interface, subnet};
use crate::store::{self, TxError};

/// What the actions take.
pub const ACTION: [&str; 2] = ["subnet_id", "port_id"];

impl App {
    pub async fn router_add_interface(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let (subnet_id, port_id) = one_of(attributes)?;
        write!(self, tx => {
            let row = own_router(&tx, caller, id).await?;
            let (port, subnets) = match (&subnet_id, &port_id) {
                (Some(subnet_id), _) => self.leg_in_subnet(&tx, caller, &row, subnet_id).await?,
                (None, Some(port_id)) => leg_by_port(&tx, caller, &row, port_id).await?,
                (None, None) => return Err(bad("Either subnet_id or port_id must be specified").into()),
            };
            for subnet in &subnets {
                check_overlap(&tx, &row, subnet).await?;
                let leg = router_interface::Model { router_id: row.id.clone(), subnet_id: subnet.id.clone(), port_id: port.id.clone() };
                router_interface::Entity::insert(leg.into_active_model()).exec_without_returning(&tx).await?;
            }
            // The revision lets only one of two legs be made at once, so that they cannot overlap unseen.
            let row = store::save_router(&tx, row).await?;
            answer(&row, &port, &subnets.iter().map(|subnet| subnet.id.clone()).collect::<Vec<_>>())
        })
    }

    /// A new port with the subnet's gateway address.
    async fn leg_in_subnet(
        &self,
        tx: &DatabaseTransaction,
        caller: &RequestContext,
        row: &router::Model,
        id: &str,
    ) -> Result<(port::Model, Vec<subnet::Model>), TxError> {
        let found = subnet::Entity::find_by_id(id)
            .one(tx)
            .await?
            .ok_or_else(|| faults::not_found("subnet", id))?;
        let network = visible_network(tx, caller, &found.network_id)
            .await
            .map_err(|_| faults::not_found("subnet", id))?;
        if !owns(caller, &found.project_id) && !network.shared {
            return Err(faults::not_found("subnet", id).into());
        }
        let Some(gateway) = found.gateway_ip.as_deref().and_then(|ip| ip.parse().ok()) else {
            return Err(bad("Subnet for router interface must have a gateway IP").into());
        };
        if router_interface::Entity::find_by_id((row.id.clone(), id.to_owned()))
            .one(tx)
            .await?
            .is_some()
        {
            return Err(bad(&format!("Router already has a port on subnet {id}")).into());
        }
        let new = NewPort {
            project_id: row.project_id.clone(),
            device_id: row.id.clone(),
            device_owner: device_owner::ROUTER_INTERFACE.to_owned(),
            fixed_ips: FixedIps::Exactly(vec![FixedIp {
                subnet_id: Some(found.id.clone()),
                ip_address: Some(gateway),
            }]),
            ..NewPort::default()
        };
        self.check_quota(tx, &new.project_id, "port").await?;
        let port = self.port_insert(tx, &network, new).await?;
        Ok((port, vec![found]))
    }

    pub async fn router_remove_interface(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let (subnet_id, port_id) = (attributes.text("subnet_id")?, attributes.text("port_id")?);
        write!(self, tx => {
            let row = own_router(&tx, caller, id).await?;
            let mut query = router_interface::Entity::find().filter(router_interface::Column::RouterId.eq(id));
            let absent = match (&subnet_id, &port_id) {
                (None, None) => return Err(bad("Either subnet_id or port_id must be specified").into()),
                (Some(subnet), None) => ApiError::not_found("RouterInterfaceNotFoundForSubnet", format!("Router {id} has no interface on subnet {subnet}")),
                (_, Some(port)) => ApiError::not_found("RouterInterfaceNotFound", format!("Router {id} does not have an interface with id {port}")),
            };
            if let Some(subnet) = &subnet_id {
                query = query.filter(router_interface::Column::SubnetId.eq(subnet));
            }
            if let Some(port) = &port_id {
                query = query.filter(router_interface::Column::PortId.eq(port));
            }
            let Some(leg) = query.one(&tx).await? else { return Err(absent.into()) };
            let all = router_interface::Entity::find().filter(router_interface::Column::PortId.eq(&leg.port_id)).all(&tx).await?;
            let subnets: Vec<String> = all.iter().map(|leg| leg.subnet_id.clone()).collect();
            for subnet in &subnets {
                check_unused(&tx, &row, subnet).await?;
            }
            for leg in all {
                leg.delete(&tx).await?;
            }
            let row = store::save_router(&tx, row).await?;
            let port = port::Entity::find_by_id(&leg.port_id).one(&tx).await?.ok_or_else(|| faults::not_found("port", &leg.port_id))?;
            let view = answer(&row, &port, &subnets);
            self.remove_port(&tx, port).await?;
            view
        })
    }
}

/// A port that is there already, and free.
async fn leg_by_port(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    row: &router::Model,
    id: &str,
) -> Result<(port::Model, Vec<subnet::Model>), TxError> {
    let (mut port, _) = own_port(tx, caller, id).await?;
    if !port.device_id.is_empty() {
        let message = format!(
            "Unable to complete operation on port {id} for network {}. Port already has an attached device {}.",
            port.network_id, port.device_id
        );
        return Err(ApiError::conflict("PortInUse", message).into());
    }
    let held = allocation::Entity::find()
        .filter(allocation::Column::PortId.eq(id))
        .all(tx)
        .await?;
    let ids: Vec<String> = held.into_iter().map(|held| held.subnet_id).collect();
    let subnets = subnet::Entity::find()
        .filter(subnet::Column::Id.is_in(ids))
        .all(tx)
        .await?;
    if subnets.is_empty() {
        return Err(bad("Router port must have at least one fixed IP").into());
    }
    port.device_id = row.id.clone();
    port.device_owner = device_owner::ROUTER_INTERFACE.to_owned();
    port.port_security_enabled = false;
    let groups = crate::store::entity::port_security_group::Column::PortId.eq(id);
    crate::store::entity::port_security_group::Entity::delete_many()
        .filter(groups)
        .exec(tx)
        .await?;
    Ok((store::save_port(tx, port).await?, subnets))
}

async fn check_overlap(
    tx: &DatabaseTransaction,
    row: &router::Model,
    new: &subnet::Model,
) -> Result<(), TxError> {
    let legs = router_interface::Entity::find()
        .filter(router_interface::Column::RouterId.eq(&row.id))
        .all(tx)
        .await?;
    let ids: Vec<String> = legs.into_iter().map(|leg| leg.subnet_id).collect();
    for other in subnet::Entity::find()
        .filter(subnet::Column::Id.is_in(ids))
        .all(tx)
        .await?
    {
        let parse = |subnet: &subnet::Model| subnet.cidr.parse::<ipnetwork::IpNetwork>().ok();
        if let (Some(one), Some(two)) = (parse(&other), parse(new))
            && (one.contains(two.network()) || two.contains(one.network()))
        {
            return Err(bad(&format!(
                "Cidr {} of subnet {} overlaps with cidr {} of subnet {}",
                new.cidr, new.id, other.cidr, other.id
            ))
            .into());
        }
    }
    Ok(())
}

/// Refuses while a floating IP of this router leads into the subnet.
async fn check_unused(
    tx: &DatabaseTransaction,
    row: &router::Model,
    subnet: &str,
) -> Result<(), TxError> {
    for floating in floating_ip::Entity::find()
        .filter(floating_ip::Column::RouterId.eq(&row.id))
        .all(tx)
        .await?
    {
        let Some(fixed) = floating.fixed_ip_address else {
            continue;
        };
        let held = allocation::Entity::find_by_id((subnet.to_owned(), fixed))
            .one(tx)
            .await?;
        if held.is_some_and(|held| Some(held.port_id) == floating.port_id) {
            let message = format!(
                "Router interface for subnet {subnet} on router {} cannot be deleted, as it is required by one or more floating IPs.",
                row.id
            );
            return Err(ApiError::conflict("RouterInterfaceInUseByFloatingIP", message).into());
        }
    }
    Ok(())
}

fn one_of(attributes: &Attributes) -> Result<(Option<String>, Option<String>), ApiError> {
    match (attributes.text("subnet_id")?, attributes.text("port_id")?) {
        (Some(_), Some(_)) => Err(bad("Cannot specify both subnet-id and port-id")),
        (None, None) => Err(bad("Either subnet_id or port_id must be specified")),
        both => Ok(both),
    }
}

fn answer(row: &router::Model, port: &port::Model, subnets: &[String]) -> Value {
    json!({
        "id": row.id, "project_id": row.project_id, "tenant_id": row.project_id, "port_id": port.id,
        "network_id": port.network_id, "subnet_id": subnets.first(), "subnet_ids": subnets, "tags": [],
    })
}

fn bad(message: &str) -> ApiError {
    ApiError::bad_request("BadRequest", format!("Bad router request: {message}."))
}
