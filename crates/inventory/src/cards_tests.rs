//! Tests of cards, bonds, profiles, traffic and what networks must have to fit each other.

use super::*;
use crate::tests::{faults, text, vars};
use proptest::prelude::*;

const NETWORKS: &str = "
pxe: {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
mgmt: {cidr: 10.0.1.0/24, vlan: 101}
storage: {cidr: 10.0.2.0/24, vlan: 102, mtu: 9000}
private: {cidr: 10.0.3.0/24, vlan: 103, mtu: 9000}
app: {cidr: 10.0.4.0/24, vlan: 104}
";

/// One controller with a card on `pxe` and two more.
const HOSTS: &str = "controller:
  hosts:
    n-1: {macs: {pxe0: '52:54:00:00:00:01', net0: '52:54:00:00:00:02', net1: '52:54:00:00:00:03'}}
";

fn files(hosts: &str, networks: &str, all: &str) -> Files {
    Files {
        hosts: Some(text("hosts.yml", hosts)),
        networks: Some(text("networks.yml", networks)),
        group_vars: vec![vars("group_vars", "all", all)],
        ..Files::default()
    }
}

fn sound(hosts: &str, networks: &str, all: &str) -> Inventory {
    let (inventory, diags) = assemble(&files(hosts, networks, all));
    assert!(diags.is_empty(), "{diags}");
    inventory
}

#[test]
fn a_bond_carries_networks_and_its_members_none() {
    let inventory = sound(
        HOSTS,
        NETWORKS,
        "nics:
  pxe0: [pxe]
  bond0:
    bond: {members: [net0, net1], mode: 802.3ad, lacp_rate: slow, hash_policy: layer2+3, miimon: 50}
    networks: [mgmt, storage, private, app]
",
    );
    let host = &inventory.hosts["n-1"];
    let names: Vec<&str> = host.nics.iter().map(|nic| nic.name.as_str()).collect();
    assert_eq!(names, ["pxe0", "net0", "net1"]);
    let bond = &host.bonds[0];
    assert_eq!(
        (bond.members.join(" "), bond.miimon_ms),
        ("net0 net1".into(), 50)
    );
    assert_eq!(
        bond.mode,
        BondMode::Lacp {
            lacp_rate: LacpRate::Slow,
            hash_policy: HashPolicy::Layer23
        }
    );
    let carrier = host.carrier_of(NetworkName::Storage).expect("a carrier");
    assert_eq!(
        (carrier.name(), carrier.members()),
        ("bond0", &bond.members[..])
    );
    assert_eq!(host.boot_nic().expect("a card").name, "pxe0");
    assert_eq!(
        (inventory.traffic.volumes, inventory.traffic.images),
        (NetworkName::Storage, NetworkName::Mgmt)
    );
}

#[test]
fn what_is_left_out_of_a_bond_has_defaults() {
    let inventory = sound(
        &format!("{HOSTS}hybrid: {{hosts: {{n-1: }}}}\n"),
        NETWORKS,
        "nics: {pxe0: [pxe], bond0: {bond: {members: [net0, net1], mode: 802.3ad}, networks: [mgmt, app], mtu: 9000}}\n",
    );
    let bond = &inventory.hosts["n-1"].bonds[0];
    assert_eq!((bond.miimon_ms, bond.mtu), (100, Some(9000)));
    assert_eq!(
        bond.mode,
        BondMode::Lacp {
            lacp_rate: LacpRate::Fast,
            hash_policy: HashPolicy::Layer34
        }
    );
    // Nobody is on `storage`: its traffic stays where all are.
    assert_eq!(inventory.traffic, Traffic::default());
}

#[test]
fn a_profile_says_which_card_is_which() {
    let inventory = sound(
        "controller:
  hosts:
    n-1: {macs: {pxe0: '52:54:00:00:00:01'}, node_profile: big}
    n-2: {macs: {pxe0: '52:54:00:00:00:02', net0: '52:54:00:00:00:22'}, node_profile: big}
    n-3: {macs: {pxe0: '52:54:00:00:00:03'}}
",
        NETWORKS,
        "nics: {pxe0: [pxe], net0: {match: {driver: igb, index: 1}, networks: [mgmt, app]}}
node_profiles:
  big:
    nics:
      pxe0: [pxe]
      net0: {match: {speed: fastest, index: 0}}
      net1: {match: {path: '3B:00.1', speed: 25G}}
      bond0: {bond: {members: [net0, net1], mode: active-backup}, networks: [mgmt, app]}
",
    );
    let shown = |host: &str| -> Vec<String> {
        let show = |nic: &Nic| match (&nic.mac, &nic.matching) {
            (Some(mac), _) => format!("{} {mac}", nic.name),
            (None, Some(matching)) => format!("{} {matching}", nic.name),
            (None, None) => format!("{} ?", nic.name),
        };
        inventory.hosts[host].nics.iter().map(show).collect()
    };
    let path = "net1 {path: \"0000:3b:00.1\", speed: 25000}";
    assert_eq!(
        shown("n-1"),
        [
            "pxe0 52:54:00:00:00:01",
            "net0 {speed: fastest, index: 0}",
            path
        ]
    );
    // An address in the host's `macs` is the exception from the profile.
    assert_eq!(
        shown("n-2"),
        ["pxe0 52:54:00:00:00:02", "net0 52:54:00:00:00:22", path]
    );
    assert_eq!(
        shown("n-3"),
        ["pxe0 52:54:00:00:00:03", "net0 {driver: igb, index: 1}"]
    );
}

#[test]
fn faults_of_bonds_are_all_told() {
    insta::assert_snapshot!(faults(&files(
        HOSTS,
        NETWORKS,
        "nics:
  pxe0: [pxe]
  net0: [storage]
  net1: {mtu: 9000}
  bond0: {bond: {members: [net0, net1, bond1], mode: 802.3ad}, networks: [mgmt, app]}
  bond1: {bond: {members: [net1, net1], mode: lacp, miimon: 1, lacp_rte: fast}}
  bond2: {bond: {members: [net9], mode: 802.3ad, lacp_rate: 2}}
  bond3: {bond: {members: [], hash_policy: layer7}}
  bond4: {bond: {mode: active-backup, lacp_rate: fast, members: net8}, match: {driver: igb}}
  a-long-bond: {bond: {members: [pxe0], mode: active-backup}}
",
    )));
}

#[test]
fn faults_of_matches_and_profiles_are_all_told() {
    insta::assert_snapshot!(faults(&files(
        "controller:
  hosts:
    n-1: {macs: {pxe0: '52:54:00:00:00:01', bond0: '52:54:00:00:00:09'}, node_profile: bg}
    n-2: {macs: {net0: '52:54:00:00:00:02'}, node_profile: big}
    n-3: {macs: {bond0: '52:54:00:00:00:03'}, node_profile: small}
",
        NETWORKS,
        "node_profiles:
  big:
    nic: {}
    nics:
      pxe0: {match: {driver: igb, index: 0}, networks: [pxe]}
      net0: {match: {path: '0000:3b:00'}, networks: [mgmt]}
      net1: {match: {speed: fast}, networks: [app]}
      net2: {match: {index: 3}}
      net3: {match: {driver: igb, indx: 1}}
  small:
    nics:
      net0: {match: {driver: igb, index: 0}}
      net1: {match: {driver: igb, index: 300}}
      bond0: {bond: {members: [net0, net1], mode: active-backup}, networks: [pxe, mgmt, app]}
",
    )));
}

#[test]
fn faults_of_what_fits_are_all_told() {
    insta::assert_snapshot!(faults(&files(
        "controller:
  hosts:
    n-1: {macs: {a: '52:54:00:00:00:01', b: '52:54:00:00:00:02'}}
    n-2: {macs: {a: '52:54:00:00:00:03', b: '52:54:00:00:00:04'}}
",
        "
pxe: {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
mgmt: {cidr: 10.0.1.0/24, vlan: 101, ranges: {vips: 10.0.1.10-10.0.1.20, dhcp: 10.0.1.15-10.0.1.90}}
storage: {cidr: 10.0.2.0/24, vlan: 101, mtu: 9000}
private: {cidr: 10.0.3.0/24, vlan: 103, mtu: 1500, instance_mtu: 1500}
app: {cidr: 10.0.3.128/25, mtu: 10000, instance_mtu: 1400}
ipmi: {cidr: 10.0.5.0/24, mtu: 1000}
",
        "nics: {a: {networks: [pxe, mgmt, storage], mtu: 1500}, b: {networks: [app, private], mtu: 9000}}\nbmc: {}\n",
    )));
}

#[test]
fn an_untagged_network_gives_the_card_its_mtu_and_pxe_needs_an_address() {
    insta::assert_snapshot!(faults(&files(
        "controller: {hosts: {'n-[1:4]': {macs: {x: '52:54:00:00:00:0a'}}}}\n",
        &NETWORKS.replace("vlan: 103, mtu: 9000", "vlan: 103, mtu: 1300"),
        "nics:
  net0: {match: {driver: igb, index: 0}}
  net1: {match: {driver: igb, index: 1}}
  bond0: {bond: {members: [net0, net1], mode: 802.3ad}, networks: [pxe, mgmt, storage, app]}
",
    )));
}

#[test]
fn pxe_on_a_bond_with_lacp_is_warned_of() {
    let all = "nics: {bond0: {bond: {members: [net0, pxe0, net1], mode: 802.3ad}, networks: [pxe, mgmt, app]}}\n";
    let (inventory, diags) = assemble(&files(HOSTS, NETWORKS, all));
    assert_eq!(
        inventory.hosts["n-1"].boot_nic().expect("a card").name,
        "net0"
    );
    insta::assert_snapshot!(diags);
}

#[test]
fn traffic_is_where_it_was_laid() {
    let all = "nics: {pxe0: [pxe], net0: [mgmt, app], net1: [storage, private]}\n";
    let traffic = "traffic: {migration: private, replication: mgmt}\n";
    let inventory = sound(HOSTS, &format!("{NETWORKS}{traffic}"), all);
    let expected = Traffic {
        volumes: NetworkName::Storage,
        images: NetworkName::Mgmt,
        replication: NetworkName::Mgmt,
        migration: NetworkName::Private,
    };
    assert_eq!(inventory.traffic, expected);
    let below = format!(
        "networks:{}{traffic}",
        NETWORKS.replace('\n', "\n  ").trim_end_matches(' ')
    );
    assert_eq!(sound(HOSTS, &below, all).traffic, expected);
}

#[test]
fn faults_of_traffic_are_all_told() {
    insta::assert_snapshot!(faults(&files(
        "controller: {hosts: {n-1: {macs: {a: '52:54:00:00:00:01'}}}}
compute: {hosts: {'n-[2:3]': {macs: {a: '52:54:00:00:00:02'}}}}
",
        &format!(
            "{}traffic: {{volumes: storage, images: pxe, replicaton: mgmt, migration: strage}}\n",
            NETWORKS
        ),
        "nics: {a: [pxe, mgmt, app]}\n",
    )));
    insta::assert_snapshot!(
        "traffic_on_a_network_that_is_not_there",
        faults(&files(
            HOSTS,
            "pxe: {cidr: 10.0.0.0/24, gateway: 10.0.0.1}\nmgmt: {cidr: 10.0.1.0/24}\napp: {cidr: 10.0.2.0/24}\ntraffic: {volumes: storage, images: 5}\ntrafic: {}\n",
            "nics: {pxe0: [pxe], net0: [mgmt], net1: [app]}\n",
        ))
    );
}

proptest! {
    #[test]
    fn whatever_cards_are_written_get_an_answer(
        words in proptest::collection::vec(prop::sample::select(vec![
            "pxe0: ", "net0: ", "bond0: ", "bond1: ", "[pxe]", "[mgmt, storage]", "{", "}", ", ", "bond: ", "members: ", "[net0, net1]",
            "[bond0]", "mode: ", "802.3ad", "active-backup", "networks: ", "match: ", "driver: igb", "path: '3b:00.0'", "speed: ", "fastest", "25G",
            "index: ", "0", "-1", "mtu: ", "9000", "lacp_rate: fast", "miimon: ", "\n  ",
        ]), 0..40),
    ) {
        let all = format!("nics:\n  {}\n", words.concat());
        let (inventory, diags) = assemble(&files(HOSTS, NETWORKS, &all));
        let _ = diags.to_string();
        if !diags.has_errors() {
            for host in inventory.hosts.values() {
                // What is accepted can be acted upon: each member is a card of the machine, and of one bond.
                let members: Vec<_> = host.bonds.iter().flat_map(|bond| &bond.members).collect();
                for (index, member) in members.iter().enumerate() {
                    prop_assert!(host.nic(member).is_some_and(|nic| nic.networks.is_empty()));
                    prop_assert!(!members[..index].contains(member));
                }
                prop_assert!(host.boot_nic().is_some_and(|nic| nic.mac.is_some()));
            }
        }
    }
}
