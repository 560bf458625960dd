//! Tests of plans: golden text, stability, faults, and the files for nodes.

use super::*;
use inventory::{Files, NetworkName, TextFile};
use proptest::prelude::*;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../inventories")
        .join(name)
}

fn shipped(name: &str) -> Inventory {
    let (inventory, diags) = inventory::load(&folder(name));
    assert!(diags.is_empty(), "{diags}");
    inventory
}

/// A node as JSON, without the path of this machine.
fn json(name: &str, node: &NodePlan) -> String {
    let text = serde_json::to_string_pretty(node).expect("JSON");
    text.replace(&folder(name).display().to_string(), "INVENTORY")
}

fn fresh(inventory: &Inventory) -> (NetworkPlan, Allocations) {
    plan(inventory, &Allocations::default()).expect("a plan")
}

/// Controllers `c-1`... and compute nodes `n-1`...; ranges of `mgmt` as given.
fn sample(controllers: usize, computes: usize, mgmt: &str) -> Inventory {
    let group = |name: &str, letter: char, count: usize, tag: usize| {
        let hosts: String = (1..=count)
            .map(|n| {
                format!(
                    "    {letter}-{n}: {{macs: {{eth0: '52:54:00:{tag:02}:{:02x}:{:02x}'}}}}\n",
                    n / 256,
                    n % 256
                )
            })
            .collect();
        if count == 0 {
            String::new()
        } else {
            format!("{name}:\n  hosts:\n{hosts}")
        }
    };
    let hosts = format!(
        "all: {{vars: {{nics: {{eth0: [pxe, mgmt, app]}}, bmc: {{}}}}}}\n{}{}",
        group("controller", 'c', controllers, 1),
        group("compute", 'n', computes, 2)
    );
    let networks = format!(
        "pxe: {{cidr: 10.0.0.0/23, gateway: 10.0.0.1}}\n\
         mgmt: {{cidr: 10.0.2.0/24, vlan: 2, {mgmt}}}\n\
         app: {{cidr: 10.0.4.0/24, vlan: 3, gateway: 10.0.4.1}}\n\
         ipmi: {{cidr: 10.0.6.0/23}}\n"
    );
    let text = |name: &str, text: String| {
        Some(TextFile {
            name: name.into(),
            text,
        })
    };
    let (inventory, diags) = inventory::assemble(&Files {
        hosts: text("hosts.yml", hosts),
        networks: text("networks.yml", networks),
        ..Files::default()
    });
    assert!(diags.is_empty(), "{diags}");
    inventory
}

#[test]
fn plan_of_the_lab() {
    let (plan, allocations) = fresh(&shipped("lab"));
    insta::assert_snapshot!(plan);
    insta::assert_json_snapshot!("allocations_of_the_lab", allocations);
    insta::assert_snapshot!("node_1_of_the_lab", json("lab", &plan.nodes["node-1"]));
    let text = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(
        serde_json::from_str::<NetworkPlan>(&text).expect("a plan"),
        plan
    );
}

#[test]
fn plan_of_the_datacenter() {
    let (plan, _) = fresh(&shipped("datacenter"));
    insta::assert_snapshot!(plan);
    let node = &plan.nodes["node-1"];
    insta::assert_snapshot!("node_1_of_the_datacenter", json("datacenter", node));
    let text = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(
        serde_json::from_str::<NetworkPlan>(&text).expect("a plan"),
        plan
    );
    let mgmt = node.interface_on(NetworkName::Mgmt).expect("`mgmt`");
    let cards: Vec<&str> = node.cards_of(mgmt).map(|card| card.name.as_str()).collect();
    assert_eq!(cards, ["net0", "net1"]);
    // A machine is found by any of its cards.
    let last = node.cards.last().and_then(|card| card.mac).expect("a MAC");
    assert_eq!(plan.node_by_mac(last).expect("a node").name, "node-1");
}

#[test]
fn cards_that_only_the_machine_can_tell_apart_are_filled_in() {
    let text = |name: &str, text: &str| TextFile {
        name: name.into(),
        text: text.into(),
    };
    let (inventory, diags) = inventory::assemble(&Files {
        hosts: Some(text(
            "hosts.yml",
            "controller: {hosts: {c-1: {macs: {pxe0: '52:54:00:00:00:01'}, nics: {
  pxe0: [pxe], net0: {match: {driver: igb, index: 0}}, net1: {match: {driver: igb, index: 1}},
  bond0: {bond: {members: [net0, net1], mode: active-backup}, networks: [mgmt, app], mtu: 9000}}}}}\n",
        )),
        networks: Some(text(
            "networks.yml",
            "pxe: {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
mgmt: {cidr: 10.0.1.0/24, mtu: 9000}
app: {cidr: 10.0.2.0/24, vlan: 2}\n",
        )),
        ..Files::default()
    });
    assert!(diags.is_empty(), "{diags}");
    let (plan, _) = fresh(&inventory);
    let node = &plan.nodes["c-1"];
    let mut all = format!("{plan}");
    let unknown = network_files(node).expect_err("unknown cards");
    assert_eq!(unknown.cards, ["net0", "net1"]);
    all += &format!("──── {unknown}\n");
    let found = [("net0", "52:54:00:00:00:0a"), ("net1", "52:54:00:00:00:0b")];
    let macs = found.map(|(name, mac)| (name.to_owned(), mac.parse().expect("a MAC")));
    let resolved = node.with_macs(&macs.into_iter().collect());
    assert_eq!(
        resolved.interface_on(NetworkName::App).expect("`app`").mac,
        "52:54:00:00:00:0a".parse().ok()
    );
    for file in network_files(&resolved).expect("files") {
        all += &format!("──── {}\n{}", file.path, file.content);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn plan_of_one_machine() {
    insta::assert_snapshot!(fresh(&shipped("one-machine")).0);
}

#[test]
fn files_for_nodes() {
    let mut all = String::new();
    for (name, node) in [
        ("lab", "node-1"),
        ("lab", "node-2"),
        ("datacenter", "node-1"),
    ] {
        let (plan, _) = fresh(&shipped(name));
        let node_plan = &plan.nodes[node];
        let units = network_files(node_plan).expect("all addresses are in the inventory");
        for file in units.into_iter().chain(system_files(&plan, node_plan)) {
            all += &format!(
                "──── {name} {node} {:o} {}\n{}",
                file.mode, file.path, file.content
            );
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn addresses_stay() {
    let (before, allocations) = fresh(&sample(1, 3, ""));
    // A node leaves: its addresses are not given to anybody else.
    let (without, kept) = plan(&sample(1, 2, ""), &allocations).expect("a plan");
    assert_eq!(kept, allocations);
    assert_eq!(without.nodes["n-2"], before.nodes["n-2"]);
    // It comes back with others, and the range is now another one.
    let (after, more) = plan(
        &sample(3, 4, "ranges: {nodes: 10.0.2.100-10.0.2.120}"),
        &kept,
    )
    .expect("a plan");
    for (name, node) in &before.nodes {
        assert_eq!(after.nodes[name].addresses, node.addresses);
        assert_eq!(after.nodes[name].bmc, node.bmc);
    }
    assert_eq!(after.vips, before.vips);
    assert_eq!(
        after.nodes["n-4"].addresses[&NetworkName::Mgmt],
        Ipv4Addr::new(10, 0, 2, 102)
    );
    let again = plan(&sample(3, 4, ""), &more).expect("a plan");
    assert_eq!((again.0.nodes, again.1), (after.nodes, more));
}

#[test]
fn faults_are_all_told() {
    let few = sample(
        1,
        4,
        "ranges: {nodes: 10.0.2.10-10.0.2.12, vips: 10.0.2.2-10.0.2.2}",
    );
    let mut earlier = Allocations::default();
    earlier.vips.public = Some(Ipv4Addr::new(10, 9, 9, 9));
    earlier.vips.internal = Some(Ipv4Addr::new(10, 0, 2, 2));
    earlier.nodes.entry("c-1".into()).or_default().extend([
        (NetworkName::App, Ipv4Addr::new(10, 0, 4, 1)),
        (NetworkName::Mgmt, Ipv4Addr::new(10, 0, 2, 2)),
    ]);
    // Gone from the inventory: its places do not matter.
    earlier
        .nodes
        .entry("gone".into())
        .or_default()
        .extend([(NetworkName::App, Ipv4Addr::new(10, 7, 7, 7))]);
    insta::assert_snapshot!(plan(&few, &earlier).expect_err("faults"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_address_is_given_twice(pairs in 0usize..2, first in 0usize..40, second in 0usize..40) {
        // An even number of controllers is refused.
        let controllers = 2 * pairs + 1;
        let mut earlier = Allocations::default();
        for computes in [first, second] {
            let inventory = sample(controllers, computes, "gateway: 10.0.2.1");
            let (plan, allocations) = plan(&inventory, &earlier).expect("a plan");
            let mut seen: HashSet<Ipv4Addr> =
                plan.networks.values().filter_map(|network| network.gateway).collect();
            let all = allocations.nodes.values().flat_map(|node| node.values())
                .chain(allocations.bmcs.values())
                .chain(&allocations.vips.internal)
                .chain(&allocations.vips.public);
            for address in all {
                prop_assert!(seen.insert(*address), "{address} twice");
            }
            for node in plan.nodes.values() {
                prop_assert_eq!(node.interfaces.iter().filter(|i| i.gateway.is_some()).count(), 1);
                prop_assert_eq!(node.addresses.contains_key(&NetworkName::App), node.in_group("controller"));
                for interface in &node.interfaces {
                    if let Some(address) = interface.address {
                        prop_assert_eq!(address.network(), plan.networks[&interface.network].cidr.ip());
                    }
                }
            }
            earlier = allocations;
        }
    }
}
