//! Networks, subnets and ports: logical switches, their ports, DHCP options and DNS records.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Index, device_owner};
use crate::ovn::rows::{Column, Desired, RowKey, map, optional, value};
use crate::store::entity::{network, port, subnet};

use super::{Settings, named};

/// The metadata service's address, in each network.
const METADATA_ADDRESS: &str = "169.254.169.254/32";
const LEASE_SECONDS: &str = "43200";

pub fn translate(index: &Index<'_>, settings: &Settings, desired: &mut Desired) {
    for subnet in &index.topology.subnets {
        dhcp_options(index, settings, subnet, desired);
    }
    for network in &index.topology.networks {
        let mut ports = Vec::new();
        if let Some(physical) = &network.physical_network {
            ports.push(provider_port(network, physical, desired));
        }
        for port in index
            .ports_of
            .get(network.id.as_str())
            .into_iter()
            .flatten()
        {
            // A floating IP's port only keeps its address; NAT answers for it.
            if port.device_owner != device_owner::FLOATING_IP {
                ports.push(switch_port(index, settings, port, desired));
            }
        }
        let names = [
            ("neutron:network_name", network.name.as_str()),
            ("neutron:mtu", &network.mtu.to_string()),
        ];
        let records = dns_records(index, settings, network, desired);
        let columns = vec![
            ("name", value(named(&network.id))),
            ("ports", Column::References(ports)),
            ("dns_records", Column::References(records)),
        ];
        desired.add("Logical_Switch", &network.id, &names, columns);
    }
}

/// The way out to a physical network: each chassis with a bridge for it plugs this port there.
fn provider_port(network: &network::Model, physical: &str, desired: &mut Desired) -> RowKey {
    let tag = network
        .segmentation_id
        .filter(|_| network.network_type == "vlan");
    let options = map([
        ("network_name", physical.to_owned()),
        ("localnet_learn_fdb", "false".into()),
    ]);
    let columns = vec![
        ("name", value(format!("provnet-{}", network.id))),
        ("type", value("localnet")),
        ("addresses", value("unknown")),
        ("options", value(options)),
        ("tag", optional(tag.map(i64::from))),
    ];
    desired.add(
        "Logical_Switch_Port",
        format!("provnet/{}", network.id),
        &[],
        columns,
    )
}

fn switch_port(
    index: &Index<'_>,
    settings: &Settings,
    port: &port::Model,
    desired: &mut Desired,
) -> RowKey {
    let names = [
        ("neutron:port_name", port.name.as_str()),
        ("neutron:device_id", &port.device_id),
        ("neutron:device_owner", &port.device_owner),
        ("neutron:network_name", &named(&port.network_id)),
    ];
    let mut columns = vec![
        ("name", value(port.id.as_str())),
        ("enabled", value(port.admin_state_up)),
    ];
    match port.device_owner.as_str() {
        device_owner::ROUTER_INTERFACE | device_owner::ROUTER_GATEWAY => {
            let mut options = map([("router-port", format!("lrp-{}", port.id))]);
            if port.device_owner == device_owner::ROUTER_GATEWAY {
                // Announce the router's NAT addresses on the wire when the gateway moves to another chassis.
                options.insert("nat-addresses".into(), "router".into());
            }
            columns.extend([
                ("type", value("router")),
                ("addresses", value("router")),
                ("options", value(options)),
            ]);
        }
        _ => columns.extend(plug(index, settings, port)),
    }
    desired.add("Logical_Switch_Port", &port.id, &names, columns)
}

/// Columns of a port that a guest, or the metadata service, is plugged to.
fn plug(index: &Index<'_>, settings: &Settings, port: &port::Model) -> Vec<(&'static str, Column)> {
    let addresses = index.addresses(&port.id);
    let mut own = port.mac_address.clone();
    for address in addresses {
        own.push_str(&format!(" {}", address.ip));
    }
    let metadata = port.device_owner == device_owner::METADATA;
    let guarded = port.port_security_enabled && !device_owner::is_trusted(&port.device_owner);
    let mut all = vec![own.clone()];
    let mut allowed = Vec::new();
    if guarded {
        allowed = allowed_addresses(port, own);
        // OVN sends unknown destinations to ports with "unknown" only: extra MAC addresses need it.
        if port.allowed_address_pairs.0.iter().any(|pair| {
            pair.mac_address
                .as_ref()
                .is_some_and(|mac| *mac != port.mac_address)
        }) {
            all.push("unknown".to_owned());
        }
    } else if !metadata {
        all.push("unknown".to_owned());
    }
    let dhcp = |version: i32| {
        let served = addresses
            .iter()
            .find(|address| address.subnet.ip_version == version && serves_dhcp(address.subnet));
        let key = served.filter(|_| !metadata).map(|address| RowKey {
            table: "DHCP_Options",
            key: address.subnet.id.clone(),
        });
        Column::References(key.into_iter().collect())
    };
    vec![
        ("type", value(if metadata { "localport" } else { "" })),
        ("addresses", value(all)),
        ("port_security", value(allowed)),
        ("dhcpv4_options", dhcp(4)),
        ("dhcpv6_options", dhcp(6)),
        ("options", value(binding(settings, port))),
    ]
}

/// Own address first, then the extra ones, one entry a MAC address.
fn allowed_addresses(port: &port::Model, own: String) -> Vec<String> {
    let mut by_mac: BTreeMap<&str, String> = BTreeMap::from([(port.mac_address.as_str(), own)]);
    for pair in &port.allowed_address_pairs.0 {
        let mac = pair.mac_address.as_deref().unwrap_or(&port.mac_address);
        let entry = by_mac.entry(mac).or_insert_with(|| mac.to_owned());
        entry.push_str(&format!(" {}", pair.ip_address));
    }
    by_mac.into_values().collect()
}

/// Which chassis may plug the port. A host that OVN does not know is not asked for: naming it would keep the
/// port from being plugged anywhere.
fn binding(settings: &Settings, port: &port::Model) -> BTreeMap<String, String> {
    let find = |host: &str| {
        settings
            .chassis
            .iter()
            .find(|chassis| chassis.is_host(host))
            .map(|chassis| chassis.name.clone())
    };
    let Some(here) = find(&port.host_id) else {
        return BTreeMap::new();
    };
    match port
        .profile
        .get("migrating_to")
        .and_then(|host| find(host.as_str()?))
    {
        Some(there) => map([
            ("requested-chassis", format!("{here},{there}")),
            ("activation-strategy", "rarp".into()),
        ]),
        None => map([("requested-chassis", here)]),
    }
}

/// IPv6 guests that make their own addresses are told what else they need by the router's advertisements.
fn serves_dhcp(subnet: &subnet::Model) -> bool {
    subnet.enable_dhcp && subnet.ipv6_address_mode.as_deref() != Some("slaac")
}

fn dhcp_options(
    index: &Index<'_>,
    settings: &Settings,
    subnet: &subnet::Model,
    desired: &mut Desired,
) {
    let Some(network) = index
        .networks
        .get(subnet.network_id.as_str())
        .filter(|_| serves_dhcp(subnet))
    else {
        return;
    };
    let options = if subnet.ip_version == 4 {
        v4_options(index, settings, network, subnet)
    } else {
        v6_options(settings, network, subnet)
    };
    let columns = vec![
        ("cidr", value(subnet.cidr.as_str())),
        ("options", value(options)),
    ];
    desired.add(
        "DHCP_Options",
        &subnet.id,
        &[("subnet_id", &subnet.id)],
        columns,
    );
}

fn v4_options(
    index: &Index<'_>,
    settings: &Settings,
    network: &network::Model,
    subnet: &subnet::Model,
) -> BTreeMap<String, String> {
    let metadata = index
        .metadata_port(&network.id)
        .into_iter()
        .flat_map(|port| index.addresses(&port.id));
    let metadata = metadata
        .filter(|address| address.subnet.id == subnet.id)
        .map(|address| address.ip.to_string())
        .next();
    let mut options = map([
        ("lease_time", LEASE_SECONDS.into()),
        ("server_mac", server_mac(subnet)),
        ("mtu", network.mtu.to_string()),
    ]);
    // Without a gateway the metadata port's address serves as the server's identifier: it is nobody else's.
    let server = subnet.gateway_ip.clone().or_else(|| metadata.clone());
    options.insert(
        "server_id".into(),
        server.unwrap_or_else(|| "169.254.169.253".into()),
    );
    let mut routes: Vec<String> = metadata
        .iter()
        .map(|hop| format!("{METADATA_ADDRESS},{hop}"))
        .collect();
    routes.extend(
        subnet
            .host_routes
            .0
            .iter()
            .map(|route| format!("{},{}", route.destination, route.nexthop)),
    );
    if let Some(gateway) = &subnet.gateway_ip {
        options.insert("router".into(), gateway.clone());
        // RFC 3442: a client that takes classless routes ignores the router option.
        routes.push(format!("0.0.0.0/0,{gateway}"));
    }
    if !routes.is_empty() {
        options.insert(
            "classless_static_route".into(),
            format!("{{{}}}", routes.join(", ")),
        );
    }
    let servers = dns_servers(settings, subnet);
    if !servers.is_empty() {
        options.insert("dns_server".into(), format!("{{{}}}", servers.join(", ")));
    }
    let domain = domain(settings, network);
    if !domain.is_empty() {
        options.insert("domain_name".into(), format!("\"{domain}\""));
    }
    options
}

fn v6_options(
    settings: &Settings,
    network: &network::Model,
    subnet: &subnet::Model,
) -> BTreeMap<String, String> {
    let mut options = map([("server_id", server_mac(subnet))]);
    if subnet.ipv6_address_mode.as_deref() == Some("dhcpv6-stateless") {
        options.insert("dhcpv6_stateless".into(), "true".into());
    }
    let servers = dns_servers(settings, subnet);
    if !servers.is_empty() {
        options.insert("dns_server".into(), format!("{{{}}}", servers.join(", ")));
    }
    let domain = domain(settings, network);
    if !domain.is_empty() {
        options.insert("domain_search".into(), format!("\"{domain}\""));
    }
    options
}

fn dns_servers(settings: &Settings, subnet: &subnet::Model) -> Vec<String> {
    if !subnet.dns_nameservers.0.is_empty() {
        return subnet.dns_nameservers.0.clone();
    }
    let fits = |server: &&IpAddr| server.is_ipv4() == (subnet.ip_version == 4);
    settings
        .dns_servers
        .iter()
        .filter(fits)
        .map(IpAddr::to_string)
        .collect()
}

fn domain<'a>(settings: &'a Settings, network: &'a network::Model) -> &'a str {
    if network.dns_domain.is_empty() {
        &settings.dns_domain
    } else {
        network.dns_domain.trim_end_matches('.')
    }
}

/// The MAC address that OVN's DHCP server answers from: any, but always the same for a subnet.
fn server_mac(subnet: &subnet::Model) -> String {
    let digits: Vec<char> = subnet
        .id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .rev()
        .take(6)
        .collect();
    let pairs: Vec<String> = digits
        .chunks(2)
        .map(|pair| pair.iter().collect::<String>().to_lowercase())
        .collect();
    format!("fa:16:3e:{}", pairs.join(":"))
}

/// Guests find each other by the names that compute gave their ports.
fn dns_records(
    index: &Index<'_>,
    settings: &Settings,
    network: &network::Model,
    desired: &mut Desired,
) -> Vec<RowKey> {
    let mut records = BTreeMap::new();
    for port in index
        .ports_of
        .get(network.id.as_str())
        .into_iter()
        .flatten()
    {
        let ips: Vec<String> = index
            .addresses(&port.id)
            .iter()
            .map(|address| address.ip.to_string())
            .collect();
        if port.dns_name.is_empty() || ips.is_empty() {
            continue;
        }
        let name = port.dns_name.to_lowercase();
        let domain = domain(settings, network);
        if !domain.is_empty() {
            records.insert(format!("{name}.{domain}"), ips.join(" "));
        }
        records.insert(name, ips.join(" "));
    }
    if records.is_empty() {
        return Vec::new();
    }
    vec![desired.add(
        "DNS",
        &network.id,
        &[("ls_name", &named(&network.id))],
        vec![("records", value(records))],
    )]
}
