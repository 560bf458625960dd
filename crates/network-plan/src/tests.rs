//! Tests of plans: golden text, stability, faults, and the files for nodes.

use super::*;
use inventory::{Files, NetworkName, TextFile};
use proptest::prelude::*;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;

fn shipped(name: &str) -> Inventory {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../inventories")
        .join(name);
    let (inventory, diags) = inventory::load(&dir);
    assert!(diags.is_empty(), "{diags}");
    inventory
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
    insta::assert_json_snapshot!("node_1_of_the_lab", plan.nodes["node-1"]);
    let text = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(
        serde_json::from_str::<NetworkPlan>(&text).expect("a plan"),
        plan
    );
}

#[test]
fn plan_of_the_datacenter() {
    insta::assert_snapshot!(fresh(&shipped("datacenter")).0);
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
        for file in seed_files(&plan, &plan.nodes[node]) {
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
        &sample(2, 4, "ranges: {nodes: 10.0.2.100-10.0.2.120}"),
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
        Ipv4Addr::new(10, 0, 2, 101)
    );
    let again = plan(&sample(2, 4, ""), &more).expect("a plan");
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
    fn no_address_is_given_twice(controllers in 1usize..4, first in 0usize..40, second in 0usize..40) {
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
