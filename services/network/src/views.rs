//! How resources look on the wire. Pure: rows in, JSON out.

use serde_json::{Value, json};

use crate::model::Chassis;
use crate::store::entity::{
    allocation, floating_ip, network, port, router, security_group, security_group_rule, subnet,
};

/// Attributes that only administrators see; removed by [`for_user`].
const ADMIN_ONLY: [&str; 8] = [
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
    "binding:host_id",
    "binding:profile",
    "binding:vif_details",
    "binding:vif_type",
    "resource_request",
];

/// What is left of a resource for somebody who is no administrator.
pub fn for_user(mut view: Value) -> Value {
    if let Some(map) = view.as_object_mut() {
        map.retain(|name, _| !ADMIN_ONLY.contains(&name.as_str()));
    }
    view
}

pub fn network(row: &network::Model, subnets: &[String], tags: &[String]) -> Value {
    json!({
        "id": row.id, "name": row.name, "description": row.description,
        "project_id": row.project_id, "tenant_id": row.project_id,
        "admin_state_up": row.admin_state_up, "status": if row.admin_state_up { "ACTIVE" } else { "DOWN" },
        "shared": row.shared, "router:external": row.external, "is_default": row.is_default,
        "mtu": row.mtu, "port_security_enabled": row.port_security_enabled, "dns_domain": row.dns_domain,
        "subnets": subnets, "availability_zone_hints": [], "availability_zones": ["nova"],
        "ipv4_address_scope": null, "ipv6_address_scope": null, "l2_adjacency": true, "qos_policy_id": null,
        "provider:network_type": row.network_type, "provider:physical_network": row.physical_network,
        "provider:segmentation_id": row.segmentation_id, "vlan_transparent": null,
        "tags": tags, "revision_number": row.revision, "created_at": row.created_at, "updated_at": row.updated_at,
    })
}

pub fn subnet(row: &subnet::Model, tags: &[String]) -> Value {
    json!({
        "id": row.id, "name": row.name, "description": row.description, "network_id": row.network_id,
        "project_id": row.project_id, "tenant_id": row.project_id,
        "ip_version": row.ip_version, "cidr": row.cidr, "gateway_ip": row.gateway_ip, "enable_dhcp": row.enable_dhcp,
        "ipv6_ra_mode": row.ipv6_ra_mode, "ipv6_address_mode": row.ipv6_address_mode,
        "allocation_pools": row.allocation_pools, "dns_nameservers": row.dns_nameservers, "host_routes": row.host_routes,
        "subnetpool_id": null, "service_types": [], "segment_id": null, "dns_publish_fixed_ip": false,
        "tags": tags, "revision_number": row.revision, "created_at": row.created_at, "updated_at": row.updated_at,
    })
}

pub fn port(
    row: &port::Model,
    addresses: &[allocation::Model],
    groups: &[String],
    tags: &[String],
    domain: &str,
) -> Value {
    let fixed: Vec<Value> = addresses
        .iter()
        .map(|one| json!({"subnet_id": one.subnet_id, "ip_address": one.ip_address}))
        .collect();
    let names: Vec<Value> = addresses
        .iter()
        .map(|one| dns_assignment(row, &one.ip_address, domain))
        .collect();
    let pairs: Vec<Value> = row.allowed_address_pairs.0.iter().map(|pair| {
        json!({"ip_address": pair.ip_address, "mac_address": pair.mac_address.as_deref().unwrap_or(&row.mac_address)})
    }).collect();
    let bound = !row.host_id.is_empty();
    let details = if bound {
        json!({"port_filter": true, "connectivity": "l2", "bridge_name": "br-int", "datapath_type": "system", "bound_drivers": {"0": "ovn"}})
    } else {
        json!({})
    };
    json!({
        "id": row.id, "name": row.name, "description": row.description, "network_id": row.network_id,
        "project_id": row.project_id, "tenant_id": row.project_id,
        "admin_state_up": row.admin_state_up, "status": row.status, "mac_address": row.mac_address,
        "fixed_ips": fixed, "device_id": row.device_id, "device_owner": row.device_owner,
        "security_groups": groups, "port_security_enabled": row.port_security_enabled, "allowed_address_pairs": pairs,
        "binding:host_id": row.host_id, "binding:vnic_type": row.vnic_type, "binding:profile": row.profile,
        "binding:vif_type": if bound { "ovs" } else { "unbound" }, "binding:vif_details": details,
        "dns_name": row.dns_name, "dns_assignment": names, "dns_domain": "", "extra_dhcp_opts": [],
        "qos_policy_id": null, "qos_network_policy_id": null, "resource_request": null, "ip_allocation": "immediate",
        "propagate_uplink_status": true,
        "tags": tags, "revision_number": row.revision, "created_at": row.created_at, "updated_at": row.updated_at,
    })
}

/// The names under which OVN's DNS knows an address.
fn dns_assignment(row: &port::Model, ip: &str, domain: &str) -> Value {
    let own = if row.dns_name.is_empty() {
        format!("host-{}", ip.replace(['.', ':'], "-"))
    } else {
        row.dns_name.clone()
    };
    json!({"ip_address": ip, "hostname": own, "fqdn": format!("{own}.{domain}.")})
}

/// What is shown of a router's gateway.
pub struct Gateway {
    pub network_id: String,
    pub addresses: Vec<allocation::Model>,
}

pub fn router(row: &router::Model, gateway: Option<&Gateway>, tags: &[String]) -> Value {
    let gateway = gateway.map(|gateway| {
        let fixed: Vec<Value> = gateway.addresses.iter().map(|one| json!({"subnet_id": one.subnet_id, "ip_address": one.ip_address})).collect();
        json!({"network_id": gateway.network_id, "external_fixed_ips": fixed, "enable_snat": row.enable_snat})
    });
    json!({
        "id": row.id, "name": row.name, "description": row.description,
        "project_id": row.project_id, "tenant_id": row.project_id,
        "admin_state_up": row.admin_state_up, "status": "ACTIVE", "external_gateway_info": gateway, "routes": row.routes,
        "distributed": false, "ha": true, "flavor_id": null, "availability_zone_hints": [], "availability_zones": [],
        "tags": tags, "revision_number": row.revision, "created_at": row.created_at, "updated_at": row.updated_at,
    })
}

pub fn floating_ip(row: &floating_ip::Model, port: Option<&port::Model>, tags: &[String]) -> Value {
    let details = port.map(|port| {
        json!({"name": port.name, "network_id": port.network_id, "mac_address": port.mac_address,
            "admin_state_up": port.admin_state_up, "status": port.status,
            "device_id": port.device_id, "device_owner": port.device_owner})
    });
    json!({
        "id": row.id, "description": row.description, "project_id": row.project_id, "tenant_id": row.project_id,
        "floating_network_id": row.floating_network_id, "floating_ip_address": row.floating_ip_address,
        "port_id": row.port_id, "fixed_ip_address": row.fixed_ip_address, "router_id": row.router_id,
        "status": if row.port_id.is_some() { "ACTIVE" } else { "DOWN" }, "port_details": details,
        "port_forwardings": [], "dns_name": "", "dns_domain": "", "qos_policy_id": null,
        "tags": tags, "revision_number": row.revision, "created_at": row.created_at, "updated_at": row.updated_at,
    })
}

pub fn security_group(
    row: &security_group::Model,
    rules: &[&security_group_rule::Model],
    tags: &[String],
) -> Value {
    let rules: Vec<Value> = rules.iter().map(|rule| security_group_rule(rule)).collect();
    json!({
        "id": row.id, "name": row.name, "description": row.description,
        "project_id": row.project_id, "tenant_id": row.project_id,
        "stateful": row.stateful, "shared": false, "security_group_rules": rules,
        "tags": tags, "revision_number": row.revision, "created_at": row.created_at, "updated_at": row.updated_at,
    })
}

pub fn security_group_rule(row: &security_group_rule::Model) -> Value {
    json!({
        "id": row.id, "description": row.description, "project_id": row.project_id, "tenant_id": row.project_id,
        "security_group_id": row.security_group_id, "direction": row.direction, "ethertype": row.ethertype,
        "protocol": row.protocol, "port_range_min": row.port_range_min, "port_range_max": row.port_range_max,
        "remote_ip_prefix": row.remote_ip_prefix, "normalized_cidr": row.remote_ip_prefix,
        "remote_group_id": row.remote_group_id, "remote_address_group_id": null,
        "tags": [], "revision_number": 0, "created_at": row.created_at, "updated_at": row.created_at,
    })
}

/// A chassis as an agent of OVN's, under upstream's names.
pub fn agent(chassis: &Chassis, heartbeat: &str) -> Value {
    let kind = if chassis.gateway {
        "OVN Controller Gateway agent"
    } else {
        "OVN Controller agent"
    };
    let mappings: serde_json::Map<String, Value> = chassis
        .physical_networks
        .iter()
        .map(|name| (name.clone(), json!("")))
        .collect();
    json!({
        "id": chassis.name, "agent_type": kind, "binary": "ovn-controller", "host": chassis.hostname,
        "alive": chassis.alive, "admin_state_up": true, "topic": "n/a", "availability_zone": "",
        "description": "", "resources_synced": null, "resource_versions": null,
        "created_at": heartbeat, "started_at": heartbeat, "heartbeat_timestamp": heartbeat,
        "configurations": {"chassis_name": chassis.name, "bridge-mappings": mappings},
    })
}
