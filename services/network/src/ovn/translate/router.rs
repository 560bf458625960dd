//! Routers: their ports, the default route, SNAT, floating IPs, and which chassis may hold the gateway.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::model::{Address, Index, device_owner};
use crate::ovn::rows::{Column, Desired, RowKey, map, value};
use crate::store::entity::{port, router};

use super::{Settings, named};

/// A gateway is given to this many chassis at most, as upstream does; BFD between them decides who serves.
const GATEWAY_CHASSIS: usize = 5;

pub fn translate(index: &Index<'_>, settings: &Settings, desired: &mut Desired) {
    for router in &index.topology.routers {
        let gateway = router
            .gateway_port_id
            .as_deref()
            .and_then(|id| index.ports.get(id).copied());
        let interfaces = index
            .topology
            .router_interfaces
            .iter()
            .filter(|interface| interface.router_id == router.id);
        let mut legs: Vec<&port::Model> = interfaces
            .filter_map(|leg| index.ports.get(leg.port_id.as_str()).copied())
            .collect();
        // A port with two subnets is one leg.
        legs.sort_by(|one, other| one.id.cmp(&other.id));
        legs.dedup_by(|one, other| one.id == other.id);

        let mut ports: Vec<RowKey> = legs
            .iter()
            .map(|leg| router_port(index, leg, Vec::new(), desired))
            .collect();
        if let Some(gateway) = gateway {
            let chassis = gateway_chassis(index, settings, router, gateway, desired);
            ports.push(router_port(index, gateway, chassis, desired));
        }
        let routes = routes(index, router, gateway, desired);
        let nat = gateway
            .map(|gateway| nat(index, router, gateway, &legs, desired))
            .unwrap_or_default();
        let options = map([
            ("always_learn_from_arp_request", "false".into()),
            ("dynamic_neigh_routers", "true".into()),
        ]);
        let columns = vec![
            ("name", value(named(&router.id))),
            ("enabled", value(router.admin_state_up)),
            ("ports", Column::References(ports)),
            ("static_routes", Column::References(routes)),
            ("nat", Column::References(nat)),
            ("options", value(options)),
        ];
        desired.add(
            "Logical_Router",
            &router.id,
            &[("neutron:router_name", &router.name)],
            columns,
        );
    }
}

fn router_port(
    index: &Index<'_>,
    port: &port::Model,
    chassis: Vec<RowKey>,
    desired: &mut Desired,
) -> RowKey {
    let addresses = index.addresses(&port.id);
    let networks: Vec<String> = addresses
        .iter()
        .map(|address| format!("{}/{}", address.ip, address.prefix_length()))
        .collect();
    let network = index.networks.get(port.network_id.as_str());
    let mut options = BTreeMap::new();
    let inside = port.device_owner == device_owner::ROUTER_INTERFACE;
    if inside && network.is_some_and(|network| network.network_type == "vlan") {
        // East-west traffic of a VLAN network goes by the gateway's chassis; else the router's MAC address
        // would show up behind several switch ports of the physical network.
        options.insert("reside-on-redirect-chassis".to_owned(), "true".to_owned());
    }
    let advertisements = if inside {
        router_advertisements(addresses, network.map_or(1500, |network| network.mtu))
    } else {
        BTreeMap::new()
    };
    let columns = vec![
        ("name", value(format!("lrp-{}", port.id))),
        ("mac", value(port.mac_address.as_str())),
        ("networks", value(networks)),
        ("gateway_chassis", Column::References(chassis)),
        ("options", value(options)),
        ("ipv6_ra_configs", value(advertisements)),
    ];
    desired.add(
        "Logical_Router_Port",
        &port.id,
        &[("neutron:router_name", &port.device_id)],
        columns,
    )
}

fn router_advertisements(addresses: &[Address<'_>], mtu: i32) -> BTreeMap<String, String> {
    let mode = addresses
        .iter()
        .find_map(|address| address.subnet.ipv6_ra_mode.as_deref());
    let Some(mode) = mode else {
        return BTreeMap::new();
    };
    map([
        ("address_mode", mode.replace('-', "_")),
        ("send_periodic", "true".into()),
        ("mtu", mtu.to_string()),
    ])
}

/// The chassis that may hold a router's gateway, best first. Rendezvous hashing: routers spread evenly, and a
/// chassis that comes or goes moves only what must move.
///
/// A chassis that reaches no other of them holds no gateway: it takes itself for the one that is cut off
/// (`ha_chassis_group_is_active` in OVN). So of two, the one that is left would not take over: witnesses, which come
/// last, tell it that it is well.
fn gateway_chassis(
    index: &Index<'_>,
    settings: &Settings,
    router: &router::Model,
    port: &port::Model,
    desired: &mut Desired,
) -> Vec<RowKey> {
    let network = index.networks.get(port.network_id.as_str());
    let Some(physical) = network.and_then(|network| network.physical_network.as_ref()) else {
        return Vec::new();
    };
    let mut fit: Vec<_> = settings
        .chassis
        .iter()
        .filter(|chassis| chassis.gateway && chassis.physical_networks.contains(physical))
        .collect();
    fit.sort_by_key(|chassis| {
        Uuid::new_v5(
            &Uuid::NAMESPACE_OID,
            format!("{}/{}", router.id, chassis.name).as_bytes(),
        )
    });
    let best_first = fit
        .iter()
        .copied()
        .take(GATEWAY_CHASSIS)
        .zip((1..=GATEWAY_CHASSIS as i64).rev());
    let witnesses = settings
        .chassis
        .iter()
        .filter(|chassis| chassis.witness && fit.len() > 1)
        .map(|chassis| (chassis, 0));
    let rows = best_first.chain(witnesses).map(|(chassis, priority)| {
        let name = format!("lrp-{}_{}", port.id, chassis.name);
        let columns = vec![
            ("name", value(name.as_str())),
            ("chassis_name", value(chassis.name.as_str())),
            ("priority", value(priority)),
        ];
        desired.add("Gateway_Chassis", name.as_str(), &[], columns)
    });
    rows.collect()
}

fn routes(
    index: &Index<'_>,
    router: &router::Model,
    gateway: Option<&port::Model>,
    desired: &mut Desired,
) -> Vec<RowKey> {
    let mut keys = Vec::new();
    let outside = gateway
        .map(|port| index.addresses(&port.id))
        .unwrap_or_default();
    for address in outside {
        let Some(nexthop) = &address.subnet.gateway_ip else {
            continue;
        };
        let everything = if address.ip.is_ipv4() {
            "0.0.0.0/0"
        } else {
            "::/0"
        };
        let columns = vec![
            ("ip_prefix", value(everything)),
            ("nexthop", value(nexthop.as_str())),
        ];
        keys.push(desired.add(
            "Logical_Router_Static_Route",
            format!("default/{}/{everything}", router.id),
            &[],
            columns,
        ));
    }
    for route in &router.routes.0 {
        let columns = vec![
            ("ip_prefix", value(route.destination.as_str())),
            ("nexthop", value(route.nexthop.to_string())),
        ];
        let key = format!(
            "route/{}/{}/{}",
            router.id, route.destination, route.nexthop
        );
        keys.push(desired.add("Logical_Router_Static_Route", key, &[], columns));
    }
    keys
}

fn nat(
    index: &Index<'_>,
    router: &router::Model,
    gateway: &port::Model,
    legs: &[&port::Model],
    desired: &mut Desired,
) -> Vec<RowKey> {
    let mut keys = Vec::new();
    let outside = index
        .addresses(&gateway.id)
        .iter()
        .find(|address| address.ip.is_ipv4());
    if let Some(outside) = outside.filter(|_| router.enable_snat) {
        let inside: BTreeSet<&str> = legs
            .iter()
            .flat_map(|leg| index.addresses(&leg.id))
            .filter(|address| address.ip.is_ipv4())
            .map(|address| address.subnet.cidr.as_str())
            .collect();
        for cidr in inside {
            let columns = vec![
                ("type", value("snat")),
                ("external_ip", value(outside.ip.to_string())),
                ("logical_ip", value(cidr)),
            ];
            keys.push(desired.add("NAT", format!("snat/{}/{cidr}", router.id), &[], columns));
        }
    }
    for floating in &index.topology.floating_ips {
        let (Some(by), Some(fixed)) = (&floating.router_id, &floating.fixed_ip_address) else {
            continue;
        };
        if *by != router.id {
            continue;
        }
        let columns = vec![
            ("type", value("dnat_and_snat")),
            ("external_ip", value(floating.floating_ip_address.as_str())),
            ("logical_ip", value(fixed.as_str())),
        ];
        let names = [
            ("neutron:fip_id", floating.id.as_str()),
            (
                "neutron:fip_port_id",
                floating.port_id.as_deref().unwrap_or_default(),
            ),
        ];
        keys.push(desired.add("NAT", format!("floating/{}", floating.id), &names, columns));
    }
    keys
}
