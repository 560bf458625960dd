//! Who heard whom, looked up in what the nodes told: by node, and by network as a table of ports.
use crate::plan::{Plan, Port};
use crate::report::Unasked;
use crate::survey::Outcome;
use agent_protocol::probe::{Heard, NicReport, Place};
use std::collections::BTreeSet;

/// What passes from one port to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Nothing,
    /// Small frames only.
    Small,
    Full,
}

/// Plan and answers side by side.
pub struct Hearing<'a> {
    pub plan: &'a Plan,
    outcomes: &'a [Outcome],
    links_max: usize,
}

impl<'a> Hearing<'a> {
    pub fn new(plan: &'a Plan, outcomes: &'a [Outcome]) -> Self {
        Hearing {
            plan,
            outcomes,
            links_max: plan.links_max(),
        }
    }

    /// What a node told; `None` if it was not asked.
    pub fn heard(&self, node: usize) -> Option<&'a Heard> {
        match self.outcomes.get(node)? {
            Outcome::Heard(heard) => Some(heard),
            Outcome::Unasked(_) => None,
        }
    }

    pub fn unasked(&self) -> Vec<Unasked> {
        let of_node = |(number, node): (usize, &crate::plan::Node)| {
            let reason = match self.outcomes.get(number) {
                Some(Outcome::Heard(_)) => return None,
                Some(Outcome::Unasked(reason)) => reason.clone(),
                None => "nobody asked it".to_owned(),
            };
            let node = node.name.clone();
            Some(Unasked { node, reason })
        };
        self.plan
            .nodes
            .iter()
            .enumerate()
            .filter_map(of_node)
            .collect()
    }

    /// A card of a node, as it was reported.
    pub fn nic(&self, node: usize, name: &str) -> Option<&'a NicReport> {
        self.heard(node)?.nics.iter().find(|nic| nic.name == name)
    }

    /// What came to a port with its tag.
    pub fn place(&self, port: Port) -> Option<&'a Place> {
        let link = self.plan.link(port);
        let nic = self.nic(port.node, &link.nic)?;
        nic.places.iter().find(|place| place.vlan == link.vlan)
    }

    /// How well a place heard what a port sent.
    pub fn at(&self, place: &Place, sender: Port) -> Level {
        let bit = sender.node * self.links_max + sender.link;
        match (place.full.contains(bit), place.small.contains(bit)) {
            (true, _) => Level::Full,
            (false, true) => Level::Small,
            (false, false) => Level::Nothing,
        }
    }

    /// The owner of a hardware address: the port's name, or the node's.
    pub fn owner(&self, mac: &str) -> Option<String> {
        (0..self.plan.nodes.len()).find_map(|node| {
            let heard = self.heard(node)?;
            let name = &self.plan.nodes[node].name;
            let mut nics = heard.nics.iter();
            match nics.find(|nic| nic.mac == mac) {
                Some(nic) => Some(format!("{name} {}", nic.name)),
                None => heard
                    .macs
                    .iter()
                    .any(|own| own == mac)
                    .then(|| name.clone()),
            }
        })
    }
}

/// Pairs of nodes, in any order.
pub struct Pairs {
    nodes: usize,
    bits: Vec<bool>,
}

impl Pairs {
    pub fn contains(&self, one: usize, other: usize) -> bool {
        self.bits[one * self.nodes + other]
    }
}

/// One network's ports and what passes between them.
pub struct Network {
    pub number: usize,
    /// Of nodes that were asked, without those whose card itself is at fault.
    pub ports: Vec<Port>,
    /// What passes: by receiver, then by sender.
    levels: Vec<Level>,
    /// Whether anything is to pass, in the same order.
    expected: Vec<bool>,
    /// Nodes some port of which is at fault itself.
    faulty: BTreeSet<usize>,
    /// The largest part of the ports all of which hear each other, if one is the largest. Indexes of `ports`.
    pub main: Vec<usize>,
    /// All parts, the largest first.
    pub parts: Vec<Vec<usize>>,
}

impl Network {
    pub fn new(hearing: &Hearing<'_>, number: usize, healthy: &BTreeSet<Port>) -> Self {
        let plan = hearing.plan;
        let asked = |port: &Port| hearing.heard(port.node).is_some();
        let all: Vec<Port> = plan.ports_of(number).filter(asked).collect();
        let (ports, bad): (Vec<Port>, Vec<Port>) =
            all.into_iter().partition(|port| healthy.contains(port));
        let count = ports.len();
        let mut levels = vec![Level::Nothing; count * count];
        let mut expected = vec![false; count * count];
        for (r, receiver) in ports.iter().enumerate() {
            let own = plan.link(*receiver);
            // Of aggregated members the switch chooses one for each frame.
            let ears: Vec<Port> = match &own.bond {
                Some(bond) if bond.aggregated => ports
                    .iter()
                    .filter(|port| {
                        port.node == receiver.node && plan.link(**port).bond.as_ref() == Some(bond)
                    })
                    .copied()
                    .collect(),
                _ => vec![*receiver],
            };
            let places: Vec<_> = ears.iter().filter_map(|ear| hearing.place(*ear)).collect();
            for (s, sender) in ports.iter().enumerate() {
                let heard = places.iter().map(|place| hearing.at(place, *sender));
                levels[r * count + s] = heard.max().unwrap_or(Level::Nothing);
                let theirs = plan.link(*sender);
                let same_bond = own.bond.is_some() && own.bond == theirs.bond;
                let aggregated = own.bond.as_ref().is_some_and(|bond| bond.aggregated);
                expected[r * count + s] = match receiver.node == sender.node {
                    false => true,
                    // A broadcast of one member comes back by the other.
                    true => r != s && same_bond && !aggregated,
                };
            }
        }
        let mut network = Network {
            number,
            ports,
            levels,
            expected,
            faulty: bad.iter().map(|port| port.node).collect(),
            main: Vec::new(),
            parts: Vec::new(),
        };
        network.parts = network.find_parts();
        let size = |part: Option<&Vec<usize>>| part.map_or(0, Vec::len);
        let largest = size(network.parts.first());
        if largest > size(network.parts.get(1)) && (largest > 1 || count == 1) {
            network.main = network.parts[0].clone();
        }
        network
    }

    /// What passes to a port from another, by index.
    pub fn level(&self, receiver: usize, sender: usize) -> Level {
        self.levels[receiver * self.ports.len() + sender]
    }

    pub fn is_expected(&self, receiver: usize, sender: usize) -> bool {
        self.expected[receiver * self.ports.len() + sender]
    }

    /// Whether anything passes both ways where it should.
    fn is_joined(&self, one: usize, other: usize) -> bool {
        self.is_expected(one, other)
            && self.level(one, other) > Level::Nothing
            && self.level(other, one) > Level::Nothing
    }

    /// Parts of the ports that are connected, the largest first, in the order of the plan else.
    fn find_parts(&self) -> Vec<Vec<usize>> {
        let count = self.ports.len();
        let mut is_seen = vec![false; count];
        let mut parts = Vec::new();
        for first in 0..count {
            if std::mem::replace(&mut is_seen[first], true) {
                continue;
            }
            let mut part = vec![first];
            let mut at = 0;
            while at < part.len() {
                let new = |other: &usize| !is_seen[*other] && self.is_joined(part[at], *other);
                let found: Vec<usize> = (0..count).filter(new).collect();
                found.iter().for_each(|other| is_seen[*other] = true);
                part.extend(found);
                at += 1;
            }
            part.sort_unstable();
            parts.push(part);
        }
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        parts
    }

    /// Pairs of nodes between which something does not pass.
    pub fn broken_pairs(&self, nodes: usize) -> Pairs {
        let mut bits = vec![false; nodes * nodes];
        let mut note = |one: usize, other: usize| {
            bits[one * nodes + other] = true;
            bits[other * nodes + one] = true;
        };
        for (r, receiver) in self.ports.iter().enumerate() {
            for (s, sender) in self.ports.iter().enumerate() {
                if self.is_expected(r, s) && self.level(r, s) < Level::Full {
                    note(receiver.node, sender.node);
                }
            }
        }
        for node in &self.faulty {
            (0..nodes).for_each(|other| note(*node, other));
        }
        Pairs { nodes, bits }
    }
}
