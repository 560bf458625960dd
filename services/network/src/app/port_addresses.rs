//! Giving ports their addresses. The check here is for the words of the fault; that no address is given twice is the
//! doing of the table's primary key, on which a late-comer's transaction fails and begins again.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter,
    QueryOrder,
};
use serde::Deserialize;
use service_kit::ApiError;

use super::{App, faults};
use crate::addressing;
use crate::model::device_owner;
use crate::store::entity::{allocation, floating_ip, network, port, subnet};
use crate::store::{self, TxError};

/// Which addresses a port is to have.
#[derive(Debug, Clone, PartialEq)]
pub enum FixedIps {
    /// One of the network's IPv4 subnets, one of its IPv6 subnets.
    Automatic,
    Exactly(Vec<FixedIp>),
}

/// One address asked for: a certain one, or any of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedIp {
    #[serde(default)]
    pub subnet_id: Option<String>,
    #[serde(default)]
    pub ip_address: Option<IpAddr>,
}

impl App {
    /// Gives a new port its addresses.
    pub async fn allocate(
        &self,
        tx: &DatabaseTransaction,
        network: &network::Model,
        row: &port::Model,
        wanted: FixedIps,
    ) -> Result<(), TxError> {
        let subnets = subnets_of(tx, network).await?;
        match wanted {
            FixedIps::Exactly(list) => {
                for one in list {
                    give(tx, network, &subnets, row, &one).await?;
                }
            }
            FixedIps::Automatic => {
                for version in [4, 6] {
                    automatic(tx, network, &subnets, row, version).await?;
                }
            }
        }
        Ok(())
    }

    /// Changes a port's addresses to those asked for, keeping what it may keep.
    pub async fn reallocate(
        &self,
        tx: &DatabaseTransaction,
        network: &network::Model,
        row: &port::Model,
        wanted: Vec<FixedIp>,
    ) -> Result<(), TxError> {
        let mut held = allocation::Entity::find()
            .filter(allocation::Column::PortId.eq(&row.id))
            .all(tx)
            .await?;
        let mut missing = Vec::new();
        for one in wanted {
            let fits = |held: &allocation::Model| {
                let ip = one
                    .ip_address
                    .is_none_or(|ip| held.ip_address == ip.to_string());
                ip && one
                    .subnet_id
                    .as_ref()
                    .is_none_or(|subnet| *subnet == held.subnet_id)
            };
            match held.iter().position(fits) {
                Some(kept) => drop(held.swap_remove(kept)),
                None => missing.push(one),
            }
        }
        for gone in held {
            let led_there = floating_ip::Column::FixedIpAddress.eq(&gone.ip_address);
            let floating = floating_ip::Entity::find()
                .filter(floating_ip::Column::PortId.eq(&row.id))
                .filter(led_there);
            if let Some(floating) = floating.one(tx).await? {
                let message = format!(
                    "Port {} has address {} that floating IP {} leads to.",
                    row.id, gone.ip_address, floating.floating_ip_address
                );
                return Err(ApiError::conflict("FixedIPInUse", message).into());
            }
            gone.delete(tx).await?;
        }
        let subnets = subnets_of(tx, network).await?;
        for one in missing {
            give(tx, network, &subnets, row, &one).await?;
        }
        Ok(())
    }
}

async fn subnets_of(
    tx: &DatabaseTransaction,
    network: &network::Model,
) -> Result<Vec<subnet::Model>, TxError> {
    let query = subnet::Entity::find().filter(subnet::Column::NetworkId.eq(&network.id));
    Ok(query
        .order_by_asc(subnet::Column::CreatedAt)
        .order_by_asc(subnet::Column::Id)
        .all(tx)
        .await?)
}

/// One address of the first subnet of this version that has a free one; and every address that the guest will
/// give itself by IPv6 autoconfiguration.
async fn automatic(
    tx: &DatabaseTransaction,
    network: &network::Model,
    subnets: &[subnet::Model],
    row: &port::Model,
    version: i32,
) -> Result<(), TxError> {
    let of_version = subnets.iter().filter(|subnet| subnet.ip_version == version);
    let (own, managed): (Vec<_>, Vec<_>) =
        of_version.partition(|subnet| makes_own_addresses(subnet, row));
    for subnet in own {
        if let Some(ip) =
            parse(&subnet.cidr).and_then(|cidr| addressing::eui64(cidr, &row.mac_address))
        {
            insert(tx, network, subnet, row, ip).await?;
        }
    }
    if managed.is_empty() {
        return Ok(());
    }
    for subnet in managed {
        if let Some(ip) = free_address(tx, subnet).await? {
            return insert(tx, network, subnet, row, ip).await;
        }
    }
    Err(exhausted(network).into())
}

async fn give(
    tx: &DatabaseTransaction,
    network: &network::Model,
    subnets: &[subnet::Model],
    row: &port::Model,
    wanted: &FixedIp,
) -> Result<(), TxError> {
    let named = match &wanted.subnet_id {
        Some(id) => {
            let found = subnets.iter().find(|subnet| subnet.id == *id);
            let message = || {
                faults::invalid_input(format!(
                    "Failed to create port on network {}, because fixed_ips included invalid subnet {id}",
                    network.id
                ))
            };
            Some(found.ok_or_else(message)?)
        }
        None => None,
    };
    match (named, wanted.ip_address) {
        (Some(subnet), None) if makes_own_addresses(subnet, row) => {
            let ip = parse(&subnet.cidr).and_then(|cidr| addressing::eui64(cidr, &row.mac_address));
            insert(
                tx,
                network,
                subnet,
                row,
                ip.ok_or_else(|| exhausted(network))?,
            )
            .await
        }
        (Some(subnet), None) => {
            let ip = free_address(tx, subnet)
                .await?
                .ok_or_else(|| exhausted(network))?;
            insert(tx, network, subnet, row, ip).await
        }
        (Some(subnet), Some(ip)) => {
            if !is_host(subnet, ip) {
                return Err(ApiError::bad_request(
                    "InvalidIpForSubnet",
                    format!("IP address {ip} is not a valid IP for the specified subnet."),
                )
                .into());
            }
            insert(tx, network, subnet, row, ip).await
        }
        (None, Some(ip)) => {
            let subnet = subnets.iter().find(|subnet| is_host(subnet, ip));
            let message = || {
                format!(
                    "IP address {ip} is not a valid IP for any of the subnets on the specified network."
                )
            };
            insert(
                tx,
                network,
                subnet.ok_or_else(|| ApiError::bad_request("InvalidIpForNetwork", message()))?,
                row,
                ip,
            )
            .await
        }
        (None, None) => {
            Err(faults::invalid_input("IP allocation requires subnet_id or ip_address").into())
        }
    }
}

/// Routers and the metadata service take fixed addresses in such subnets too.
fn makes_own_addresses(subnet: &subnet::Model, row: &port::Model) -> bool {
    let mode = subnet.ipv6_address_mode.as_deref();
    matches!(mode, Some("slaac" | "dhcpv6-stateless"))
        && !device_owner::is_trusted(&row.device_owner)
}

async fn free_address(
    tx: &DatabaseTransaction,
    subnet: &subnet::Model,
) -> Result<Option<IpAddr>, TxError> {
    let used = store::used_addresses(tx, &subnet.id).await?;
    Ok(addressing::choose(
        &subnet.allocation_pools.0,
        &used,
        u128::from(rand::random::<u64>()),
    ))
}

async fn insert(
    tx: &DatabaseTransaction,
    network: &network::Model,
    subnet: &subnet::Model,
    row: &port::Model,
    ip: IpAddr,
) -> Result<(), TxError> {
    let text = ip.to_string();
    if allocation::Entity::find_by_id((subnet.id.clone(), text.clone()))
        .one(tx)
        .await?
        .is_some()
    {
        let message = format!(
            "Unable to complete operation for network {}. The IP address {ip} is in use.",
            network.id
        );
        return Err(ApiError::conflict("IpAddressInUse", message).into());
    }
    let taken = allocation::Model {
        subnet_id: subnet.id.clone(),
        ip_address: text,
        port_id: row.id.clone(),
    };
    allocation::Entity::insert(taken.into_active_model())
        .exec_without_returning(tx)
        .await?;
    Ok(())
}

fn is_host(subnet: &subnet::Model, ip: IpAddr) -> bool {
    parse(&subnet.cidr)
        .and_then(addressing::host_range)
        .is_some_and(|hosts| addressing::contains(&hosts, ip))
}

fn parse(cidr: &str) -> Option<IpNetwork> {
    cidr.parse().ok()
}

fn exhausted(network: &network::Model) -> ApiError {
    ApiError::conflict(
        "IpAddressGenerationFailure",
        format!("No more IP addresses available on network {}.", network.id),
    )
}
