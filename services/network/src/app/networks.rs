//! Networks: tenant networks over Geneve, provider networks on a physical one.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait,
    QueryFilter, QueryOrder,
};
use serde_json::Value;
use service_kit::{ApiError, RequestContext};

use super::attributes::Attributes;
use super::ports::{FixedIps, NewPort};
use super::{App, admin_only, faults, new_id, owner, owns, privileged, write};
use crate::config::GENEVE_OVERHEAD;
use crate::model::device_owner;
use crate::store::entity::{network, port, segment, subnet};
use crate::store::{self, TxError, now};
use crate::views;

/// Attributes of the request to create one.
pub const CREATE: [&str; 15] = [
    "name",
    "description",
    "project_id",
    "tenant_id",
    "admin_state_up",
    "shared",
    "router:external",
    "is_default",
    "mtu",
    "port_security_enabled",
    "dns_domain",
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
    "availability_zone_hints",
];
/// Attributes of the request to change one.
pub const UPDATE: [&str; 9] = [
    "name",
    "description",
    "admin_state_up",
    "shared",
    "router:external",
    "is_default",
    "mtu",
    "port_security_enabled",
    "dns_domain",
];
const ADMIN: [&str; 6] = [
    "shared",
    "router:external",
    "is_default",
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
];
/// Numbers for Geneve networks: OVN itself allows no more networks than have 24 bits.
const GENEVE_IDS: std::ops::RangeInclusive<i32> = 1..=65536;

struct Segment {
    network_type: String,
    physical_network: Option<String>,
    segmentation_id: Option<i32>,
    largest_mtu: i32,
}

impl App {
    pub async fn network_list(&self, caller: &RequestContext) -> Result<Vec<Value>, ApiError> {
        let mut query = network::Entity::find()
            .order_by_asc(network::Column::CreatedAt)
            .order_by_asc(network::Column::Id);
        if !privileged(caller) {
            let own = network::Column::ProjectId.eq(&caller.project_id);
            query = query.filter(
                Condition::any()
                    .add(own)
                    .add(network::Column::Shared.eq(true))
                    .add(network::Column::External.eq(true)),
            );
        }
        self.network_views(query.all(&self.db).await?).await
    }

    pub async fn network_show(&self, caller: &RequestContext, id: &str) -> Result<Value, ApiError> {
        let row = network::Entity::find_by_id(id).one(&self.db).await?;
        let row = row.filter(|row| owns(caller, &row.project_id) || row.shared || row.external);
        let row = row.ok_or_else(|| faults::not_found("network", id))?;
        Ok(self.network_views(vec![row]).await?.remove(0))
    }

    async fn network_views(&self, rows: Vec<network::Model>) -> Result<Vec<Value>, ApiError> {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let tags = store::tags(&self.db, &ids).await?;
        let mut subnets: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let all = if let [only] = ids.as_slice() {
            subnet::Entity::find()
                .filter(subnet::Column::NetworkId.eq(only))
                .order_by_asc(subnet::Column::Id)
                .all(&self.db)
                .await?
        } else {
            subnet::Entity::find()
                .order_by_asc(subnet::Column::Id)
                .all(&self.db)
                .await?
        };
        for row in all {
            subnets.entry(row.network_id).or_default().push(row.id);
        }
        let of = |map: &BTreeMap<String, Vec<String>>, id: &str| {
            map.get(id).cloned().unwrap_or_default()
        };
        Ok(rows
            .iter()
            .map(|row| views::network(row, &of(&subnets, &row.id), &of(&tags, &row.id)))
            .collect())
    }

    pub async fn network_create(
        &self,
        caller: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        admin_only(caller, attributes, "create_network", &ADMIN)?;
        let project = owner(caller, attributes, "network")?;
        let made: Result<network::Model, ApiError> = write!(self, tx => {
            self.check_quota(&tx, &project, "network").await?;
            self.network_insert(&tx, project.clone(), attributes).await?
        });
        self.network_show(caller, &made?.id).await
    }

    async fn network_insert(
        &self,
        tx: &DatabaseTransaction,
        project: String,
        attributes: &Attributes,
    ) -> Result<network::Model, TxError> {
        let id = new_id();
        let segment = self.choose_segment(tx, attributes).await?;
        let time = now();
        let row = network::Model {
            id: id.clone(),
            project_id: project,
            name: attributes.text("name")?.unwrap_or_default(),
            description: attributes.text("description")?.unwrap_or_default(),
            admin_state_up: attributes.flag("admin_state_up")?.unwrap_or(true),
            shared: attributes.flag("shared")?.unwrap_or(false),
            external: attributes.flag("router:external")?.unwrap_or(false),
            is_default: attributes.flag("is_default")?.unwrap_or(false),
            mtu: checked_mtu(attributes, segment.largest_mtu)?.unwrap_or(segment.largest_mtu),
            port_security_enabled: attributes.flag("port_security_enabled")?.unwrap_or(true),
            dns_domain: attributes.text("dns_domain")?.unwrap_or_default(),
            network_type: segment.network_type,
            physical_network: segment.physical_network,
            segmentation_id: segment.segmentation_id,
            revision: 1,
            created_at: time.clone(),
            updated_at: time,
        };
        network::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(tx)
            .await?;
        let taken = segment::Model {
            id: segment_key(&row),
            network_id: id.clone(),
        };
        segment::Entity::insert(taken.into_active_model())
            .exec_without_returning(tx)
            .await?;
        // Nobody's project: it counts in no quota.
        let metadata = NewPort {
            device_id: format!("ovnmeta-{id}"),
            device_owner: device_owner::METADATA.to_owned(),
            fixed_ips: FixedIps::Exactly(Vec::new()),
            ..NewPort::default()
        };
        self.port_insert(tx, &row, metadata).await?;
        Ok(row)
    }

    /// The kind of network that is asked for, and a free number of that kind.
    async fn choose_segment(
        &self,
        tx: &DatabaseTransaction,
        attributes: &Attributes,
    ) -> Result<Segment, TxError> {
        let physical = attributes.text("provider:physical_network")?;
        let number = attributes.integer("provider:segmentation_id")?;
        let kind = attributes
            .text("provider:network_type")?
            .unwrap_or_else(|| "geneve".to_owned());
        let known = |name: &Option<String>| -> Result<(String, i32), ApiError> {
            let name = name.clone().ok_or_else(|| {
                faults::invalid_input(format!(
                    "physical_network required for {kind} provider network"
                ))
            })?;
            let found = self.config.physical_network(&name);
            let found = found.ok_or_else(|| {
                faults::invalid_input(format!(
                    "physical_network '{name}' unknown for {kind} provider network"
                ))
            })?;
            Ok((name, found.mtu))
        };
        match kind.as_str() {
            "flat" => {
                let (name, mtu) = known(&physical)?;
                if number.is_some() {
                    return Err(faults::invalid_input("segmentation_id prohibited for flat provider network").into());
                }
                if segment::Entity::find_by_id(format!("flat/{name}")).one(tx).await?.is_some() {
                    return Err(ApiError::conflict("FlatNetworkInUse", format!("Unable to create the flat network. Physical network {name} is in use.")).into());
                }
                Ok(Segment { network_type: kind, physical_network: Some(name), segmentation_id: None, largest_mtu: mtu })
            }
            "vlan" => {
                let (name, mtu) = known(&physical)?;
                let number = self.choose_vlan(tx, &name, number).await?;
                Ok(Segment { network_type: kind, physical_network: Some(name), segmentation_id: Some(number), largest_mtu: mtu })
            }
            "geneve" => {
                if physical.is_some() {
                    return Err(faults::invalid_input("provider:physical_network specified for geneve network").into());
                }
                let number = match number {
                    Some(number) if GENEVE_IDS.contains(&number) => number,
                    Some(number) => return Err(faults::invalid_input(format!("segmentation_id {number} is not in the range {GENEVE_IDS:?}")).into()),
                    None => free_number(tx, "geneve/", GENEVE_IDS).await?.ok_or_else(no_network)?,
                };
                if segment::Entity::find_by_id(format!("geneve/{number}")).one(tx).await?.is_some() {
                    return Err(ApiError::conflict("TunnelIdInUse", format!("Unable to create the network. The tunnel ID {number} is in use.")).into());
                }
                let largest_mtu = self.config.network.underlay_mtu - GENEVE_OVERHEAD;
                Ok(Segment { network_type: kind, physical_network: None, segmentation_id: Some(number), largest_mtu })
            }
            "gre" | "vxlan" => Err(faults::invalid_input(format!(
                "network_type {kind} is not supported here; use geneve for networks between hypervisors, or vlan or flat for physical ones"
            ))
            .into()),
            other => Err(faults::invalid_input(format!("network_type value '{other}' not supported")).into()),
        }
    }

    async fn choose_vlan(
        &self,
        tx: &DatabaseTransaction,
        physical: &str,
        number: Option<i32>,
    ) -> Result<i32, TxError> {
        let range = self
            .config
            .physical_network(physical)
            .and_then(|known| known.vlan_range);
        let prefix = format!("vlan/{physical}/");
        let number = match (number, range) {
            (Some(number), _) if (1..=4094).contains(&number) => number,
            (Some(number), _) => {
                return Err(faults::invalid_input(format!(
                    "segmentation_id {number} is no VLAN id (1 to 4094)"
                ))
                .into());
            }
            (None, Some((low, high))) => free_number(tx, &prefix, low..=high)
                .await?
                .ok_or_else(no_network)?,
            (None, None) => {
                return Err(faults::invalid_input(format!(
                    "segmentation_id required: no VLAN ids of {physical} are set aside"
                ))
                .into());
            }
        };
        if segment::Entity::find_by_id(format!("{prefix}{number}"))
            .one(tx)
            .await?
            .is_some()
        {
            let message = format!(
                "Unable to create the network. The VLAN {number} on physical network {physical} is in use."
            );
            return Err(ApiError::conflict("VlanIdInUse", message).into());
        }
        Ok(number)
    }

    pub async fn network_update(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let written: Result<(), ApiError> = write!(self, tx => {
            let mut row = self.own_network(&tx, caller, id).await?;
            admin_only(caller, attributes, "update_network", &ADMIN)?;
            if attributes.flag("router:external")? == Some(false) && row.external {
                let gateway = port::Column::DeviceOwner.is_in([device_owner::ROUTER_GATEWAY, device_owner::FLOATING_IP]);
                let query = port::Entity::find().filter(port::Column::NetworkId.eq(id)).filter(gateway);
                if query.one(&tx).await?.is_some() {
                    let message = format!("External network {id} cannot be updated to be made non-external, since it has existing gateway ports.");
                    return Err(ApiError::conflict("ExternalNetworkInUse", message).into());
                }
            }
            let largest = match row.physical_network.as_deref().and_then(|name| self.config.physical_network(name)) {
                Some(physical) => physical.mtu,
                None => self.config.network.underlay_mtu - GENEVE_OVERHEAD,
            };
            row.name = attributes.text("name")?.unwrap_or(row.name);
            row.description = attributes.text("description")?.unwrap_or(row.description);
            row.dns_domain = attributes.text("dns_domain")?.unwrap_or(row.dns_domain);
            row.admin_state_up = attributes.flag("admin_state_up")?.unwrap_or(row.admin_state_up);
            row.shared = attributes.flag("shared")?.unwrap_or(row.shared);
            row.external = attributes.flag("router:external")?.unwrap_or(row.external);
            row.is_default = attributes.flag("is_default")?.unwrap_or(row.is_default);
            row.port_security_enabled = attributes.flag("port_security_enabled")?.unwrap_or(row.port_security_enabled);
            row.mtu = checked_mtu(attributes, largest)?.unwrap_or(row.mtu);
            store::save_network(&tx, row).await?;
        });
        written?;
        self.network_show(caller, id).await
    }

    pub async fn network_delete(&self, caller: &RequestContext, id: &str) -> Result<(), ApiError> {
        write!(self, tx => {
            let row = self.own_network(&tx, caller, id).await?;
            let ports = port::Entity::find().filter(port::Column::NetworkId.eq(id)).all(&tx).await?;
            let foreign: Vec<&str> = ports.iter().filter(|port| port.device_owner != device_owner::METADATA).map(|port| port.id.as_str()).collect();
            if !foreign.is_empty() {
                let message = format!(
                    "Unable to complete operation on network {id}. There are one or more ports still in use on the network, id for these ports is {}.",
                    foreign.join(",")
                );
                return Err(ApiError::conflict("NetworkInUse", message).into());
            }
            for port in ports {
                port.delete(&tx).await?;
            }
            subnet::Entity::delete_many().filter(subnet::Column::NetworkId.eq(id)).exec(&tx).await?;
            row.delete(&tx).await?;
        })
    }

    /// A network that the caller may change: somebody else's is "not found", a shared one is forbidden.
    pub async fn own_network(
        &self,
        tx: &DatabaseTransaction,
        caller: &RequestContext,
        id: &str,
    ) -> Result<network::Model, TxError> {
        let row = super::visible_network(tx, caller, id).await?;
        if owns(caller, &row.project_id) {
            Ok(row)
        } else {
            Err(faults::policy("update_network").into())
        }
    }
}

fn segment_key(row: &network::Model) -> String {
    let parts = [
        Some(row.network_type.clone()),
        row.physical_network.clone(),
        row.segmentation_id.map(|id| id.to_string()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

fn no_network() -> TxError {
    let message = "Unable to create the network. No tenant network is available for allocation.";
    ApiError::new(
        http::StatusCode::SERVICE_UNAVAILABLE,
        "NoNetworkAvailable",
        message,
    )
    .into()
}

/// A number of the range that no network has, with random beginning so that requests at once rarely meet.
async fn free_number(
    tx: &DatabaseTransaction,
    prefix: &str,
    range: std::ops::RangeInclusive<i32>,
) -> Result<Option<i32>, TxError> {
    let used = segment::Entity::find()
        .filter(segment::Column::Id.starts_with(prefix))
        .all(tx)
        .await?;
    let used: std::collections::HashSet<i32> = used
        .iter()
        .filter_map(|row| row.id.strip_prefix(prefix)?.parse().ok())
        .collect();
    let (low, count) = (*range.start(), range.end() - range.start() + 1);
    let start = rand::random_range(0..count);
    Ok((0..count)
        .map(|step| low + (start + step) % count)
        .find(|number| !used.contains(number)))
}

fn checked_mtu(attributes: &Attributes, largest: i32) -> Result<Option<i32>, ApiError> {
    match attributes.integer("mtu")? {
        None | Some(0) => Ok(None),
        Some(mtu) if mtu < 68 => Err(faults::invalid(
            "mtu",
            format!("'{mtu}' is too small - must be at least '68'."),
        )),
        Some(mtu) if mtu > largest => Err(faults::invalid_input(format!(
            "Requested MTU is too big, maximum is {largest}"
        ))),
        Some(mtu) => Ok(Some(mtu)),
    }
}
