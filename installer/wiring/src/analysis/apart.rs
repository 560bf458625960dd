//! Who does not hear whom, and why. The largest part of a network's ports that hear each other is right; of the others
//! it is told what sets them apart.
use super::hearing::{Hearing, Level, Network};
use super::{Draft, ON, Port, finding, names, pairs};
use crate::report::{count, list};
use std::collections::{BTreeMap, BTreeSet};

/// Adds what was found; gives the ports that are cut off, from which nothing more can be expected.
pub fn look(
    hearing: &Hearing<'_>,
    networks: &[Network],
    findings: &mut Vec<Draft>,
) -> BTreeSet<Port> {
    let mains: BTreeSet<Port> = networks
        .iter()
        .flat_map(|network| network.main.iter().map(|at| network.ports[*at]))
        .collect();
    let mut cut = BTreeSet::new();
    let mut alone: BTreeMap<(usize, String), Vec<Port>> = BTreeMap::new();
    let mut misplaced: Vec<(Port, usize)> = Vec::new();
    for network in networks {
        if network.main.is_empty() {
            pairs::no_majority(hearing, network, findings);
            cut.extend(
                network
                    .ports
                    .iter()
                    .copied()
                    .filter(|_| network.ports.len() > 1),
            );
            continue;
        }
        for part in network.parts.iter().skip(1) {
            let mut islanders = Vec::new();
            for &at in part {
                let port = network.ports[at];
                let told = one(hearing, networks, network, at, &mains, findings);
                match told {
                    Told::Yes | Told::InPart => {}
                    Told::Misplaced(other) => misplaced.push((port, other)),
                    Told::Nothing => islanders.push(port),
                }
                if told != Told::InPart {
                    cut.insert(port);
                }
            }
            match islanders.as_slice() {
                [] => {}
                [port] if lone_vlan(hearing, network, *port, &mains, findings) => {}
                [port] => {
                    let nic = hearing.plan.link(*port).nic.clone();
                    alone.entry((port.node, nic)).or_default().push(*port);
                }
                ports => island(hearing, network, ports, findings),
            }
        }
        pairs::rest(hearing, network, &cut, findings);
    }
    for ports in alone.values() {
        lone_card(hearing, networks, ports, findings);
    }
    swaps(hearing, networks, &misplaced, findings);
    cut
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// A finding says why.
    Yes,
    /// It is cut off, and nothing is known of why.
    Nothing,
    /// It is on the wire of this network.
    Misplaced(usize),
    /// It hears some and is heard by some.
    InPart,
}

/// One port outside the main part.
fn one(
    hearing: &Hearing<'_>,
    networks: &[Network],
    network: &Network,
    at: usize,
    mains: &BTreeSet<Port>,
    findings: &mut Vec<Draft>,
) -> Told {
    let plan = hearing.plan;
    let port = network.ports[at];
    let name = plan.port_name(port);
    let others: Vec<usize> = network
        .main
        .iter()
        .copied()
        .filter(|other| network.is_expected(at, *other))
        .collect();
    let hears = others
        .iter()
        .filter(|other| network.level(at, **other) > Level::Nothing)
        .count();
    let heard_by = others
        .iter()
        .filter(|other| network.level(**other, at) > Level::Nothing)
        .count();
    let all = others.len();
    if hears == 0
        && let Some(tag) = other_tag(hearing, network, port)
    {
        let arrives = tag.map_or("without a tag".to_owned(), |tag| format!("with tag {tag}"));
        let planned = plan.link(port).vlan;
        let planned = planned.map_or("without one".to_owned(), |tag| format!("with tag {tag}"));
        let text =
            format!("frames of {ON} arrive at {name} {arrives}; the plan has them {planned}");
        let next = "compare the VLAN of its switch port (access or trunk, and the native VLAN) with `networks.yml`";
        findings.push(finding(
            hearing,
            "other_tag",
            Some(network.number),
            &[port],
            text,
            next,
        ));
        return Told::Yes;
    }
    match (hears, heard_by) {
        (0, 0) => {}
        (0, _) => {
            let text = format!(
                "{name} hears nobody on {ON}, but {} hear it: frames to it are lost",
                of(heard_by, all)
            );
            let next = "look at the receiving side of its cable, and at filters on its switch port";
            findings.push(finding(
                hearing,
                "deaf",
                Some(network.number),
                &[port],
                text,
                next,
            ));
            return Told::Yes;
        }
        (_, 0) => {
            let text = format!(
                "{name} is heard by nobody on {ON}, but hears {}: frames from it are lost",
                of(hears, all)
            );
            let next = "look at the sending side of its cable, and at filters or port security on its switch port";
            findings.push(finding(
                hearing,
                "mute",
                Some(network.number),
                &[port],
                text,
                next,
            ));
            return Told::Yes;
        }
        _ => return Told::InPart,
    }
    match other_wire(hearing, networks, network, port, mains) {
        Some(other) => Told::Misplaced(other),
        None => Told::Nothing,
    }
}

/// The tag with which the network's frames arrive at a port where they should come with another.
fn other_tag(hearing: &Hearing<'_>, network: &Network, port: Port) -> Option<Option<u16>> {
    let link = hearing.plan.link(port);
    let nic = hearing.nic(port.node, &link.nic)?;
    let senders: Vec<Port> = network.main.iter().map(|at| network.ports[*at]).collect();
    let hears = |sender: &Port, place| hearing.at(place, *sender) > Level::Nothing;
    nic.places
        .iter()
        .filter(|place| place.vlan != link.vlan)
        .find(|place| senders.iter().any(|sender| hears(sender, *place)))
        .map(|place| place.vlan)
}

/// The network whose wire a port is on: its card hears most of that network's frames, which it is not to carry.
fn other_wire(
    hearing: &Hearing<'_>,
    networks: &[Network],
    network: &Network,
    port: Port,
    mains: &BTreeSet<Port>,
) -> Option<usize> {
    let plan = hearing.plan;
    let link = plan.link(port);
    let nic = hearing.nic(port.node, &link.nic)?;
    let of_card = |other: &&crate::plan::Link| other.nic == link.nic;
    let links = &plan.nodes[port.node].links;
    let carried: BTreeSet<usize> = links
        .iter()
        .filter(of_card)
        .map(|link| link.network)
        .collect();
    // A trunk may carry more than it needs to. Where nothing of the card is where it should be, it is another's.
    let is_lost = !mains
        .iter()
        .any(|main| main.node == port.node && plan.link(*main).nic == link.nic);
    let heard = |other: &&Network| {
        let senders = other.main.iter().map(|at| other.ports[*at]);
        let senders: Vec<Port> = senders.filter(|sender| sender.node != port.node).collect();
        let places = nic
            .places
            .iter()
            .filter(|place| place.vlan == link.vlan || is_lost);
        let most = places
            .map(|place| {
                let heard = senders
                    .iter()
                    .filter(|sender| hearing.at(place, **sender) > Level::Nothing);
                heard.count()
            })
            .max()
            .unwrap_or(0);
        most > 0 && most * 2 >= senders.len()
    };
    networks
        .iter()
        .filter(|other| other.number != network.number && !carried.contains(&other.number))
        .find(heard)
        .map(|other| other.number)
}

/// A port that alone does not see its VLAN, while others of its card are well. Whether it is one.
fn lone_vlan(
    hearing: &Hearing<'_>,
    network: &Network,
    port: Port,
    mains: &BTreeSet<Port>,
    findings: &mut Vec<Draft>,
) -> bool {
    let plan = hearing.plan;
    let link = plan.link(port);
    let well: Vec<String> = mains
        .iter()
        .filter(|main| main.node == port.node && plan.link(**main).nic == link.nic)
        .map(|main| plan.network_name(plan.link(*main).network))
        .collect();
    if well.is_empty() {
        return false;
    }
    let name = plan.port_name(port);
    let passes = if well.len() == 1 { "passes" } else { "pass" };
    let text = format!(
        "{name} does not see {ON} of {}; on the same card {} {passes}",
        others_see(hearing, network),
        list(&well)
    );
    let next = "allow the VLAN on its switch port";
    findings.push(finding(
        hearing,
        "no_vlan",
        Some(network.number),
        &[port],
        text,
        next,
    ));
    true
}

/// `node-1 eth2; 5 others do`, for what one port does not see.
fn others_see(hearing: &Hearing<'_>, network: &Network) -> String {
    let first = network
        .main
        .first()
        .map(|at| hearing.plan.port_name(network.ports[*at]));
    let others = network.main.len().saturating_sub(1);
    match others {
        1 => format!("{}, which 1 other does", first.unwrap_or_default()),
        n => format!("{}, which {n} others do", first.unwrap_or_default()),
    }
}

/// A card that hears nobody on any of its networks.
fn lone_card(
    hearing: &Hearing<'_>,
    networks: &[Network],
    ports: &[Port],
    findings: &mut Vec<Draft>,
) {
    let plan = hearing.plan;
    let Some(first) = ports.first() else {
        return;
    };
    let on: Vec<String> = ports
        .iter()
        .map(|port| plan.network_name(plan.link(*port).network))
        .collect();
    let main = |port: &Port| networks[plan.link(*port).network].main.len();
    let others = ports.iter().map(main).max().unwrap_or(0);
    let name = plan.port_name(*first);
    let mut text = format!(
        "{name} has a link, but hears nobody and is heard by nobody on {}, where {} each other",
        list(&on),
        see(others)
    );
    let bond = &plan.link(*first).bond;
    let is_fellow = |port: &Port| {
        port.node == first.node
            && plan.link(*port).bond == *bond
            && plan.link(*port).nic != plan.link(*first).nic
    };
    let network = &networks[plan.link(*first).network];
    let mut mains = network.main.iter().map(|at| network.ports[*at]);
    if let (Some(bond), Some(fellow)) = (bond, mains.find(is_fellow)) {
        text += &format!(
            "; {}, also of {}, is well",
            plan.link(fellow).nic,
            bond.name
        );
    }
    let next = "see which switch port its cable ends at, and whether that has the right VLANs";
    let network = (ports.len() == 1).then_some(plan.link(*first).network);
    findings.push(finding(hearing, "alone", network, ports, text, next));
}

/// Ports that see each other and none of the majority.
fn island(hearing: &Hearing<'_>, network: &Network, ports: &[Port], findings: &mut Vec<Draft>) {
    let text = format!(
        "{} see each other on {ON}, but none of {} that see each other",
        list(&names(hearing, ports)),
        count(network.main.len(), "other")
    );
    let next = "look whether their switches carry the VLAN on the cable between them";
    findings.push(finding(
        hearing,
        "island",
        Some(network.number),
        ports,
        text,
        next,
    ));
}

/// Cards on each other's wires, and cards on a wrong one.
fn swaps(
    hearing: &Hearing<'_>,
    networks: &[Network],
    misplaced: &[(Port, usize)],
    findings: &mut Vec<Draft>,
) {
    let plan = hearing.plan;
    let mut told: BTreeSet<(usize, String)> = BTreeSet::new();
    for (port, other) in misplaced {
        let link = plan.link(*port);
        if !told.insert((port.node, link.nic.clone())) {
            continue;
        }
        let partner = misplaced.iter().find(|(theirs, on)| {
            theirs.node == port.node
                && plan.link(*theirs).nic != link.nic
                && plan.link(*theirs).network == *other
                && *on == link.network
        });
        let (on, planned) = (plan.network_name(*other), plan.network_name(link.network));
        if let Some((theirs, _)) = partner {
            told.insert((theirs.node, plan.link(*theirs).nic.clone()));
            let text = format!(
                "the cables of {} and {} are swapped: the one is on the wire of {on}, the other on that of {planned}",
                plan.port_name(*port),
                plan.link(*theirs).nic
            );
            let next = "swap them, or the hardware addresses of the two cards in the inventory";
            findings.push(finding(
                hearing,
                "swapped",
                None,
                &[*port, *theirs],
                text,
                next,
            ));
            continue;
        }
        let text = format!(
            "{} is on the wire of {on}; it should be on that of {planned}, where {} each other",
            plan.port_name(*port),
            see(networks[link.network].main.len())
        );
        let next = "see which switch port its cable ends at, and which VLAN that port has";
        findings.push(finding(
            hearing,
            "other_wire",
            Some(link.network),
            &[*port],
            text,
            next,
        ));
    }
}

/// `6 others see`, `1 other sees`.
fn see(others: usize) -> String {
    match others {
        1 => "1 other sees".to_owned(),
        n => format!("{n} others see"),
    }
}

/// `all 5`, `4 of 5`.
fn of(some: usize, all: usize) -> String {
    match some == all {
        true => format!("all {all} others"),
        false => format!("{some} of {all} others"),
    }
}
