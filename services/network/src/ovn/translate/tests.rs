//! Golden rows of a small cloud, and of what is special.

use super::*;
use crate::model::{Chassis, device_owner};
use crate::ovn::samples;

fn rows(topology: &Topology) -> String {
    northbound(topology, &samples::settings()).to_string()
}

#[test]
fn a_small_cloud() {
    insta::assert_snapshot!(rows(&samples::small_cloud()));
}

#[test]
fn nothing_gives_the_drop_group_only() {
    insta::assert_snapshot!(rows(&Topology::default()));
}

#[test]
fn a_vlan_network_without_gateway() {
    let mut topology = samples::small_cloud();
    topology.routers.clear();
    topology.router_interfaces.clear();
    topology.floating_ips.clear();
    topology.ports.retain(|port| {
        !device_owner::is_trusted(&port.device_owner) || port.device_owner == device_owner::METADATA
    });
    topology
        .networks
        .retain(|network| network.name == "private");
    topology.networks[0].network_type = "vlan".into();
    topology.networks[0].physical_network = Some("physnet-app".into());
    topology.networks[0].segmentation_id = Some(204);
    topology
        .subnets
        .retain(|subnet| subnet.network_id == topology.networks[0].id);
    topology.subnets[0].gateway_ip = None;
    topology.security_groups.clear();
    topology.rules.clear();
    topology.port_groups.clear();
    insta::assert_snapshot!(rows(&topology));
}

#[test]
fn an_unsecured_port_and_extra_addresses() {
    use crate::store::values::{AddressPair, AddressPairs};
    let mut topology = samples::small_cloud();
    let mut guests = topology
        .ports
        .iter_mut()
        .filter(|port| port.device_owner == "compute:nova");
    guests.next().unwrap().port_security_enabled = false;
    let pair = |ip: &str, mac: Option<&str>| AddressPair {
        ip_address: ip.into(),
        mac_address: mac.map(str::to_owned),
    };
    guests.next().unwrap().allowed_address_pairs = AddressPairs(vec![
        pair("10.1.0.99", None),
        pair("10.9.0.0/24", Some("52:54:00:00:00:99")),
    ]);
    let desired = northbound(&topology, &samples::settings());
    let guests = desired.rows.into_iter().filter(|(key, columns)| {
        key.table == "Logical_Switch_Port"
            && columns.contains_key("port_security")
            && !key.key.contains("metadata")
    });
    let kept = Desired {
        rows: guests.collect(),
    };
    insta::assert_snapshot!(kept.to_string());
}

#[test]
fn a_migrating_port_names_both_chassis() {
    let mut topology = samples::small_cloud();
    let guest = topology
        .ports
        .iter_mut()
        .find(|port| port.device_owner == "compute:nova")
        .unwrap();
    guest.profile = serde_json::json!({"migrating_to": "node-2.domain.tld"});
    let id = guest.id.clone();
    let text = rows(&topology);
    let options = text
        .split("\nLogical_Switch_Port ")
        .find(|row| row.starts_with(&id))
        .unwrap();
    assert!(
        options.contains(
            "options = {activation-strategy=rarp, requested-chassis=chassis-3,chassis-2}"
        ),
        "{options}"
    );
}

#[test]
fn witnesses_stand_by_where_a_gateway_can_move() {
    let topology = samples::small_cloud();
    let gateways = |others: &[(u8, bool)]| -> Vec<String> {
        let mut settings = samples::settings();
        let base = settings.chassis[0].clone();
        settings
            .chassis
            .extend(others.iter().map(|(number, gateway)| Chassis {
                name: format!("chassis-{number}"),
                gateway: *gateway,
                witness: !gateway,
                physical_networks: match gateway {
                    true => base.physical_networks.clone(),
                    false => Vec::new(),
                },
                ..base.clone()
            }));
        let text = northbound(&topology, &settings).to_string();
        let rows = text
            .split("\nGateway_Chassis ")
            .skip(1)
            .map(|row| row.lines().take(4).collect());
        rows.collect()
    };
    // A single one needs none.
    assert_eq!(gateways(&[(7, false)]).len(), 1);
    let four = gateways(&[(4, true), (7, false), (8, false)]);
    assert_eq!(four.len(), 4);
    for row in four {
        let is_witness = row.contains("chassis-7") || row.contains("chassis-8");
        assert_eq!(row.contains("priority = 0"), is_witness, "{row}");
    }
}

#[test]
fn security_group_rules() {
    use crate::store::entity::security_group_rule::Model;
    let mut topology = samples::small_cloud();
    let base = topology.rules[0].clone();
    let rule = |id: &str,
                direction: &str,
                ethertype: &str,
                protocol: Option<&str>,
                ports: (Option<i32>, Option<i32>),
                prefix: Option<&str>| Model {
        id: id.into(),
        direction: direction.into(),
        ethertype: ethertype.into(),
        protocol: protocol.map(str::to_owned),
        port_range_min: ports.0,
        port_range_max: ports.1,
        remote_ip_prefix: prefix.map(str::to_owned),
        remote_group_id: None,
        ..base.clone()
    };
    topology.rules = vec![
        rule("any", "ingress", "IPv4", None, (None, None), None),
        rule(
            "everywhere",
            "ingress",
            "IPv4",
            Some("tcp"),
            (Some(22), Some(22)),
            Some("0.0.0.0/0"),
        ),
        rule(
            "range",
            "egress",
            "IPv4",
            Some("udp"),
            (Some(1000), Some(2000)),
            Some("10.0.0.0/8"),
        ),
        rule(
            "all-ports",
            "ingress",
            "IPv6",
            Some("6"),
            (Some(1), Some(65535)),
            Some("fd00::/8"),
        ),
        rule(
            "ping",
            "ingress",
            "IPv4",
            Some("icmp"),
            (Some(8), Some(0)),
            None,
        ),
        rule(
            "ping6",
            "ingress",
            "IPv6",
            Some("ipv6-icmp"),
            (Some(128), None),
            None,
        ),
        rule("vrrp", "ingress", "IPv4", Some("vrrp"), (None, None), None),
        Model {
            remote_group_id: Some(base.security_group_id.clone()),
            ..rule("members", "ingress", "IPv4", None, (None, None), None)
        },
    ];
    let desired = northbound(&topology, &samples::settings());
    let acls = desired
        .rows
        .into_iter()
        .filter(|(key, _)| key.table == "ACL" && !key.key.contains('/'));
    insta::assert_snapshot!(
        Desired {
            rows: acls.collect()
        }
        .to_string()
    );
}
