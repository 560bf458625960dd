//! Floating IPs.

use std::collections::HashMap;
use std::net::IpAddr;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter,
    QueryOrder,
};
use serde_json::Value;
use service_kit::{ApiError, RequestContext};

use super::attributes::Attributes;
use super::ports::{FixedIp, FixedIps, NewPort};
use super::{App, faults, new_id, owner, owns, privileged, visible_network, write};
use crate::model::device_owner;
use crate::store::entity::{allocation, floating_ip, port, router, router_interface};
use crate::store::{self, TxError, now};
use crate::views;

/// Attributes of the request to create one.
pub const CREATE: [&str; 8] = [
    "floating_network_id",
    "floating_ip_address",
    "subnet_id",
    "port_id",
    "fixed_ip_address",
    "description",
    "project_id",
    "tenant_id",
];
/// Attributes of the request to change one.
pub const UPDATE: [&str; 3] = ["port_id", "fixed_ip_address", "description"];

impl App {
    pub async fn floating_ip_list(&self, caller: &RequestContext) -> Result<Vec<Value>, ApiError> {
        let mut query = floating_ip::Entity::find()
            .order_by_asc(floating_ip::Column::CreatedAt)
            .order_by_asc(floating_ip::Column::Id);
        if !privileged(caller) {
            query = query.filter(floating_ip::Column::ProjectId.eq(&caller.project_id));
        }
        self.floating_views(query.all(&self.db).await?).await
    }

    pub async fn floating_ip_show(
        &self,
        caller: &RequestContext,
        id: &str,
    ) -> Result<Value, ApiError> {
        let found = floating_ip::Entity::find_by_id(id).one(&self.db).await?;
        let row = found
            .filter(|row| owns(caller, &row.project_id))
            .ok_or_else(|| faults::not_found("floatingip", id))?;
        Ok(self.floating_views(vec![row]).await?.remove(0))
    }

    async fn floating_views(&self, rows: Vec<floating_ip::Model>) -> Result<Vec<Value>, ApiError> {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let tags = store::tags(&self.db, &ids).await?;
        let mut ports: HashMap<String, port::Model> = HashMap::new();
        let wanted: Vec<String> = rows.iter().filter_map(|row| row.port_id.clone()).collect();
        for ids in wanted.chunks(500) {
            for port in port::Entity::find()
                .filter(port::Column::Id.is_in(ids.iter().cloned()))
                .all(&self.db)
                .await?
            {
                ports.insert(port.id.clone(), port);
            }
        }
        let port = |row: &floating_ip::Model| row.port_id.as_ref().and_then(|id| ports.get(id));
        Ok(rows
            .iter()
            .map(|row| {
                views::floating_ip(row, port(row), tags.get(&row.id).map_or(&[], Vec::as_slice))
            })
            .collect())
    }

    pub async fn floating_ip_create(
        &self,
        caller: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let project = owner(caller, attributes, "floatingip")?;
        let network_id = attributes.required_id("floating_network_id")?;
        super::admin_only(
            caller,
            attributes,
            "create_floatingip",
            &["floating_ip_address"],
        )?;
        let wanted = attributes
            .nullable_address("floating_ip_address")?
            .flatten();
        let subnet_id = attributes.text("subnet_id")?;
        let made: Result<String, ApiError> = write!(self, tx => {
            self.check_quota(&tx, &project, "floatingip").await?;
            let network = visible_network(&tx, caller, &network_id).await?;
            if !network.external {
                return Err(bad(&format!("Network {network_id} is not a valid external network")).into());
            }
            let id = new_id();
            let fixed_ips = match (wanted, &subnet_id) {
                (None, None) => FixedIps::Automatic,
                (ip_address, subnet_id) => FixedIps::Exactly(vec![FixedIp { subnet_id: subnet_id.clone(), ip_address }]),
            };
            let new = NewPort { device_id: id.clone(), device_owner: device_owner::FLOATING_IP.to_owned(), fixed_ips, ..NewPort::default() };
            let holder = self.port_insert(&tx, &network, new).await?;
            let held = store::allocations(&tx, std::slice::from_ref(&holder.id)).await?.remove(&holder.id).unwrap_or_default();
            let address = held.iter().find(|held| held.ip_address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()));
            let Some(address) = address else {
                return Err(bad(&format!("Network {network_id} does not contain any IPv4 subnet")).into());
            };
            let time = now();
            let mut row = floating_ip::Model {
                id: id.clone(),
                project_id: project.clone(),
                description: attributes.text("description")?.unwrap_or_default(),
                floating_network_id: network_id.clone(),
                floating_ip_address: address.ip_address.clone(),
                floating_port_id: holder.id,
                port_id: None,
                fixed_ip_address: None,
                router_id: None,
                revision: 1,
                created_at: time.clone(),
                updated_at: time,
            };
            if let Some(port_id) = attributes.text("port_id")? {
                associate(&tx, caller, &mut row, &port_id, attributes).await?;
            }
            floating_ip::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await?;
            id
        });
        self.floating_ip_show(caller, &made?).await
    }

    pub async fn floating_ip_update(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let written: Result<(), ApiError> = write!(self, tx => {
            let mut row = own_floating_ip(&tx, caller, id).await?;
            row.description = attributes.text("description")?.unwrap_or(row.description);
            match attributes.nullable_text("port_id")? {
                Some(Some(port_id)) if !port_id.is_empty() => associate(&tx, caller, &mut row, &port_id, attributes).await?,
                Some(_) => (row.port_id, row.fixed_ip_address, row.router_id) = (None, None, None),
                None => {}
            }
            store::save_floating_ip(&tx, row).await?;
        });
        written?;
        self.floating_ip_show(caller, id).await
    }

    pub async fn floating_ip_delete(
        &self,
        caller: &RequestContext,
        id: &str,
    ) -> Result<(), ApiError> {
        write!(self, tx => {
            let row = own_floating_ip(&tx, caller, id).await?;
            let holder = row.floating_port_id.clone();
            row.delete(&tx).await?;
            if let Some(port) = port::Entity::find_by_id(holder).one(&tx).await? {
                self.remove_port(&tx, port).await?;
            }
        })
    }
}

async fn own_floating_ip(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    id: &str,
) -> Result<floating_ip::Model, TxError> {
    let found = floating_ip::Entity::find_by_id(id).one(tx).await?;
    Ok(found
        .filter(|row| owns(caller, &row.project_id))
        .ok_or_else(|| faults::not_found("floatingip", id))?)
}

/// Leads the floating IP to a port, by the router that joins the port's subnet with the external network.
async fn associate(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    row: &mut floating_ip::Model,
    port_id: &str,
    attributes: &Attributes,
) -> Result<(), TxError> {
    let found = port::Entity::find_by_id(port_id).one(tx).await?;
    let port = found
        .filter(|port| owns(caller, &port.project_id))
        .ok_or_else(|| faults::not_found("port", port_id))?;
    let held = allocation::Entity::find()
        .filter(allocation::Column::PortId.eq(port_id))
        .all(tx)
        .await?;
    let mut v4 = held.into_iter().filter(|held| {
        held.ip_address
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_ipv4())
    });
    let fixed = match attributes.nullable_address("fixed_ip_address")?.flatten() {
        Some(ip) => v4.find(|held| held.ip_address == ip.to_string()).ok_or_else(|| bad(&format!("Port {port_id} does not have fixed ip {ip}")))?,
        None => match (v4.next(), v4.next()) {
            (Some(only), None) => only,
            (None, _) => return Err(bad(&format!("Cannot add floating IP to port {port_id} that has no fixed IPv4 addresses")).into()),
            (Some(_), Some(_)) => return Err(bad(&format!("Port {port_id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a floating IP")).into()),
        },
    };
    let same = floating_ip::Entity::find()
        .filter(floating_ip::Column::PortId.eq(port_id))
        .filter(floating_ip::Column::FixedIpAddress.eq(&fixed.ip_address));
    if let Some(other) = same
        .filter(floating_ip::Column::Id.ne(&row.id))
        .one(tx)
        .await?
    {
        let message = format!(
            "Cannot associate floating IP {} ({}) with port {port_id} using fixed IP {}, as that fixed IP already has a floating IP on external network {}.",
            row.floating_ip_address, row.id, fixed.ip_address, other.floating_network_id
        );
        return Err(ApiError::conflict("FloatingIPPortAlreadyAssociated", message).into());
    }
    row.router_id = Some(router_between(tx, row, &fixed.subnet_id, port_id).await?);
    row.port_id = Some(port.id);
    row.fixed_ip_address = Some(fixed.ip_address);
    Ok(())
}

async fn router_between(
    tx: &DatabaseTransaction,
    row: &floating_ip::Model,
    subnet: &str,
    port_id: &str,
) -> Result<String, TxError> {
    let legs = router_interface::Entity::find()
        .filter(router_interface::Column::SubnetId.eq(subnet))
        .all(tx)
        .await?;
    for leg in legs {
        let Some(router) = router::Entity::find_by_id(&leg.router_id).one(tx).await? else {
            continue;
        };
        let Some(gateway) = router.gateway_port_id else {
            continue;
        };
        let outside = port::Entity::find_by_id(gateway).one(tx).await?;
        if outside.is_some_and(|port| port.network_id == row.floating_network_id) {
            return Ok(router.id);
        }
    }
    let message = format!(
        "External network {} is not reachable from subnet {subnet}.  Therefore, cannot associate Port {port_id} with a Floating IP.",
        row.floating_network_id
    );
    Err(ApiError::not_found("ExternalGatewayForFloatingIPNotFound", message).into())
}

fn bad(message: &str) -> ApiError {
    ApiError::bad_request("BadRequest", format!("Bad floatingip request: {message}."))
}
