//! Rules of security groups.

use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter, QueryOrder};
use serde_json::Value;
use service_kit::{ApiError, RequestContext};

use super::attributes::Attributes;
use super::security_groups::own_group;
use super::{App, faults, new_id, owns, privileged, write};
use crate::ovn::translate::protocol_number;
use crate::store::entity::{security_group, security_group_rule};
use crate::store::now;
use crate::views;

/// Attributes of the request to create one.
pub const CREATE: [&str; 12] = [
    "security_group_id",
    "description",
    "project_id",
    "tenant_id",
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
    "remote_address_group_id",
];

impl App {
    pub async fn security_rule_list(
        &self,
        caller: &RequestContext,
    ) -> Result<Vec<Value>, ApiError> {
        let mut query = security_group_rule::Entity::find()
            .order_by_asc(security_group_rule::Column::CreatedAt)
            .order_by_asc(security_group_rule::Column::Id);
        if !privileged(caller) {
            query = query.filter(security_group_rule::Column::ProjectId.eq(&caller.project_id));
        }
        Ok(query
            .all(&self.db)
            .await?
            .iter()
            .map(views::security_group_rule)
            .collect())
    }

    pub async fn security_rule_show(
        &self,
        caller: &RequestContext,
        id: &str,
    ) -> Result<Value, ApiError> {
        let found = security_group_rule::Entity::find_by_id(id)
            .one(&self.db)
            .await?;
        let row = found
            .filter(|row| owns(caller, &row.project_id))
            .ok_or_else(|| faults::not_found("security_group_rule", id))?;
        Ok(views::security_group_rule(&row))
    }

    pub async fn security_rule_create(
        &self,
        caller: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let wanted = new_rule(attributes)?;
        let made: Result<Value, ApiError> = write!(self, tx => {
            let group = own_group(&tx, caller, &wanted.security_group_id).await?;
            self.check_quota(&tx, &group.project_id, "security_group_rule").await?;
            if let Some(remote) = &wanted.remote_group_id {
                let found = security_group::Entity::find_by_id(remote).one(&tx).await?;
                if !found.is_some_and(|remote| remote.project_id == group.project_id || privileged(caller)) {
                    return Err(faults::not_found("security_group", remote).into());
                }
            }
            let of_group = security_group_rule::Column::SecurityGroupId.eq(&group.id);
            let others = security_group_rule::Entity::find().filter(of_group).all(&tx).await?;
            if let Some(same) = others.iter().find(|other| is_same(other, &wanted)) {
                let message = format!("Security group rule already exists. Rule id is {}.", same.id);
                return Err(ApiError::conflict("SecurityGroupRuleExists", message).into());
            }
            let row = security_group_rule::Model { project_id: group.project_id, ..wanted.clone() };
            let view = views::security_group_rule(&row);
            security_group_rule::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await?;
            view
        });
        made
    }

    pub async fn security_rule_delete(
        &self,
        caller: &RequestContext,
        id: &str,
    ) -> Result<(), ApiError> {
        write!(self, tx => {
            let found = security_group_rule::Entity::find_by_id(id).one(&tx).await?;
            let row = found.filter(|row| owns(caller, &row.project_id)).ok_or_else(|| faults::not_found("security_group_rule", id))?;
            row.delete(&tx).await?;
        })
    }
}

fn is_same(one: &security_group_rule::Model, other: &security_group_rule::Model) -> bool {
    let number =
        |rule: &security_group_rule::Model| rule.protocol.as_deref().and_then(protocol_number);
    (one.direction == other.direction
        && one.ethertype == other.ethertype
        && number(one) == number(other))
        && (one.port_range_min, one.port_range_max) == (other.port_range_min, other.port_range_max)
        && (&one.remote_ip_prefix, &one.remote_group_id)
            == (&other.remote_ip_prefix, &other.remote_group_id)
}

fn new_rule(attributes: &Attributes) -> Result<security_group_rule::Model, ApiError> {
    let direction = attributes.required("direction")?.to_ascii_lowercase();
    if !["ingress", "egress"].contains(&direction.as_str()) {
        return Err(faults::invalid(
            "direction",
            format!("'{direction}' is not in ['ingress', 'egress']."),
        ));
    }
    let ethertype = match attributes
        .text("ethertype")?
        .unwrap_or_else(|| "IPv4".to_owned())
        .to_ascii_lowercase()
        .as_str()
    {
        "ipv4" => "IPv4",
        "ipv6" => "IPv6",
        other => {
            return Err(faults::invalid(
                "ethertype",
                format!("'{other}' is not in ['IPv4', 'IPv6']."),
            ));
        }
    };
    let protocol = protocol(attributes, ethertype)?;
    let (min, max) = (
        attributes.integer("port_range_min")?,
        attributes.integer("port_range_max")?,
    );
    check_ports(protocol.as_deref(), min, max)?;
    let prefix = attributes
        .text("remote_ip_prefix")?
        .map(|text| normal_prefix(&text, ethertype))
        .transpose()?;
    let remote = attributes.text("remote_group_id")?;
    if prefix.is_some() && remote.is_some() {
        return Err(ApiError::bad_request(
            "SecurityGroupRemoteGroupAndRemoteIpPrefix",
            "Only remote_ip_prefix or remote_group_id may be provided.",
        ));
    }
    if attributes.text("remote_address_group_id")?.is_some() {
        return Err(faults::invalid_input(
            "address groups are not supported; use remote_ip_prefix or remote_group_id",
        ));
    }
    Ok(security_group_rule::Model {
        id: new_id(),
        project_id: String::new(),
        security_group_id: attributes.required_id("security_group_id")?,
        description: attributes.text("description")?.unwrap_or_default(),
        direction,
        ethertype: ethertype.to_owned(),
        protocol,
        port_range_min: min,
        port_range_max: max,
        remote_ip_prefix: prefix,
        remote_group_id: remote,
        created_at: now(),
    })
}

/// The protocol as it is kept: the client's word; "any" and 0 are none.
fn protocol(attributes: &Attributes, ethertype: &str) -> Result<Option<String>, ApiError> {
    let text = match attributes.raw("protocol") {
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => attributes.text("protocol")?,
    };
    let Some(text) = text
        .map(|text| text.to_ascii_lowercase())
        .filter(|text| !["", "any", "0"].contains(&text.as_str()))
    else {
        return Ok(None);
    };
    let Some(number) = protocol_number(&text) else {
        let message = format!(
            "Security group rule protocol {text} not supported. Only protocol names and numbers from 0 to 255 are."
        );
        return Err(ApiError::bad_request(
            "SecurityGroupRuleInvalidProtocol",
            message,
        ));
    };
    if number == 58 && ethertype == "IPv4" {
        let message = format!("Invalid ethertype IPv4 for protocol {text}.");
        return Err(ApiError::bad_request(
            "SecurityGroupEthertypeConflictWithProtocol",
            message,
        ));
    }
    Ok(Some(text))
}

fn check_ports(protocol: Option<&str>, min: Option<i32>, max: Option<i32>) -> Result<(), ApiError> {
    if min.is_none() && max.is_none() {
        return Ok(());
    }
    let Some(number) = protocol.and_then(protocol_number) else {
        return Err(ApiError::bad_request(
            "SecurityGroupProtocolRequiredWithPorts",
            "Must also specify protocol if port range is given.",
        ));
    };
    let sound = match number {
        6 | 17 | 132 | 33 | 136 => {
            matches!((min, max), (Some(min), Some(max)) if 1 <= min && min <= max && max <= 65535)
        }
        // ICMP: type and code.
        1 | 58 => {
            min.is_some_and(|kind| (0..=255).contains(&kind))
                && max.is_none_or(|code| (0..=255).contains(&code))
        }
        _ => false,
    };
    if sound {
        Ok(())
    } else {
        Err(ApiError::bad_request(
            "SecurityGroupInvalidPortRange",
            "For TCP/UDP protocols, port_range_min must be <= port_range_max, from 1 to 65535; for ICMP they are type and code, from 0 to 255.",
        ))
    }
}

/// The prefix without host bits, and of the rule's IP version.
fn normal_prefix(text: &str, ethertype: &str) -> Result<String, ApiError> {
    let Ok(prefix) = text.parse::<ipnetwork::IpNetwork>() else {
        return Err(faults::invalid(
            "remote_ip_prefix",
            format!("'{text}' is not a valid IP subnet."),
        ));
    };
    if prefix.is_ipv4() != (ethertype == "IPv4") {
        let message = format!("Conflicting value ethertype {ethertype} for CIDR {text}");
        return Err(ApiError::bad_request(
            "SecurityGroupRuleParameterConflict",
            message,
        ));
    }
    Ok(format!("{}/{}", prefix.network(), prefix.prefix()))
}
