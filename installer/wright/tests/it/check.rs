//! `wright check` on good inventories and bad ones.

use crate::run::{Place, shipped};
use std::fs;

#[test]
fn good_inventories_are_planned_and_nothing_is_written() {
    let place = Place::new();
    for name in ["lab", "datacenter", "one-machine"] {
        let path = shipped(name).display().to_string();
        let answer = place.wright(&["check", "--inventory", &path]);
        insta::assert_snapshot!(format!("check_{name}"), answer.replace(&path, "INVENTORY"));
    }
    let left: Vec<_> = fs::read_dir(place.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn json_is_the_plan() {
    let place = Place::new();
    let path = shipped("lab").display().to_string();
    let answer = place.wright(&["check", "--output", "json", "--inventory", &path]);
    let (_, json) = answer.split_once("── stdout\n").expect("stdout");
    let (json, _) = json.split_once("── stderr\n").expect("stderr");
    let plan: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(plan["vips"]["public"], "10.20.4.2");
    assert_eq!(plan["nodes"]["node-1"]["addresses"]["mgmt"], "10.20.1.11");
}

fn bad(place: &Place) {
    place.write(
        "inventories/lab/hosts.yml",
        "controller:
  hosts:
    node-1: {macs: {eth0: '52:54:00:00:00:01', eth1: '52:54:00:00:00:02'}}
    node-2: {macs: {eth0: '52:54:00:00:00:01', eth1: '52:54:00:00:00:03'}}
computes:
  hosts:
    node-3:
",
    );
    place.write(
        "inventories/lab/networks.yml",
        "pxe: {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
mgmt: {cidr: 10.0.0.128/25}
ap: {cidr: 10.0.2.0/24}
",
    );
    place.write(
        "inventories/lab/group_vars/all.yml",
        "nics: {eth0: [pxe], eth1: [mgmt, mgnt]}\n",
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let place = Place::new();
    bad(&place);
    insta::assert_snapshot!(place.wright(&["check"]));
    insta::assert_snapshot!(
        "all_faults_are_told_at_once_as_json",
        place.wright(&["check", "--output", "json"])
    );
}

#[test]
fn too_few_addresses_are_told() {
    let place = Place::new();
    place.write(
        "inventories/lab/hosts.yml",
        "controller: {hosts: {'node-[1:2]': {ansible_host: 10.9.9.9}, node-3: {macs: {e0: '52:54:00:00:00:01'}}}}\n",
    );
    place.write(
        "inventories/lab/group_vars/all.yml",
        "nics: {e0: [pxe, mgmt, app]}\n",
    );
    place.write(
        "inventories/lab/networks.yml",
        "pxe: {cidr: 10.0.0.0/24, gateway: 10.0.0.1, ranges: {dhcp: 10.0.0.2-10.0.0.254}}
mgmt: {cidr: 10.0.1.0/24, vlan: 5, ranges: {vips: 10.0.1.1-10.0.1.254}}
app: {cidr: 10.0.2.0/24, vlan: 6, ranges: {floating: 10.0.2.1-10.0.2.254}}
",
    );
    insta::assert_snapshot!(place.wright(&["check"]));
}

#[test]
fn a_missing_inventory_is_told() {
    let place = Place::new();
    bad(&place);
    insta::assert_snapshot!(place.wright(&["check", "--env", "lba"]));
}
