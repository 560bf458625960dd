//! Who does not hear whom, and why. The largest part of a network's ports that hear each other is right; of the others
//! it is told what sets them apart.
use super::hearing::{Hearing, Level, Network};
use super::{Draft, ON, Port, finding, names};
use crate::report::{count, list};
use std::collections::{BTreeMap, BTreeSet};

/// Findings about one network's pairs that nothing else explains; more would not be read.
const PAIRS_MAX: usize = 8;

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
            no_majority(hearing, network, findings);
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
        pairs(hearing, network, &cut, findings);
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
    let (name, on) = (plan.port_name(port), ON);
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
            format!("frames of {on} arrive at {name} {arrives}; the plan has them {planned}");
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
                "{name} hears nobody on {on}, but {} hear it: frames to it are lost",
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
                "{name} is heard by nobody on {on}, but hears {}: frames from it are lost",
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
    let (name, on) = (plan.port_name(port), ON);
    let passes = if well.len() == 1 { "passes" } else { "pass" };
    let text = format!(
        "{name} does not see {on} of {}; on the same card {} {passes}",
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
    let on = ON;
    let text = format!(
        "{} see each other on {on}, but none of {} that see each other",
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

/// Nobody is in a majority.
fn no_majority(hearing: &Hearing<'_>, network: &Network, findings: &mut Vec<Draft>) {
    let on = ON;
    let ports = &network.ports;
    let next = "see that the switches carry it, and which ports these cables end at";
    let (kind, text) = match network.parts.as_slice() {
        [] | [_] => return,
        [one, two] if one.len() == 1 && two.len() == 1 => {
            let (a, b) = (one[0], two[0]);
            let name = |at: usize| hearing.plan.port_name(ports[at]);
            let text = match (
                network.level(a, b) > Level::Nothing,
                network.level(b, a) > Level::Nothing,
            ) {
                (true, _) => format!(
                    "{} hears {} on {on}, but not the other way",
                    name(a),
                    name(b)
                ),
                (_, true) => format!(
                    "{} hears {} on {on}, but not the other way",
                    name(b),
                    name(a)
                ),
                _ => format!("{} and {} do not see each other on {on}", name(a), name(b)),
            };
            ("no_pair", text)
        }
        parts if parts[0].len() == 1 => {
            let text = format!(
                "on {on} nobody sees anybody: {}",
                list(&names(hearing, ports))
            );
            ("nobody", text)
        }
        parts => {
            let told: Vec<String> = parts
                .iter()
                .map(|part| {
                    let part: Vec<Port> = part.iter().map(|at| ports[*at]).collect();
                    list(&names(hearing, &part))
                })
                .collect();
            let text = format!(
                "on {on} there are {} parts that do not see each other: ({})",
                parts.len(),
                told[..told.len().min(4)].join("), (")
            );
            ("split", text)
        }
    };
    findings.push(finding(
        hearing,
        kind,
        Some(network.number),
        ports,
        text,
        next,
    ));
}

/// Pairs that miss each other though both see others: grouped by the port that most of them have in common.
fn pairs(
    hearing: &Hearing<'_>,
    network: &Network,
    cut: &BTreeSet<Port>,
    findings: &mut Vec<Draft>,
) {
    let count_of = network.ports.len();
    let is_open = |at: usize| !cut.contains(&network.ports[at]);
    let mut missing: BTreeSet<(usize, usize)> = BTreeSet::new();
    for receiver in (0..count_of).filter(|at| is_open(*at)) {
        for sender in (0..count_of).filter(|at| is_open(*at)) {
            if network.is_expected(receiver, sender)
                && network.level(receiver, sender) == Level::Nothing
            {
                missing.insert((receiver, sender));
            }
        }
    }
    let on = ON;
    let name = |at: usize| hearing.plan.port_name(network.ports[at]);
    for _ in 0..PAIRS_MAX {
        let mut by_receiver = vec![0; count_of];
        let mut by_sender = vec![0; count_of];
        for (receiver, sender) in &missing {
            by_receiver[*receiver] += 1;
            by_sender[*sender] += 1;
        }
        let most =
            |counts: &[usize]| (0..count_of).max_by_key(|at| (counts[*at], std::cmp::Reverse(*at)));
        let (Some(receiver), Some(sender)) = (most(&by_receiver), most(&by_sender)) else {
            return;
        };
        if missing.is_empty() {
            return;
        }
        let is_receiver = by_receiver[receiver] >= by_sender[sender];
        let (who, gone): (usize, Vec<(usize, usize)>) = match is_receiver {
            true => (
                receiver,
                missing
                    .iter()
                    .filter(|pair| pair.0 == receiver)
                    .copied()
                    .collect(),
            ),
            false => (
                sender,
                missing
                    .iter()
                    .filter(|pair| pair.1 == sender)
                    .copied()
                    .collect(),
            ),
        };
        let others: Vec<String> = gone
            .iter()
            .map(|(receiver, sender)| name(if is_receiver { *sender } else { *receiver }))
            .collect();
        let expected = (0..count_of)
            .filter(|other| match is_receiver {
                true => network.is_expected(who, *other),
                false => network.is_expected(*other, who),
            })
            .count();
        let rest = expected - gone.len();
        let text = match is_receiver {
            true => format!(
                "{} does not hear {} on {on}, but hears {}",
                name(who),
                list(&others),
                count(rest, "other")
            ),
            false => format!(
                "{} is not heard by {} on {on}, but by {}",
                name(who),
                list(&others),
                count(rest, "other")
            ),
        };
        let next =
            "ask again; if it stays, look for filters or a second path between their switches";
        let ports: Vec<Port> = std::iter::once(network.ports[who])
            .chain(gone.iter().map(|(receiver, sender)| {
                network.ports[if is_receiver { *sender } else { *receiver }]
            }))
            .collect();
        findings.push(finding(
            hearing,
            "pairs",
            Some(network.number),
            &ports,
            text,
            next,
        ));
        gone.iter().for_each(|pair| {
            missing.remove(pair);
        });
    }
    if !missing.is_empty() {
        let text = format!(
            "on {on} {} more do not reach their receivers",
            count(missing.len(), "sender")
        );
        let next = "mend what is told first, then ask again";
        findings.push(finding(
            hearing,
            "pairs",
            Some(network.number),
            &[],
            text,
            next,
        ));
    }
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
