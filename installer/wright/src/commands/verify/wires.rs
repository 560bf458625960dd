//! The network plan as wires that can be asked after.
use inventory::{BondMode, Inventory, NetworkName};
use network_plan::{Interface, NetworkPlan, NodePlan};
use serde_json::Value;
use std::net::IpAddr;
use wiring::{Bond, Link, Network, Node, Plan};

/// VRRP router ids where the inventory names no others: the defaults of the role `virtual-ip`.
const VRRP_ID_INTERNAL: u8 = 51;
const VRRP_ID_PUBLIC: u8 = 52;

/// Every node's links; with `only`, those on these networks.
pub fn of(plan: &NetworkPlan, inventory: &Inventory, only: &[NetworkName]) -> Plan {
    let names: Vec<NetworkName> = NetworkName::ALL
        .into_iter()
        .filter(|name| only.is_empty() || only.contains(name))
        .filter(|name| {
            plan.nodes
                .values()
                .any(|node| node.interface_on(*name).is_some())
        })
        .collect();
    let networks = names.iter().map(|name| network(plan, inventory, *name));
    let of_node = |planned: &NodePlan| {
        let links: Vec<Link> = planned
            .interfaces
            .iter()
            .flat_map(|interface| links(plan, planned, interface, &names))
            .collect();
        // Machines without cards in the inventory are not ours to ask.
        let is_ours = !planned.interfaces.is_empty();
        is_ours.then(|| Node {
            name: planned.name.clone(),
            dns: if only.is_empty() {
                dns(planned)
            } else {
                Vec::new()
            },
            time: match only.is_empty() && planned.in_group("controller") {
                true => time(inventory, &planned.name),
                false => Vec::new(),
            },
            links,
        })
    };
    Plan {
        networks: networks.collect(),
        nodes: plan.nodes.values().filter_map(of_node).collect(),
    }
}

fn network(plan: &NetworkPlan, inventory: &Inventory, name: NetworkName) -> Network {
    let (vip, id, default) = match name {
        NetworkName::Mgmt => (plan.vips.internal, "vrrp_id_internal", VRRP_ID_INTERNAL),
        NetworkName::App => (plan.vips.public, "vrrp_id_public", VRRP_ID_PUBLIC),
        _ => (None, "", 0),
    };
    let controllers = plan
        .nodes
        .values()
        .filter(|node| node.in_group("controller"));
    let mut own_vrrp: Vec<u8> = controllers
        .filter(|_| vip.is_some())
        .map(|node| {
            let vars = inventory.host_vars(&node.name).unwrap_or_default();
            let given = vars.get(id).and_then(Value::as_u64);
            given.and_then(|id| id.try_into().ok()).unwrap_or(default)
        })
        .collect();
    own_vrrp.sort_unstable();
    own_vrrp.dedup();
    Network {
        name: name.to_string(),
        is_boot: name == NetworkName::Pxe,
        own_dhcp: match name {
            NetworkName::Pxe => plan.deployment_address().into_iter().collect(),
            _ => Vec::new(),
        },
        vips: vip.into_iter().collect(),
        own_vrrp,
    }
}

/// The links of one network of a node: one for each card that its frames leave by, so each member of a bond.
fn links(
    plan: &NetworkPlan,
    node: &NodePlan,
    interface: &Interface,
    names: &[NetworkName],
) -> Vec<Link> {
    let Some(network) = names.iter().position(|name| *name == interface.network) else {
        return Vec::new();
    };
    let gateway = plan
        .networks
        .get(&interface.network)
        .and_then(|network| network.gateway);
    let bond = node.bonds.iter().find(|bond| bond.name == interface.nic);
    let cards = match bond {
        Some(bond) => bond.members.clone(),
        None => vec![interface.nic.clone()],
    };
    let link = |nic: String| Link {
        nic,
        bond: bond.map(|bond| Bond {
            name: bond.name.clone(),
            aggregated: matches!(bond.mode, BondMode::Lacp { .. }),
        }),
        network,
        vlan: interface.vlan,
        mtu: interface.mtu,
        address: interface.address.map(|address| address.ip()),
        gateway: gateway.filter(|_| interface.address.is_some()),
    };
    cards.into_iter().map(link).collect()
}

/// Name servers that the node uses before its roles have run: not those behind a bridge that is yet to come.
fn dns(node: &NodePlan) -> Vec<IpAddr> {
    let mut servers: Vec<IpAddr> = node
        .interfaces
        .iter()
        .filter(|interface| interface.bridge.is_none())
        .flat_map(|interface| interface.dns.iter().copied())
        .collect();
    servers.sort_unstable();
    servers.dedup();
    servers
}

/// `time_servers` of the inventory, which the role `time` gives to controllers.
fn time(inventory: &Inventory, node: &str) -> Vec<String> {
    let vars = inventory.host_vars(node).unwrap_or_default();
    let servers = vars.get("time_servers").and_then(Value::as_array);
    let names = servers.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shipped(name: &str, only: &[NetworkName]) -> Plan {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inventories");
        let (inventory, _) = inventory::load(&root.join(name));
        let (plan, _) = network_plan::plan(&inventory, &Default::default()).unwrap();
        of(&plan, &inventory, only)
    }

    #[test]
    fn links_are_those_of_the_plan() {
        let plan = shipped("datacenter", &[]);
        let shown = |node: &Node| {
            let links = node.links.iter().map(|link| {
                let tag = link.vlan.map_or(String::new(), |tag| format!(".{tag}"));
                let address = link
                    .address
                    .map_or("-".to_owned(), |address| address.to_string());
                let gateway = link
                    .gateway
                    .map_or("-".to_owned(), |gateway| gateway.to_string());
                let network = &plan.networks[link.network].name;
                let nic = match &link.bond {
                    Some(bond) => format!("{} {} {}", link.nic, bond.name, bond.aggregated),
                    None => link.nic.clone(),
                };
                format!("{nic}{tag} {network} {} {address} {gateway}", link.mtu)
            });
            links.collect::<Vec<_>>().join("\n")
        };
        let node = |name: &str| plan.nodes.iter().find(|node| node.name == name).unwrap();
        insta::assert_snapshot!(shown(node("node-1")), @r"
        pxe0 pxe 1500 10.40.0.20 10.40.0.1
        net0 bond0 true.401 mgmt 1500 10.40.1.20 10.40.1.1
        net1 bond0 true.401 mgmt 1500 10.40.1.20 10.40.1.1
        net0 bond0 true.404 app 1500 10.40.8.20 10.40.8.1
        net1 bond0 true.404 app 1500 10.40.8.20 10.40.8.1
        net0 bond0 true.402 storage 9000 10.40.2.20 -
        net1 bond0 true.402 storage 9000 10.40.2.20 -
        net0 bond0 true.403 private 9000 10.40.3.20 -
        net1 bond0 true.403 private 9000 10.40.3.20 -
        ");
        insta::assert_snapshot!(shown(node("node-4")), @r"
        pxe0 pxe 1500 10.40.0.23 10.40.0.1
        net0 bond0 true.401 mgmt 1500 10.40.1.23 10.40.1.1
        net1 bond0 true.401 mgmt 1500 10.40.1.23 10.40.1.1
        net0 bond0 true.404 app 1500 - -
        net1 bond0 true.404 app 1500 - -
        net0 bond0 true.402 storage 9000 10.40.2.23 -
        net1 bond0 true.402 storage 9000 10.40.2.23 -
        net0 bond0 true.403 private 9000 10.40.3.23 -
        net1 bond0 true.403 private 9000 10.40.3.23 -
        ");
        assert_eq!(node("node-1").dns, [IpAddr::from([10, 40, 1, 1])]);
        let strangers: Vec<_> = plan
            .networks
            .iter()
            .map(|network| {
                (
                    network.name.as_str(),
                    network.vips.len(),
                    network.own_vrrp.clone(),
                )
            })
            .filter(|(_, vips, _)| *vips > 0)
            .collect();
        assert_eq!(strangers, [("mgmt", 1, vec![51]), ("app", 1, vec![52])]);
    }

    #[test]
    fn the_router_ids_are_those_of_the_role() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let file = root.join("roles/virtual-ip/defaults/main.yml");
        let text = std::fs::read_to_string(file).unwrap();
        for (name, id) in [
            ("vrrp_id_internal", VRRP_ID_INTERNAL),
            ("vrrp_id_public", VRRP_ID_PUBLIC),
        ] {
            let line = format!("{name}: {id}");
            assert!(text.lines().any(|found| found == line), "{line}");
        }
    }

    #[test]
    fn only_what_is_asked_for_and_only_machines_with_cards() {
        let plan = shipped("datacenter", &[NetworkName::Storage]);
        assert_eq!(plan.networks.len(), 1);
        assert!(
            plan.nodes
                .iter()
                .all(|node| node.links.len() == 2 && node.dns.is_empty())
        );
        assert!(shipped("one-machine", &[]).nodes.is_empty());
    }
}
