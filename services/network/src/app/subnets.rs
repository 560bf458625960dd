//! Subnets: prefix, gateway, pools, and what DHCP tells guests.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sea_orm::{
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::Value;
use service_kit::{ApiError, RequestContext};

use super::attributes::Attributes;
use super::{App, faults, new_id, owner, owns, privileged, write};
use crate::addressing;
use crate::model::device_owner;
use crate::store::entity::{allocation, network, port, router_interface, subnet};
use crate::store::values::{Pool, Pools, Route, Routes, Strings};
use crate::store::{self, TxError, now};
use crate::views;

/// Attributes of the request to create one.
pub const CREATE: [&str; 16] = [
    "name",
    "description",
    "project_id",
    "tenant_id",
    "network_id",
    "ip_version",
    "cidr",
    "gateway_ip",
    "enable_dhcp",
    "allocation_pools",
    "dns_nameservers",
    "host_routes",
    "ipv6_ra_mode",
    "ipv6_address_mode",
    "subnetpool_id",
    "use_default_subnetpool",
];
/// Attributes of the request to change one.
pub const UPDATE: [&str; 7] = [
    "name",
    "description",
    "gateway_ip",
    "enable_dhcp",
    "allocation_pools",
    "dns_nameservers",
    "host_routes",
];
const IPV6_MODES: [&str; 3] = ["slaac", "dhcpv6-stateful", "dhcpv6-stateless"];
const MAX_DNS_SERVERS: usize = 5;
const MAX_HOST_ROUTES: usize = 20;

impl App {
    pub async fn subnet_list(&self, caller: &RequestContext) -> Result<Vec<Value>, ApiError> {
        let mut query = subnet::Entity::find()
            .order_by_asc(subnet::Column::CreatedAt)
            .order_by_asc(subnet::Column::Id);
        if !privileged(caller) {
            let shared = network::Entity::find()
                .select_only()
                .column(network::Column::Id)
                .filter(network::Column::Shared.eq(true));
            let of_shared =
                subnet::Column::NetworkId.in_subquery(sea_orm::QueryTrait::into_query(shared));
            query = query.filter(
                Condition::any()
                    .add(subnet::Column::ProjectId.eq(&caller.project_id))
                    .add(of_shared),
            );
        }
        self.subnet_views(query.all(&self.db).await?).await
    }

    pub async fn subnet_show(&self, caller: &RequestContext, id: &str) -> Result<Value, ApiError> {
        let found = subnet::Entity::find_by_id(id).one(&self.db).await?;
        let row = found.ok_or_else(|| faults::not_found("subnet", id))?;
        if !owns(caller, &row.project_id) {
            let network = network::Entity::find_by_id(&row.network_id)
                .one(&self.db)
                .await?;
            if !network.is_some_and(|network| network.shared) {
                return Err(faults::not_found("subnet", id));
            }
        }
        Ok(self.subnet_views(vec![row]).await?.remove(0))
    }

    async fn subnet_views(&self, rows: Vec<subnet::Model>) -> Result<Vec<Value>, ApiError> {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let tags = store::tags(&self.db, &ids).await?;
        Ok(rows
            .iter()
            .map(|row| views::subnet(row, tags.get(&row.id).map_or(&[], Vec::as_slice)))
            .collect())
    }

    pub async fn subnet_create(
        &self,
        caller: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let asked = owner(caller, attributes, "subnet")?;
        let row = new_subnet(attributes, asked)?;
        let made: Result<(), ApiError> = write!(self, tx => {
            let network = self.own_network(&tx, caller, &row.network_id).await?;
            self.check_quota(&tx, &row.project_id, "subnet").await?;
            let others = subnet::Entity::find().filter(subnet::Column::NetworkId.eq(&network.id)).all(&tx).await?;
            if let Some(other) = others.iter().find(|other| cidrs_overlap(&other.cidr, &row.cidr)) {
                let message = format!("Requested subnet with cidr: {} for network: {} overlaps with another subnet ({})", row.cidr, network.id, other.id);
                return Err(faults::invalid_input(message).into());
            }
            // Two subnets made at once would both see no overlap: the network's revision lets only one through.
            store::save_network(&tx, network.clone()).await?;
            subnet::Entity::insert(row.clone().into_active_model()).exec_without_returning(&tx).await?;
            self.serve_metadata(&tx, &network, &row).await?;
        });
        made?;
        self.subnet_show(caller, &row.id).await
    }

    /// Gives the network's metadata port an address of a subnet with DHCP, so that guests can be told the way to it.
    async fn serve_metadata(
        &self,
        tx: &DatabaseTransaction,
        network: &network::Model,
        row: &subnet::Model,
    ) -> Result<(), TxError> {
        if !row.enable_dhcp || row.ip_version != 4 {
            return Ok(());
        }
        let of_network = port::Entity::find().filter(port::Column::NetworkId.eq(&network.id));
        let Some(metadata) = of_network
            .filter(port::Column::DeviceOwner.eq(device_owner::METADATA))
            .one(tx)
            .await?
        else {
            return Ok(());
        };
        let held = allocation::Entity::find()
            .filter(allocation::Column::PortId.eq(&metadata.id))
            .filter(allocation::Column::SubnetId.eq(&row.id));
        if held.one(tx).await?.is_some() {
            return Ok(());
        }
        let used = store::used_addresses(tx, &row.id).await?;
        // A subnet without a free address goes without: guests still have their config drive.
        if let Some(ip) = addressing::choose(&row.allocation_pools.0, &used, 0) {
            let row = allocation::Model {
                subnet_id: row.id.clone(),
                ip_address: ip.to_string(),
                port_id: metadata.id,
            };
            allocation::Entity::insert(row.into_active_model())
                .exec_without_returning(tx)
                .await?;
        }
        Ok(())
    }

    pub async fn subnet_update(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let written: Result<(), ApiError> = write!(self, tx => {
            let mut row = own_subnet(&tx, caller, id).await?;
            let cidr = parse_cidr(&row.cidr)?;
            row.name = attributes.text("name")?.unwrap_or(row.name);
            row.description = attributes.text("description")?.unwrap_or(row.description);
            row.enable_dhcp = attributes.flag("enable_dhcp")?.unwrap_or(row.enable_dhcp);
            if let Some(gateway) = attributes.nullable_address("gateway_ip")? {
                check_gateway(cidr, gateway)?;
                let gateway = gateway.map(|ip| ip.to_string());
                if gateway != row.gateway_ip && serves_as_gateway(&tx, &row).await? {
                    let message = format!("Current gateway ip {} already in use by port. Unable to update.", row.gateway_ip.unwrap_or_default());
                    return Err(ApiError::conflict("GatewayIpInUse", message).into());
                }
                row.gateway_ip = gateway;
            }
            if attributes.has("allocation_pools") {
                row.allocation_pools = pools(attributes, cidr, gateway_of(&row))?;
            } else if attributes.has("gateway_ip") {
                check_gateway_outside(gateway_of(&row), &row.allocation_pools.0)?;
            }
            row.dns_nameservers = dns_servers(attributes)?.unwrap_or(row.dns_nameservers);
            row.host_routes = host_routes(attributes, "host_routes", MAX_HOST_ROUTES)?.unwrap_or(row.host_routes);
            let row = store::save_subnet(&tx, row).await?;
            if let Some(network) = network::Entity::find_by_id(&row.network_id).one(&tx).await? {
                self.serve_metadata(&tx, &network, &row).await?;
            }
        });
        written?;
        self.subnet_show(caller, id).await
    }

    pub async fn subnet_delete(&self, caller: &RequestContext, id: &str) -> Result<(), ApiError> {
        write!(self, tx => {
            let row = own_subnet(&tx, caller, id).await?;
            let held = allocation::Entity::find().filter(allocation::Column::SubnetId.eq(id)).all(&tx).await?;
            let ports: Vec<String> = held.iter().map(|row| row.port_id.clone()).collect();
            let guests = port::Entity::find().filter(port::Column::Id.is_in(ports)).filter(port::Column::DeviceOwner.ne(device_owner::METADATA));
            if guests.one(&tx).await?.is_some() {
                let message = format!("Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet.");
                return Err(ApiError::conflict("SubnetInUse", message).into());
            }
            allocation::Entity::delete_many().filter(allocation::Column::SubnetId.eq(id)).exec(&tx).await?;
            row.delete(&tx).await?;
        })
    }
}

/// A subnet that the caller may change.
async fn own_subnet(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    id: &str,
) -> Result<subnet::Model, TxError> {
    let found = subnet::Entity::find_by_id(id).one(tx).await?;
    Ok(found
        .filter(|row| owns(caller, &row.project_id))
        .ok_or_else(|| faults::not_found("subnet", id))?)
}

/// Whether a router's interface has the gateway's address.
async fn serves_as_gateway(tx: &DatabaseTransaction, row: &subnet::Model) -> Result<bool, TxError> {
    let legs = router_interface::Entity::find()
        .filter(router_interface::Column::SubnetId.eq(&row.id))
        .all(tx)
        .await?;
    let ports: Vec<String> = legs.into_iter().map(|leg| leg.port_id).collect();
    let held = store::allocations(tx, &ports).await?;
    Ok(held
        .values()
        .flatten()
        .any(|held| Some(&held.ip_address) == row.gateway_ip.as_ref()))
}

fn new_subnet(attributes: &Attributes, project: String) -> Result<subnet::Model, ApiError> {
    if attributes.text("subnetpool_id")?.is_some()
        || attributes.flag("use_default_subnetpool")? == Some(true)
    {
        return Err(faults::invalid_input(
            "subnet pools are not supported; give a cidr",
        ));
    }
    let cidr = parse_cidr(&attributes.required("cidr")?)?;
    let version = attributes
        .integer("ip_version")?
        .unwrap_or(if cidr.is_ipv4() { 4 } else { 6 });
    if (version == 4) != cidr.is_ipv4() || ![4, 6].contains(&version) {
        return Err(faults::invalid_input(format!(
            "cidr {cidr} does not match the ip_version '{version}'"
        )));
    }
    let gateway = match attributes.nullable_address("gateway_ip")? {
        Some(gateway) => gateway,
        None => addressing::default_gateway(cidr),
    };
    check_gateway(cidr, gateway)?;
    let mode = |name: &str| match attributes.text(name)? {
        Some(_) if version == 4 => Err(faults::invalid_input(format!(
            "{name} is not valid when ip_version is 4"
        ))),
        Some(mode) if !IPV6_MODES.contains(&mode.as_str()) => Err(faults::invalid(
            name,
            format!("'{mode}' is not in {IPV6_MODES:?}."),
        )),
        mode => Ok(mode),
    };
    let time = now();
    Ok(subnet::Model {
        id: new_id(),
        project_id: project,
        network_id: attributes.required_id("network_id")?,
        name: attributes.text("name")?.unwrap_or_default(),
        description: attributes.text("description")?.unwrap_or_default(),
        ip_version: version,
        cidr: format!("{}/{}", cidr.network(), cidr.prefix()),
        gateway_ip: gateway.map(|ip| ip.to_string()),
        enable_dhcp: attributes.flag("enable_dhcp")?.unwrap_or(true),
        ipv6_ra_mode: mode("ipv6_ra_mode")?,
        ipv6_address_mode: mode("ipv6_address_mode")?,
        allocation_pools: pools(attributes, cidr, gateway)?,
        dns_nameservers: dns_servers(attributes)?.unwrap_or_default(),
        host_routes: host_routes(attributes, "host_routes", MAX_HOST_ROUTES)?.unwrap_or_default(),
        revision: 1,
        created_at: time.clone(),
        updated_at: time,
    })
}

fn gateway_of(row: &subnet::Model) -> Option<IpAddr> {
    row.gateway_ip.as_deref().and_then(|ip| ip.parse().ok())
}

fn parse_cidr(text: &str) -> Result<IpNetwork, ApiError> {
    let parsed = text
        .contains('/')
        .then(|| text.parse::<IpNetwork>().ok())
        .flatten();
    match parsed {
        Some(cidr) if cidr.prefix() == 0 => {
            Err(faults::invalid_input(format!("{text} leaves no prefix")))
        }
        Some(cidr) => Ok(cidr),
        None => Err(faults::invalid(
            "cidr",
            format!("'{text}' is not a valid IP subnet."),
        )),
    }
}

fn cidrs_overlap(one: &str, other: &str) -> bool {
    match (one.parse::<IpNetwork>(), other.parse::<IpNetwork>()) {
        (Ok(one), Ok(other)) => one.contains(other.network()) || other.contains(one.network()),
        _ => false,
    }
}

fn check_gateway(cidr: IpNetwork, gateway: Option<IpAddr>) -> Result<(), ApiError> {
    let Some(gateway) = gateway else {
        return Ok(());
    };
    if gateway.is_ipv4() != cidr.is_ipv4() {
        return Err(faults::invalid_input(format!(
            "gateway_ip '{gateway}' does not match the ip_version of {cidr}"
        )));
    }
    let edge = cidr.is_ipv4()
        && cidr.prefix() < 31
        && (gateway == cidr.network() || gateway == cidr.broadcast());
    if edge || !cidr.contains(gateway) && gateway.is_ipv4() {
        return Err(faults::invalid_input(format!(
            "Gateway {gateway} is not valid on subnet {cidr}"
        )));
    }
    Ok(())
}

fn pools(
    attributes: &Attributes,
    cidr: IpNetwork,
    gateway: Option<IpAddr>,
) -> Result<Pools, ApiError> {
    let Some(pools) = attributes.decode::<Vec<Pool>>("allocation_pools")? else {
        return Ok(Pools(addressing::default_pools(cidr, gateway)));
    };
    let hosts = addressing::host_range(cidr);
    for (position, pool) in pools.iter().enumerate() {
        if pool.start.is_ipv4() != pool.end.is_ipv4() || pool.start > pool.end {
            return Err(ApiError::bad_request(
                "InvalidAllocationPool",
                format!(
                    "The allocation pool {}-{} is not valid.",
                    pool.start, pool.end
                ),
            ));
        }
        if !hosts.is_some_and(|hosts| {
            addressing::contains(&hosts, pool.start) && addressing::contains(&hosts, pool.end)
        }) {
            let message = format!(
                "The allocation pool {}-{} spans beyond the subnet cidr {cidr}.",
                pool.start, pool.end
            );
            return Err(ApiError::bad_request("OutOfBoundsAllocationPool", message));
        }
        if let Some(other) = pools
            .iter()
            .take(position)
            .find(|other| addressing::overlap(pool, other))
        {
            let message = format!(
                "Found overlapping allocation pools: {}-{}, {}-{} for subnet {cidr}.",
                other.start, other.end, pool.start, pool.end
            );
            return Err(ApiError::conflict("OverlappingAllocationPools", message));
        }
    }
    check_gateway_outside(gateway, &pools)?;
    Ok(Pools(pools))
}

fn check_gateway_outside(gateway: Option<IpAddr>, pools: &[Pool]) -> Result<(), ApiError> {
    let inside = gateway.and_then(|gateway| {
        pools
            .iter()
            .find(|pool| addressing::contains(pool, gateway))
            .map(|pool| (gateway, pool))
    });
    match inside {
        Some((gateway, pool)) => {
            let message = format!(
                "Gateway ip {gateway} conflicts with allocation pool {}-{}.",
                pool.start, pool.end
            );
            Err(ApiError::conflict(
                "GatewayConflictWithAllocationPools",
                message,
            ))
        }
        None => Ok(()),
    }
}

fn dns_servers(attributes: &Attributes) -> Result<Option<Strings>, ApiError> {
    let Some(servers) = attributes.decode::<Vec<String>>("dns_nameservers")? else {
        return Ok(None);
    };
    if servers.len() > MAX_DNS_SERVERS {
        return Err(ApiError::bad_request(
            "DNSNameServersExhausted",
            format!(
                "Unable to complete operation: the number of DNS nameservers exceeds the limit {MAX_DNS_SERVERS}."
            ),
        ));
    }
    match servers
        .iter()
        .find(|server| server.parse::<IpAddr>().is_err())
    {
        Some(wrong) => Err(faults::invalid(
            "dns_nameservers",
            format!("'{wrong}' is not a valid nameserver."),
        )),
        None => Ok(Some(Strings(servers))),
    }
}

/// Routes of a subnet or router, checked.
pub fn host_routes(
    attributes: &Attributes,
    name: &str,
    limit: usize,
) -> Result<Option<Routes>, ApiError> {
    let Some(routes) = attributes.decode::<Vec<Route>>(name)? else {
        return Ok(None);
    };
    if routes.len() > limit {
        return Err(ApiError::bad_request(
            "HostRoutesExhausted",
            format!(
                "Unable to complete operation: the number of routes exceeds the limit {limit}."
            ),
        ));
    }
    for route in &routes {
        let sound = route
            .destination
            .parse::<IpNetwork>()
            .is_ok_and(|network| network.is_ipv4() == route.nexthop.is_ipv4());
        if !sound {
            return Err(faults::invalid(
                name,
                format!(
                    "'{} via {}' is not a route.",
                    route.destination, route.nexthop
                ),
            ));
        }
    }
    Ok(Some(Routes(routes)))
}
