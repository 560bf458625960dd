//! The analysis held against simulated switches: golden cases as operators meet them, and properties of any.
use super::*;
use crate::plan::{Bond, Link, Network as PlannedNetwork, Node};
use agent_protocol::probe::{
    Answer, Bitmap, Claim, Heard, LinkReport, NicReport, Offer, Place, Speaker,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A switch port with the card that is plugged in.
#[derive(Clone)]
struct SwitchPort {
    /// Which switch; ports of different ones are apart.
    switch: usize,
    is_on: bool,
    /// Untagged frames belong to this VLAN.
    native: u16,
    /// Tags that pass; `None`: all.
    allowed: Option<Vec<u16>>,
    mtu: u16,
    receives: bool,
    sends: bool,
}

struct World {
    plan: Plan,
    ports: BTreeMap<(usize, String), SwitchPort>,
    /// VLANs' largest frames on the switches.
    mtus: BTreeMap<u16, u16>,
    unasked: BTreeMap<usize, &'static str>,
    /// Is shown every report before the analysis.
    strange: BTreeMap<usize, fn(&mut Heard)>,
}

const NETWORKS: [(&str, &str, Option<u16>, u16); 5] = [
    ("pxe", "pxe0", None, 1500),
    ("mgmt", "net0", Some(401), 1500),
    ("storage", "net1", Some(402), 9000),
    ("private", "net1", Some(403), 9000),
    ("app", "net0", Some(404), 1500),
];

fn address(network: usize, node: usize) -> Ipv4Addr {
    let (high, low) = ((node + 11) / 256, (node + 11) % 256);
    Ipv4Addr::new(10, network as u8, high as u8, low as u8)
}

fn mac(node: usize, nic: usize) -> String {
    format!("52:54:00:{:02x}:{:02x}:{nic:02x}", node / 256, node % 256)
}

impl World {
    /// Nodes of the shipped data centre's kind: three cards, `pxe0` untagged, the others trunks.
    fn of(nodes: usize) -> Self {
        Self::with_members(nodes, &["net1"], None)
    }

    /// `net1` may be several cards.
    fn with_members(nodes: usize, members: &[&str], bond: Option<Bond>) -> Self {
        let networks = NETWORKS.iter().map(|(name, ..)| PlannedNetwork {
            name: (*name).into(),
            is_boot: *name == "pxe",
            own_dhcp: vec![Ipv4Addr::new(10, 0, 0, 1)],
            vips: if *name == "mgmt" {
                vec![Ipv4Addr::new(10, 1, 0, 5)]
            } else {
                Vec::new()
            },
            own_vrrp: vec![51],
        });
        let mut plan = Plan {
            networks: networks.collect(),
            nodes: Vec::new(),
        };
        let mut ports = BTreeMap::new();
        for node in 0..nodes {
            let mut links = Vec::new();
            for (number, (_, nic, vlan, mtu)) in NETWORKS.iter().enumerate() {
                let is_bond = *nic == "net1" && bond.is_some();
                let cards = if *nic == "net1" {
                    members
                } else {
                    std::slice::from_ref(nic)
                };
                for card in cards {
                    links.push(Link {
                        nic: (*card).into(),
                        bond: bond.clone().filter(|_| is_bond),
                        network: number,
                        vlan: *vlan,
                        mtu: *mtu,
                        address: Some(address(number, node)),
                        gateway: (number == 1).then_some(Ipv4Addr::new(10, 1, 0, 1)),
                    });
                    let port = SwitchPort {
                        switch: usize::from(*nic != "pxe0"),
                        is_on: true,
                        native: 1,
                        allowed: None,
                        mtu: 9216,
                        receives: true,
                        sends: true,
                    };
                    ports.insert((node, (*card).to_owned()), port);
                }
            }
            plan.nodes.push(Node {
                name: format!("node-{}", node + 1),
                links,
                dns: vec![Ipv4Addr::new(10, 1, 0, 1).into()],
                time: Vec::new(),
            });
        }
        World {
            plan,
            ports,
            mtus: BTreeMap::new(),
            unasked: BTreeMap::new(),
            strange: BTreeMap::new(),
        }
    }

    fn port(&mut self, node: usize, nic: &str) -> &mut SwitchPort {
        self.ports.get_mut(&(node - 1, nic.to_owned())).unwrap()
    }

    /// The tag with which a frame arrives; `None` if it does not.
    fn carried(
        &self,
        from: &SwitchPort,
        to: &SwitchPort,
        tag: Option<u16>,
        bytes: u16,
    ) -> Option<Option<u16>> {
        let vlan = tag.unwrap_or(from.native);
        let passes = |port: &SwitchPort| {
            let is_allowed = port.allowed.as_ref().is_none_or(|all| all.contains(&vlan));
            port.is_on && bytes <= port.mtu && (port.native == vlan || is_allowed)
        };
        let fits = self.mtus.get(&vlan).is_none_or(|mtu| bytes <= *mtu);
        let is_carried = from.switch == to.switch
            && passes(from)
            && passes(to)
            && fits
            && from.sends
            && to.receives;
        is_carried.then(|| Some(vlan).filter(|vlan| *vlan != to.native))
    }

    fn outcomes(&self) -> Vec<Outcome> {
        (0..self.plan.nodes.len())
            .map(|node| self.outcome(node))
            .collect()
    }

    fn outcome(&self, node: usize) -> Outcome {
        if let Some(reason) = self.unasked.get(&node) {
            return Outcome::Unasked((*reason).to_owned());
        }
        let links_max = self.plan.links_max();
        let room = self.plan.nodes.len() * links_max;
        let cards: BTreeMap<&String, &SwitchPort> = self
            .ports
            .iter()
            .filter(|((of, _), _)| *of == node)
            .map(|((_, nic), port)| (nic, port))
            .collect();
        let mut nics = Vec::new();
        for (number, (nic, port)) in cards.iter().enumerate() {
            let mut places: BTreeMap<Option<u16>, Place> = BTreeMap::new();
            for (sender, theirs) in self.plan.nodes.iter().enumerate() {
                if self.unasked.contains_key(&sender) {
                    continue;
                }
                for (link, sent) in theirs.links.iter().enumerate() {
                    let from = &self.ports[&(sender, sent.nic.clone())];
                    if sender == node && sent.nic == **nic {
                        continue;
                    }
                    for (bytes, full) in [(46, false), (sent.mtu, true)] {
                        if let Some(tag) = self.carried(from, port, sent.vlan, bytes) {
                            let place = places.entry(tag).or_insert_with(|| Place {
                                vlan: tag,
                                small: Bitmap::new(room),
                                full: Bitmap::new(room),
                            });
                            let bits = if full {
                                &mut place.full
                            } else {
                                &mut place.small
                            };
                            bits.insert(sender * links_max + link);
                        }
                    }
                }
            }
            let gateway = Claim {
                vlan: Some(401),
                address: Ipv4Addr::new(10, 1, 0, 1),
                mac: "00:00:5e:00:01:0a".into(),
            };
            nics.push(NicReport {
                name: (*nic).clone(),
                mac: mac(node, number),
                mtu: 9000,
                carrier: port.is_on,
                places: places.into_values().collect(),
                claims: if *nic == "net0" && port.is_on {
                    vec![gateway]
                } else {
                    Vec::new()
                },
                ..NicReport::default()
            });
        }
        let mut heard = Heard {
            macs: nics.iter().map(|nic| nic.mac.clone()).collect(),
            nics,
            links: vec![LinkReport::default(); self.plan.nodes[node].links.len()],
            dns: vec![Answer {
                server: "10.1.0.1".into(),
                fault: None,
            }],
            time: Vec::new(),
        };
        if let Some(strange) = self.strange.get(&node) {
            strange(&mut heard);
        }
        Outcome::Heard(Box::new(heard))
    }

    fn report(&self) -> Report {
        analyse(&self.plan, &self.outcomes(), &[])
    }
}

fn nic<'a>(heard: &'a mut Heard, name: &str) -> &'a mut NicReport {
    heard.nics.iter_mut().find(|nic| nic.name == name).unwrap()
}

/// Takes out of what a card heard all that these nodes sent.
fn deafen(heard: &mut Heard, name: &str, senders: &[usize]) {
    let (room, links) = (7 * 5, 5);
    let without = |bitmap: &Bitmap| {
        let mut kept = Bitmap::new(room);
        (0..room)
            .filter(|bit| bitmap.contains(*bit) && !senders.contains(&(bit / links)))
            .for_each(|bit| kept.insert(bit));
        kept
    };
    for place in &mut nic(heard, name).places {
        (place.small, place.full) = (without(&place.small), without(&place.full));
    }
}

type Fault = (&'static str, fn(&mut World));

/// One fault at a time, in a cloud of seven nodes.
const FAULTS: &[Fault] = &[
    ("everything is well", |_| {}),
    ("a cable is not plugged in", |world| {
        world.port(4, "net1").is_on = false
    }),
    ("a VLAN is missing on one switch port", |world| {
        world.port(4, "net1").allowed = Some(vec![403]);
    }),
    ("a switch port has none of the VLANs", |world| {
        world.port(4, "net1").allowed = Some(vec![])
    }),
    ("a switch port is an access port", |world| {
        let port = world.port(4, "net1");
        (port.native, port.allowed) = (402, Some(vec![]));
    }),
    ("a card is plugged into a switch of its own", |world| {
        world.port(4, "net0").switch = 9
    }),
    (
        "two nodes are on a switch whose uplink lacks the VLANs",
        |world| {
            (world.port(4, "net1").switch, world.port(5, "net1").switch) = (9, 9);
        },
    ),
    (
        "the MTU of one switch port is that of the factory",
        |world| world.port(4, "net1").mtu = 1504,
    ),
    (
        "the MTU of the whole switch is that of the factory",
        |world| {
            world.mtus.extend([(402, 1500), (403, 1500)]);
        },
    ),
    ("the MTU of a card is too small", |world| {
        world.port(4, "net1").mtu = 1504;
        world.strange.insert(3, |heard| {
            let text = "a frame of 9000 bytes is too long for the card, whose MTU is 1500";
            heard.links[2].full_fault = Some(text.into());
        });
    }),
    ("a card receives and does not send", |world| {
        world.port(4, "net0").sends = false
    }),
    ("a card sends and does not receive", |world| {
        world.port(4, "net0").receives = false
    }),
    ("the cables of two access ports are swapped", |world| {
        let port = world.port(3, "pxe0");
        (port.switch, port.native, port.allowed) = (1, 402, Some(vec![]));
        let port = world.port(3, "net1");
        (port.switch, port.allowed) = (0, Some(vec![]));
    }),
    ("the cable of pxe0 is on the wire of mgmt", |world| {
        let port = world.port(6, "pxe0");
        (port.switch, port.native, port.allowed) = (1, 401, Some(vec![]));
    }),
    ("a VLAN is nowhere on the switch", |world| {
        for node in 1..=7 {
            world.port(node, "net1").allowed = Some(vec![402]);
        }
    }),
    ("a network in halves, one node not asked", |world| {
        for node in 1..=3 {
            world.port(node, "net0").switch = 9;
        }
        world
            .unasked
            .insert(6, "`node-7` at 10.0.0.17:22: Connection refused");
    }),
    ("the card is not there", |world| {
        world.strange.insert(1, |heard| {
            let card = nic(heard, "net1");
            *card = NicReport {
                name: card.name.clone(),
                fault: Some("the node has no card of this name".into()),
                ..NicReport::default()
            };
        });
    }),
    ("strangers on the wires", |world| {
        world.strange.insert(1, |heard| {
            let claim = |last: u8, mac: &str| Claim {
                vlan: Some(401),
                address: Ipv4Addr::new(10, 1, 0, last),
                mac: mac.into(),
            };
            nic(heard, "net0").claims.extend([
                claim(12, "0c:c4:7a:00:00:99"),
                claim(12, &mac(4, 0)),
                claim(5, "0c:c4:7a:00:00:98"),
                claim(1, "0c:c4:7a:00:00:97"),
            ]);
            let offer = |vlan, last: u8| Offer {
                vlan,
                server: Ipv4Addr::new(10, 0, 0, last),
                mac: "0c:c4:7a:00:00:96".into(),
                offered: Ipv4Addr::new(10, 0, 0, 200),
            };
            nic(heard, "pxe0")
                .offers
                .extend([offer(None, 1), offer(None, 77)]);
            nic(heard, "net0").offers.push(offer(Some(404), 78));
            let speaker = |router_id, last| Speaker {
                vlan: Some(401),
                router_id,
                address: Ipv4Addr::new(10, 1, 0, last),
                mac: format!("00:00:5e:00:01:{router_id:02x}"),
            };
            nic(heard, "net0")
                .speakers
                .extend([speaker(51, 250), speaker(51, 13), speaker(10, 2)]);
        });
    }),
    ("gateway and name server", |world| {
        for node in 0..7 {
            world.strange.insert(node, |heard| {
                heard.dns[0].fault = Some("it answers: refused".into());
            });
        }
        world
            .strange
            .insert(2, |heard| nic(heard, "net0").claims.clear());
    }),
    ("frames come back", |world| {
        world.strange.insert(2, |heard| {
            let place = &mut nic(heard, "pxe0").places[0];
            place.small.insert(2 * 5);
        });
    }),
    (
        "two cards miss each other though both hear others",
        |world| {
            world.strange.insert(1, |heard| deafen(heard, "pxe0", &[4]));
            world
                .strange
                .insert(4, |heard| deafen(heard, "pxe0", &[1, 2]));
        },
    ),
    ("a card that was flooded", |world| {
        world.port(4, "net0").receives = false;
        world
            .strange
            .insert(3, |heard| nic(heard, "net0").lost = 90_000);
    }),
];

#[test]
fn each_fault_is_told_by_its_cable() {
    let mut all = String::new();
    for (what, fault) in FAULTS {
        let mut world = World::of(7);
        fault(&mut world);
        all += &format!("──── {what}\n{}\n", world.report());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_bond_is_looked_at_member_by_member() {
    let mut all = String::new();
    let bond = |aggregated| Bond {
        name: "bond0".into(),
        aggregated,
    };
    let mut tell = |what: &str, aggregated, fault: fn(&mut World)| {
        let mut world = World::with_members(5, &["net1", "net2"], Some(bond(aggregated)));
        fault(&mut world);
        all += &format!("──── {what}\n{}\n", world.report());
    };
    tell("all is well", false, |_| {});
    tell("one member is on another switch", false, |world| {
        world.port(3, "net2").switch = 9
    });
    tell("one member lacks a VLAN", false, |world| {
        world.port(3, "net2").allowed = Some(vec![402])
    });
    tell(
        "aggregated members each get a part of the frames",
        true,
        |world| {
            for node in 1..=5 {
                let card = if node % 2 == 0 { "net1" } else { "net2" };
                world.port(node, card).receives = false;
            }
        },
    );
    tell("an aggregated member sends into nothing", true, |world| {
        world.port(2, "net2").sends = false
    });
    insta::assert_snapshot!(all);
}

#[test]
fn two_nodes_cannot_tell_who_is_wrong_and_one_has_nobody_to_ask() {
    let mut all = String::new();
    for (nodes, what) in [(1, "one node"), (2, "two nodes")] {
        let mut world = World::of(nodes);
        world.port(1, "net1").allowed = Some(vec![403]);
        world.port(1, "net0").sends = false;
        all += &format!("──── {what}\n{}\n", world.report());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn networks_that_are_one_wire_are_told_once() {
    let mut world = World::of(5);
    // Access ports: the boot network and `storage` in the same VLAN, as frames without a tag.
    for link in world.plan.nodes.iter_mut().flat_map(|node| &mut node.links) {
        link.vlan = link.vlan.filter(|tag| *tag != 402);
    }
    for node in 1..=5 {
        world.port(node, "pxe0").switch = 1;
    }
    insta::assert_snapshot!(world.report());
}

#[test]
fn two_hundred_nodes_are_judged_in_no_time() {
    let mut world = World::of(200);
    world.port(17, "net1").allowed = Some(vec![403]);
    world.port(99, "net0").is_on = false;
    world.port(150, "net1").mtu = 1504;
    let outcomes = world.outcomes();
    let began = Instant::now();
    let report = analyse(&world.plan, &outcomes, &[]);
    let took = began.elapsed();
    println!("200 nodes, 5 networks: {took:?}");
    // Generous: the machine may be busy.
    assert!(took < Duration::from_secs(5), "{took:?}");
    insta::assert_snapshot!(report);
}

#[derive(Debug, Clone, Copy)]
enum Single {
    Unplugged,
    NoVlan,
    ElsewhereAlone,
    SmallMtu,
    Deaf,
    Mute,
}

fn single() -> impl Strategy<Value = Single> {
    prop::sample::select(vec![
        Single::Unplugged,
        Single::NoVlan,
        Single::ElsewhereAlone,
        Single::SmallMtu,
        Single::Deaf,
        Single::Mute,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn wires_as_planned_give_no_findings(nodes in 0usize..12) {
        let report = World::of(nodes).report();
        prop_assert!(report.is_well() && report.findings.is_empty(), "{report}");
    }

    /// Whatever the fault of one cable: something is told, and only of its node.
    #[test]
    fn one_fault_is_told_of_its_node_alone(nodes in 4usize..10, victim in 0usize..10, card in 0usize..3, fault in single()) {
        let mut world = World::of(nodes);
        let node = victim % nodes + 1;
        let port = world.port(node, ["pxe0", "net0", "net1"][card]);
        match fault {
            Single::Unplugged => port.is_on = false,
            Single::NoVlan => (port.native, port.allowed) = (666, Some(vec![403])),
            Single::ElsewhereAlone => port.switch = 9,
            Single::SmallMtu => port.mtu = 1000,
            Single::Deaf => port.receives = false,
            Single::Mute => port.sends = false,
        }
        let report = world.report();
        prop_assert!(!report.is_well(), "{fault:?} unseen");
        for finding in &report.findings {
            prop_assert_eq!(&finding.nodes, &[format!("node-{node}")], "{}", finding);
        }
    }

    /// Nodes may say anything.
    #[test]
    fn nonsense_gives_a_bounded_report(
        seeds in prop::collection::vec(any::<u64>(), 1..12), tags in prop::collection::vec(prop::option::of(400u16..406), 1..4)
    ) {
        let world = World::of(seeds.len());
        let room = world.plan.links_max() * seeds.len();
        let mut outcomes = world.outcomes();
        for (outcome, seed) in outcomes.iter_mut().zip(&seeds) {
            let Outcome::Heard(heard) = outcome else { continue };
            if seed % 7 == 0 {
                *outcome = Outcome::Heard(Box::default());
                continue;
            }
            for nic in &mut heard.nics {
                nic.places = tags.iter().map(|vlan| {
                    let mut place = Place { vlan: *vlan, small: Bitmap::new(room), full: Bitmap::new(room) };
                    (0..room).filter(|bit| seed >> (bit % 60) & 1 == 1).for_each(|bit| place.small.insert(bit));
                    (0..room).filter(|bit| seed >> (bit % 59) & 1 == 1).for_each(|bit| place.full.insert(bit));
                    place
                }).collect();
                let claim = |n: u8| Claim {
                    vlan: tags[0], address: Ipv4Addr::new(10, 1, 0, n), mac: format!("{:02x}:{n}", seed % 255),
                };
                nic.claims = (0..40).map(claim).collect();
            }
        }
        let report = analyse(&world.plan, &outcomes, &[]);
        prop_assert!(report.findings.len() < 200, "{}", report.findings.len());
        prop_assert!(report.to_string().len() < 100_000);
    }
}
