//! A small cloud for tests: an external network with a router, a private network, two guests, a floating IP.

use serde_json::json;

use crate::model::{Chassis, Topology, device_owner};
use crate::store::entity::{
    allocation, floating_ip, network, port, port_security_group, router, router_interface,
    security_group, security_group_rule, subnet,
};
use crate::store::values::{Pool, Pools, Route, Routes, Strings};

use super::translate::Settings;

const TIME: &str = "2026-11-23T19:00:00Z";

/// Two gateways, of which one reaches the physical network, and a compute node.
pub fn settings() -> Settings {
    let chassis = |number: u8, gateway: bool, physical: &[&str]| Chassis {
        name: format!("chassis-{number}"),
        hostname: format!("node-{number}.domain.tld"),
        gateway,
        witness: false,
        physical_networks: physical.iter().map(|name| (*name).to_owned()).collect(),
        alive: true,
        heard_at: 0,
    };
    Settings {
        dns_servers: vec!["10.0.0.53".parse().unwrap(), "fd00::53".parse().unwrap()],
        dns_domain: "openstacklocal".into(),
        chassis: vec![
            chassis(1, true, &["physnet-app"]),
            chassis(2, true, &["other"]),
            chassis(3, false, &["physnet-app"]),
        ],
    }
}

pub fn small_cloud() -> Topology {
    Topology {
        networks: vec![
            network("net-external", "external", Some("physnet-app")),
            network("net-private", "private", None),
        ],
        subnets: vec![
            subnet(
                "5ab00001-0000-4000-8000-0000000000e1",
                "net-external",
                "172.31.0.0/24",
                "172.31.0.254",
                false,
            ),
            subnet(
                "5ab00001-0000-4000-8000-0000000000a1",
                "net-private",
                "10.1.0.0/24",
                "10.1.0.1",
                true,
            ),
            subnet(
                "5ab00001-0000-4000-8000-0000000000a6",
                "net-private",
                "fd00:1::/64",
                "fd00:1::1",
                true,
            ),
        ],
        ports: vec![
            port(
                "port-float",
                "net-external",
                device_owner::FLOATING_IP,
                "01",
            ),
            port(
                "port-gateway",
                "net-external",
                device_owner::ROUTER_GATEWAY,
                "02",
            ),
            port("port-guest1", "net-private", "compute:nova", "03"),
            port("port-guest2", "net-private", "compute:nova", "04"),
            port(
                "port-leg",
                "net-private",
                device_owner::ROUTER_INTERFACE,
                "05",
            ),
            port(
                "port-leg6",
                "net-private",
                device_owner::ROUTER_INTERFACE,
                "06",
            ),
            port("port-metadata", "net-private", device_owner::METADATA, "07"),
        ],
        allocations: vec![
            address("port-float", "e1", "172.31.0.51"),
            address("port-gateway", "e1", "172.31.0.10"),
            address("port-guest1", "a1", "10.1.0.11"),
            address("port-guest1", "a6", "fd00:1::f816:3eff:fe00:3"),
            address("port-guest2", "a1", "10.1.0.12"),
            address("port-leg", "a1", "10.1.0.1"),
            address("port-leg6", "a6", "fd00:1::1"),
            address("port-metadata", "a1", "10.1.0.2"),
        ],
        routers: vec![router::Model {
            id: "router-1".into(),
            project_id: "p1".into(),
            name: "r1".into(),
            description: String::new(),
            admin_state_up: true,
            gateway_port_id: Some("port-gateway".into()),
            enable_snat: true,
            routes: Routes(vec![Route {
                destination: "10.7.0.0/16".into(),
                nexthop: "10.1.0.12".parse().unwrap(),
            }]),
            revision: 1,
            created_at: TIME.into(),
            updated_at: TIME.into(),
        }],
        router_interfaces: vec![leg("a1", "port-leg"), leg("a6", "port-leg6")],
        floating_ips: vec![floating_ip::Model {
            id: "fip-1".into(),
            project_id: "p1".into(),
            description: String::new(),
            floating_network_id: "net-external".into(),
            floating_ip_address: "172.31.0.51".into(),
            floating_port_id: "port-float".into(),
            port_id: Some("port-guest1".into()),
            fixed_ip_address: Some("10.1.0.11".into()),
            router_id: Some("router-1".into()),
            revision: 1,
            created_at: TIME.into(),
            updated_at: TIME.into(),
        }],
        security_groups: vec![security_group::Model {
            id: "60000000-aaaa".into(),
            project_id: "p1".into(),
            name: "default".into(),
            description: String::new(),
            stateful: true,
            default_of: "p1".into(),
            revision: 1,
            created_at: TIME.into(),
            updated_at: TIME.into(),
        }],
        rules: vec![
            rule("rule-in", "ingress", Some("60000000-aaaa")),
            rule("rule-out", "egress", None),
        ],
        port_groups: ["port-guest1", "port-guest2"]
            .map(|port| port_security_group::Model {
                port_id: port.into(),
                security_group_id: "60000000-aaaa".into(),
            })
            .to_vec(),
    }
}

fn network(id: &str, name: &str, physical: Option<&str>) -> network::Model {
    network::Model {
        id: id.into(),
        project_id: "p1".into(),
        name: name.into(),
        description: String::new(),
        admin_state_up: true,
        shared: false,
        external: physical.is_some(),
        is_default: false,
        mtu: if physical.is_some() { 1500 } else { 1442 },
        port_security_enabled: true,
        dns_domain: String::new(),
        network_type: if physical.is_some() { "flat" } else { "geneve" }.into(),
        physical_network: physical.map(str::to_owned),
        segmentation_id: physical.is_none().then_some(7),
        revision: 1,
        created_at: TIME.into(),
        updated_at: TIME.into(),
    }
}

fn subnet(id: &str, network: &str, cidr: &str, gateway: &str, dhcp: bool) -> subnet::Model {
    let six = cidr.contains(':');
    subnet::Model {
        id: id.into(),
        project_id: "p1".into(),
        network_id: network.into(),
        name: String::new(),
        description: String::new(),
        ip_version: if six { 6 } else { 4 },
        cidr: cidr.into(),
        gateway_ip: Some(gateway.into()),
        enable_dhcp: dhcp,
        ipv6_ra_mode: six.then(|| "dhcpv6-stateless".into()),
        ipv6_address_mode: six.then(|| "dhcpv6-stateless".into()),
        allocation_pools: Pools(vec![Pool {
            start: gateway.parse().unwrap(),
            end: gateway.parse().unwrap(),
        }]),
        dns_nameservers: Strings::default(),
        host_routes: Routes::default(),
        revision: 1,
        created_at: TIME.into(),
        updated_at: TIME.into(),
    }
}

fn port(id: &str, network: &str, owner: &str, mac: &str) -> port::Model {
    let guest = owner == "compute:nova";
    port::Model {
        id: id.into(),
        project_id: "p1".into(),
        network_id: network.into(),
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        mac_address: format!("fa:16:3e:00:00:{mac}"),
        device_id: match owner {
            device_owner::ROUTER_GATEWAY | device_owner::ROUTER_INTERFACE => "router-1".into(),
            device_owner::METADATA => format!("ovnmeta-{network}"),
            _ => "server-1".into(),
        },
        device_owner: owner.into(),
        host_id: if guest {
            "node-3".into()
        } else {
            String::new()
        },
        vnic_type: "normal".into(),
        profile: json!({}),
        port_security_enabled: guest,
        allowed_address_pairs: Default::default(),
        dns_name: if guest {
            id.trim_start_matches("port-").into()
        } else {
            String::new()
        },
        status: "DOWN".into(),
        revision: 1,
        created_at: TIME.into(),
        updated_at: TIME.into(),
    }
}

fn address(port: &str, subnet: &str, ip: &str) -> allocation::Model {
    allocation::Model {
        subnet_id: format!("5ab00001-0000-4000-8000-0000000000{subnet}"),
        ip_address: ip.into(),
        port_id: port.into(),
    }
}

fn leg(subnet: &str, port: &str) -> router_interface::Model {
    router_interface::Model {
        router_id: "router-1".into(),
        subnet_id: format!("5ab00001-0000-4000-8000-0000000000{subnet}"),
        port_id: port.into(),
    }
}

fn rule(id: &str, direction: &str, remote: Option<&str>) -> security_group_rule::Model {
    security_group_rule::Model {
        id: id.into(),
        project_id: "p1".into(),
        security_group_id: "60000000-aaaa".into(),
        description: String::new(),
        direction: direction.into(),
        ethertype: "IPv4".into(),
        protocol: None,
        port_range_min: None,
        port_range_max: None,
        remote_ip_prefix: None,
        remote_group_id: remote.map(str::to_owned),
        created_at: TIME.into(),
    }
}
