//! Ports: what the API does with them. How they get their addresses is in `port_addresses`.

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter,
    QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Query, RequestContext};

use super::attributes::Attributes;
use super::{App, faults, new_id, owner, owns, privileged, visible_network, write};
use crate::addressing;
use crate::model::device_owner;
use crate::store::entity::{
    allocation, floating_ip, network, port, port_security_group, security_group,
};
use crate::store::values::{AddressPair, AddressPairs};
use crate::store::{self, TxError, now};
use crate::views;

pub use super::port_addresses::{FixedIp, FixedIps};

/// Attributes of the request to create one.
pub const CREATE: [&str; 17] = [
    "name",
    "description",
    "project_id",
    "tenant_id",
    "network_id",
    "admin_state_up",
    "mac_address",
    "fixed_ips",
    "device_id",
    "device_owner",
    "security_groups",
    "port_security_enabled",
    "allowed_address_pairs",
    "binding:host_id",
    "binding:vnic_type",
    "binding:profile",
    "dns_name",
];
/// Attributes of the request to change one.
pub const UPDATE: [&str; 14] = [
    "name",
    "description",
    "admin_state_up",
    "mac_address",
    "fixed_ips",
    "device_id",
    "device_owner",
    "security_groups",
    "port_security_enabled",
    "allowed_address_pairs",
    "binding:host_id",
    "binding:vnic_type",
    "binding:profile",
    "dns_name",
];
/// For administrators, whatever the network.
const ADMIN: [&str; 2] = ["binding:host_id", "binding:profile"];
/// For administrators and the network's owner: they could harm others on a shared network.
const OWNER: [&str; 3] = [
    "mac_address",
    "port_security_enabled",
    "allowed_address_pairs",
];
const MAX_FIXED_IPS: usize = 5;
/// A random MAC address is taken with a chance of one in millions; so many tries mean that something else is wrong.
const MAC_TRIES: usize = 16;

/// A port to be made.
#[derive(Debug, Clone)]
pub struct NewPort {
    pub project_id: String,
    pub name: String,
    pub description: String,
    pub admin_state_up: bool,
    pub mac_address: Option<String>,
    pub fixed_ips: FixedIps,
    pub device_id: String,
    pub device_owner: String,
    pub host_id: String,
    pub vnic_type: String,
    pub profile: Value,
    pub port_security_enabled: bool,
    pub allowed_address_pairs: Vec<AddressPair>,
    pub dns_name: String,
    pub security_groups: Vec<String>,
}

impl Default for NewPort {
    fn default() -> NewPort {
        NewPort {
            project_id: String::new(),
            name: String::new(),
            description: String::new(),
            admin_state_up: true,
            mac_address: None,
            fixed_ips: FixedIps::Automatic,
            device_id: String::new(),
            device_owner: String::new(),
            host_id: String::new(),
            vnic_type: "normal".to_owned(),
            profile: json!({}),
            port_security_enabled: false,
            allowed_address_pairs: Vec::new(),
            dns_name: String::new(),
            security_groups: Vec::new(),
        }
    }
}

impl App {
    /// Ports that the caller sees. Filters with an index are taken to the database; the rest is the API's.
    pub async fn port_list(
        &self,
        caller: &RequestContext,
        query: &Query,
    ) -> Result<Vec<Value>, ApiError> {
        let mut rows = port::Entity::find()
            .order_by_asc(port::Column::CreatedAt)
            .order_by_asc(port::Column::Id);
        if !privileged(caller) {
            rows = rows.filter(port::Column::ProjectId.eq(&caller.project_id));
        }
        let filters = [
            ("id", port::Column::Id),
            ("network_id", port::Column::NetworkId),
            ("device_id", port::Column::DeviceId),
            ("project_id", port::Column::ProjectId),
        ];
        for (name, column) in filters {
            let wanted: Vec<String> = query.all(name).map(str::to_owned).collect();
            if !wanted.is_empty() {
                rows = rows.filter(column.is_in(wanted));
            }
        }
        self.port_views(rows.all(&self.db).await?).await
    }

    pub async fn port_show(&self, caller: &RequestContext, id: &str) -> Result<Value, ApiError> {
        let found = port::Entity::find_by_id(id).one(&self.db).await?;
        let row = found.ok_or_else(|| faults::not_found("port", id))?;
        if !owns(caller, &row.project_id) {
            let network = network::Entity::find_by_id(&row.network_id)
                .one(&self.db)
                .await?;
            if !network.is_some_and(|network| owns(caller, &network.project_id)) {
                return Err(faults::not_found("port", id));
            }
        }
        Ok(self.port_views(vec![row]).await?.remove(0))
    }

    async fn port_views(&self, rows: Vec<port::Model>) -> Result<Vec<Value>, ApiError> {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let addresses = store::allocations(&self.db, &ids).await?;
        let groups = store::groups_of_ports(&self.db, &ids).await?;
        let tags = store::tags(&self.db, &ids).await?;
        let domain = &self.config.network.dns_domain;
        Ok(rows
            .iter()
            .map(|row| {
                let addresses = addresses.get(&row.id).map_or(&[][..], Vec::as_slice);
                let groups = groups.get(&row.id).map_or(&[][..], Vec::as_slice);
                views::port(
                    row,
                    addresses,
                    groups,
                    tags.get(&row.id).map_or(&[][..], Vec::as_slice),
                    domain,
                )
            })
            .collect())
    }

    pub async fn port_create(
        &self,
        caller: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let project = owner(caller, attributes, "port")?;
        let network_id = attributes.required_id("network_id")?;
        let made: Result<port::Model, ApiError> = write!(self, tx => {
            let network = visible_network(&tx, caller, &network_id).await?;
            if !network.shared && !owns(caller, &network.project_id) {
                return Err(faults::policy("create_port").into());
            }
            check_rights(caller, attributes, &network, "create_port")?;
            self.check_quota(&tx, &project, "port").await?;
            let new = self.decode_port(&tx, attributes, &network, &project).await?;
            self.port_insert(&tx, &network, new).await?
        });
        self.port_show(caller, &made?.id).await
    }

    async fn decode_port(
        &self,
        tx: &DatabaseTransaction,
        attributes: &Attributes,
        network: &network::Model,
        project: &str,
    ) -> Result<NewPort, TxError> {
        let secure = attributes
            .flag("port_security_enabled")?
            .unwrap_or(network.port_security_enabled);
        let device_owner = attributes.text("device_owner")?.unwrap_or_default();
        let groups = match attributes.decode::<Vec<String>>("security_groups")? {
            Some(groups) if !groups.is_empty() && !secure => return Err(security_needed().into()),
            Some(groups) => self.check_groups(tx, groups, project).await?,
            None if secure && !device_owner::is_trusted(&device_owner) => {
                vec![self.default_group(tx, project).await?]
            }
            None => Vec::new(),
        };
        Ok(NewPort {
            project_id: project.to_owned(),
            name: attributes.text("name")?.unwrap_or_default(),
            description: attributes.text("description")?.unwrap_or_default(),
            admin_state_up: attributes.flag("admin_state_up")?.unwrap_or(true),
            mac_address: mac(attributes)?,
            fixed_ips: fixed_ips(attributes)?.unwrap_or(FixedIps::Automatic),
            device_id: attributes.text("device_id")?.unwrap_or_default(),
            device_owner,
            host_id: attributes.text("binding:host_id")?.unwrap_or_default(),
            vnic_type: attributes
                .text("binding:vnic_type")?
                .unwrap_or_else(|| "normal".to_owned()),
            profile: profile(attributes)?.unwrap_or_else(|| json!({})),
            port_security_enabled: secure,
            allowed_address_pairs: pairs(attributes, secure)?.unwrap_or_default(),
            dns_name: dns_name(attributes)?.unwrap_or_default(),
            security_groups: groups,
        })
    }

    /// Writes a port with its addresses and groups.
    pub async fn port_insert(
        &self,
        tx: &DatabaseTransaction,
        network: &network::Model,
        new: NewPort,
    ) -> Result<port::Model, TxError> {
        let mac_address = choose_mac(tx, network, new.mac_address).await?;
        let time = now();
        let row = port::Model {
            id: new_id(),
            project_id: new.project_id,
            network_id: network.id.clone(),
            name: new.name,
            description: new.description,
            admin_state_up: new.admin_state_up,
            mac_address,
            device_id: new.device_id,
            status: if new.device_owner == device_owner::FLOATING_IP {
                "N/A"
            } else {
                "DOWN"
            }
            .to_owned(),
            device_owner: new.device_owner,
            host_id: new.host_id,
            vnic_type: new.vnic_type,
            profile: new.profile,
            port_security_enabled: new.port_security_enabled,
            allowed_address_pairs: AddressPairs(new.allowed_address_pairs),
            dns_name: new.dns_name,
            revision: 1,
            created_at: time.clone(),
            updated_at: time,
        };
        port::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(tx)
            .await?;
        self.allocate(tx, network, &row, new.fixed_ips).await?;
        set_groups(tx, &row.id, &new.security_groups).await?;
        Ok(row)
    }

    pub async fn port_update(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let written: Result<(), ApiError> = write!(self, tx => {
            let (mut row, network) = own_port(&tx, caller, id).await?;
            check_rights(caller, attributes, &network, "update_port")?;
            row.name = attributes.text("name")?.unwrap_or(row.name);
            row.description = attributes.text("description")?.unwrap_or(row.description);
            row.admin_state_up = attributes.flag("admin_state_up")?.unwrap_or(row.admin_state_up);
            row.device_id = nullable(attributes, "device_id")?.unwrap_or(row.device_id);
            row.device_owner = nullable(attributes, "device_owner")?.unwrap_or(row.device_owner);
            row.host_id = nullable(attributes, "binding:host_id")?.unwrap_or(row.host_id);
            row.vnic_type = attributes.text("binding:vnic_type")?.unwrap_or(row.vnic_type);
            row.dns_name = dns_name(attributes)?.unwrap_or(row.dns_name);
            if attributes.has("binding:profile") {
                row.profile = profile(attributes)?.unwrap_or_else(|| json!({}));
            }
            if let Some(wanted) = mac(attributes)?.filter(|wanted| *wanted != row.mac_address) {
                if !row.host_id.is_empty() && !row.device_owner.is_empty() {
                    let message = format!("Unable to complete operation on port {id}, port is already bound, port type: ovs, old_mac {}, new_mac {wanted}.", row.mac_address);
                    return Err(ApiError::conflict("PortBound", message).into());
                }
                row.mac_address = choose_mac(&tx, &network, Some(wanted)).await?;
            }
            row.port_security_enabled = attributes.flag("port_security_enabled")?.unwrap_or(row.port_security_enabled);
            if let Some(pairs) = pairs(attributes, row.port_security_enabled)? {
                row.allowed_address_pairs = AddressPairs(pairs);
            }
            if let Some(groups) = attributes.decode::<Vec<String>>("security_groups")? {
                if !groups.is_empty() && !row.port_security_enabled {
                    return Err(security_needed().into());
                }
                let groups = self.check_groups(&tx, groups, &row.project_id).await?;
                set_groups(&tx, id, &groups).await?;
            } else if attributes.has("security_groups") {
                set_groups(&tx, id, &[]).await?;
            } else if !row.port_security_enabled && !store::groups_of_ports(&tx, &[id.to_owned()]).await?.is_empty() {
                let message = format!("Port {id} has security groups; remove them before port security is turned off.");
                return Err(ApiError::conflict("PortSecurityPortHasSecurityGroup", message).into());
            }
            if let Some(FixedIps::Exactly(wanted)) = fixed_ips(attributes)? {
                self.reallocate(&tx, &network, &row, wanted).await?;
            }
            store::save_port(&tx, row).await?;
        });
        written?;
        self.port_show(caller, id).await
    }

    pub async fn port_delete(&self, caller: &RequestContext, id: &str) -> Result<(), ApiError> {
        write!(self, tx => {
            let (row, _) = own_port(&tx, caller, id).await?;
            let ours = [device_owner::ROUTER_INTERFACE, device_owner::ROUTER_GATEWAY, device_owner::FLOATING_IP];
            if ours.contains(&row.device_owner.as_str()) {
                let message = format!("Port {id} cannot be deleted directly via the port API: has device owner {}.", row.device_owner);
                return Err(ApiError::conflict("ServicePortInUse", message).into());
            }
            self.remove_port(&tx, row).await?;
        })
    }

    /// Deletes a port whatever it is for; floating IPs that led to it are free again.
    pub async fn remove_port(
        &self,
        tx: &DatabaseTransaction,
        row: port::Model,
    ) -> Result<(), TxError> {
        let floating = floating_ip::Entity::find()
            .filter(floating_ip::Column::PortId.eq(&row.id))
            .all(tx)
            .await?;
        for mut floating in floating {
            (
                floating.port_id,
                floating.fixed_ip_address,
                floating.router_id,
            ) = (None, None, None);
            store::save_floating_ip(tx, floating).await?;
        }
        allocation::Entity::delete_many()
            .filter(allocation::Column::PortId.eq(&row.id))
            .exec(tx)
            .await?;
        port_security_group::Entity::delete_many()
            .filter(port_security_group::Column::PortId.eq(&row.id))
            .exec(tx)
            .await?;
        row.delete(tx).await?;
        Ok(())
    }

    /// Groups that exist and that the project may use, each once.
    async fn check_groups(
        &self,
        tx: &DatabaseTransaction,
        mut groups: Vec<String>,
        project: &str,
    ) -> Result<Vec<String>, TxError> {
        groups.sort();
        groups.dedup();
        for id in &groups {
            let found = security_group::Entity::find_by_id(id).one(tx).await?;
            if found.is_none_or(|group| group.project_id != project) {
                return Err(faults::not_found("security_group", id).into());
            }
        }
        Ok(groups)
    }
}

/// A port that the caller may change, with its network.
pub async fn own_port(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    id: &str,
) -> Result<(port::Model, network::Model), TxError> {
    let found = port::Entity::find_by_id(id).one(tx).await?;
    let row = found.ok_or_else(|| faults::not_found("port", id))?;
    let network = network::Entity::find_by_id(&row.network_id).one(tx).await?;
    let network = network.ok_or_else(|| faults::not_found("network", &row.network_id))?;
    if owns(caller, &row.project_id) || owns(caller, &network.project_id) {
        Ok((row, network))
    } else {
        Err(faults::not_found("port", id).into())
    }
}

fn check_rights(
    caller: &RequestContext,
    attributes: &Attributes,
    network: &network::Model,
    action: &str,
) -> Result<(), ApiError> {
    super::admin_only(caller, attributes, action, &ADMIN)?;
    if owns(caller, &network.project_id) {
        return Ok(());
    }
    super::admin_only(caller, attributes, action, &OWNER)?;
    let chosen = attributes
        .decode::<Vec<FixedIp>>("fixed_ips")?
        .unwrap_or_default();
    if chosen.iter().any(|one| one.ip_address.is_some()) {
        return Err(faults::policy(&format!("{action}:fixed_ips:ip_address")));
    }
    let trusted = attributes
        .text("device_owner")?
        .is_some_and(|owner| device_owner::is_trusted(&owner));
    if trusted {
        Err(faults::policy(&format!("{action}:device_owner")))
    } else {
        Ok(())
    }
}

async fn set_groups(
    tx: &DatabaseTransaction,
    port: &str,
    groups: &[String],
) -> Result<(), TxError> {
    port_security_group::Entity::delete_many()
        .filter(port_security_group::Column::PortId.eq(port))
        .exec(tx)
        .await?;
    for group in groups {
        let row = port_security_group::Model {
            port_id: port.to_owned(),
            security_group_id: group.clone(),
        };
        port_security_group::Entity::insert(row.into_active_model())
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

async fn choose_mac(
    tx: &DatabaseTransaction,
    network: &network::Model,
    wanted: Option<String>,
) -> Result<String, TxError> {
    let taken = async |mac: &str| -> Result<bool, TxError> {
        let query = port::Entity::find()
            .filter(port::Column::NetworkId.eq(&network.id))
            .filter(port::Column::MacAddress.eq(mac));
        Ok(query.one(tx).await?.is_some())
    };
    if let Some(mac) = wanted {
        if taken(&mac).await? {
            let message = format!(
                "Unable to complete operation for network {}. The mac address {mac} is in use.",
                network.id
            );
            return Err(ApiError::conflict("MacAddressInUse", message).into());
        }
        return Ok(mac);
    }
    for _ in 0..MAC_TRIES {
        let mac = addressing::random_mac();
        if !taken(&mac).await? {
            return Ok(mac);
        }
    }
    Err(ApiError::unavailable(format!(
        "Unable to generate unique mac on network {}.",
        network.id
    ))
    .into())
}

fn mac(attributes: &Attributes) -> Result<Option<String>, ApiError> {
    let wrong = |text: &str| {
        faults::invalid(
            "mac_address",
            format!("'{text}' is not a valid MAC address."),
        )
    };
    attributes
        .text("mac_address")?
        .map(|text| addressing::normal_mac(&text).ok_or_else(|| wrong(&text)))
        .transpose()
}

fn fixed_ips(attributes: &Attributes) -> Result<Option<FixedIps>, ApiError> {
    let Some(list) = attributes.decode::<Vec<FixedIp>>("fixed_ips")? else {
        return Ok(None);
    };
    if list.len() > MAX_FIXED_IPS {
        return Err(faults::invalid_input(
            "Exceeded maximum amount of fixed ips per port",
        ));
    }
    if list
        .iter()
        .any(|one| one.subnet_id.is_none() && one.ip_address.is_none())
    {
        return Err(faults::invalid_input(
            "IP allocation requires subnet_id or ip_address",
        ));
    }
    Ok(Some(FixedIps::Exactly(list)))
}

fn profile(attributes: &Attributes) -> Result<Option<Value>, ApiError> {
    match attributes.raw("binding:profile") {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(_)) => Ok(Some(value.clone())),
        Some(other) => Err(faults::invalid(
            "binding:profile",
            format!("'{other}' is not a dictionary."),
        )),
    }
}

fn pairs(attributes: &Attributes, secure: bool) -> Result<Option<Vec<AddressPair>>, ApiError> {
    let Some(mut pairs) = attributes.decode::<Vec<AddressPair>>("allowed_address_pairs")? else {
        return Ok(None);
    };
    if !pairs.is_empty() && !secure {
        let message =
            "Port Security must be enabled in order to have allowed address pairs on a port.";
        return Err(ApiError::conflict(
            "AddressPairAndPortSecurityRequired",
            message,
        ));
    }
    for pair in &mut pairs {
        if pair.ip_address.parse::<ipnetwork::IpNetwork>().is_err() {
            return Err(faults::invalid(
                "allowed_address_pairs",
                format!("'{}' is not a valid IP subnet.", pair.ip_address),
            ));
        }
        if let Some(text) = &pair.mac_address {
            let mac = addressing::normal_mac(text);
            pair.mac_address = Some(mac.ok_or_else(|| {
                faults::invalid(
                    "allowed_address_pairs",
                    format!("'{text}' is not a valid MAC address."),
                )
            })?);
        }
    }
    Ok(Some(pairs))
}

/// A name of RFC 1123: it becomes a record of OVN's DNS.
fn dns_name(attributes: &Attributes) -> Result<Option<String>, ApiError> {
    let Some(name) = attributes.text("dns_name")? else {
        return Ok(None);
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.is_empty() || name.trim_end_matches('.').split('.').all(label) {
        Ok(Some(name))
    } else {
        Err(faults::invalid(
            "dns_name",
            format!("'{name}' not a valid PQDN or FQDN."),
        ))
    }
}

/// A text that null empties.
fn nullable(attributes: &Attributes, name: &str) -> Result<Option<String>, ApiError> {
    Ok(attributes
        .nullable_text(name)?
        .map(Option::unwrap_or_default))
}

fn security_needed() -> ApiError {
    let message = "Port security must be enabled and port must have an IP address in order to use security groups.";
    ApiError::bad_request("PortSecurityAndIPRequiredForSecurityGroups", message)
}
