//! Where small frames pass and those of full size do not: an MTU that is too small somewhere on the way.
use super::hearing::{Hearing, Level, Network};
use super::{Draft, ON, Port, finding, names};
use crate::report::{count, list};
use std::cmp::Reverse;
use std::collections::BTreeSet;

const NEXT: &str = "set the MTU of its switch port (with room for the tag), or the network's `mtu` in `networks.yml`";

/// Receiver and sender, indexes of a network's ports.
type Pair = (usize, usize);

pub fn look(hearing: &Hearing<'_>, network: &Network, findings: &mut Vec<Draft>) {
    let silenced = card_faults(hearing, network, findings);
    let all = 0..network.ports.len();
    let passing: Vec<Pair> = all
        .clone()
        .flat_map(|receiver| all.clone().map(move |sender| (receiver, sender)))
        .filter(|(receiver, sender)| network.is_expected(*receiver, *sender))
        .filter(|(receiver, sender)| network.level(*receiver, *sender) > Level::Nothing)
        .filter(|(receiver, sender)| !silenced.contains(receiver) && !silenced.contains(sender))
        .collect();
    let is_small = |pair: &&Pair| network.level(pair.0, pair.1) == Level::Small;
    let mut small: BTreeSet<Pair> = passing.iter().filter(is_small).copied().collect();
    let mtus = network
        .ports
        .iter()
        .map(|port| hearing.plan.link(*port).mtu);
    let bytes = mtus.max().unwrap_or(0);
    let mut tell = |ports: &[Port], text: String| {
        findings.push(finding(
            hearing,
            "mtu",
            Some(network.number),
            ports,
            text,
            NEXT,
        ));
    };
    if !small.is_empty() && small.len() == passing.len() {
        let ports = ports_of(network, &small);
        let who = list(&names(hearing, &ports));
        let text = format!("no frame of {bytes} bytes passes on {ON}, but small ones do: {who}");
        return tell(&ports, text);
    }
    // The port with the most such pairs is the cause of them; then that of the rest.
    let mut told: BTreeSet<usize> = BTreeSet::new();
    while let Some((worst, direction, whom)) = worst(network, &passing, &small, &told) {
        let port = network.ports[worst];
        let name = hearing.plan.port_name(port);
        let text = format!(
            "frames of {bytes} bytes do not pass {direction} {name} on {ON}, though small ones do ({whom})"
        );
        tell(&[port], text);
        told.insert(worst);
        small.retain(|pair| pair.0 != worst && pair.1 != worst);
    }
    if !small.is_empty() {
        let ports = ports_of(network, &small);
        let who = list(&names(hearing, &ports));
        let text = format!(
            "frames of {bytes} bytes do not pass everywhere on {ON}, though small ones do: between {who}"
        );
        tell(&ports, text);
    }
}

/// Ports whose own card cannot send a full frame, which nothing else is told of.
fn card_faults(
    hearing: &Hearing<'_>,
    network: &Network,
    findings: &mut Vec<Draft>,
) -> BTreeSet<usize> {
    let mut silenced = BTreeSet::new();
    for (at, port) in network.ports.iter().enumerate() {
        let heard = hearing.heard(port.node);
        let report = heard.and_then(|heard| heard.links.get(port.link));
        if let Some(fault) = report.and_then(|report| report.full_fault.as_ref()) {
            silenced.insert(at);
            let name = hearing.plan.port_name(*port);
            let text = format!("{name} cannot send a full frame on {ON}: {fault}");
            let next = "set the card's MTU on the node, where systemd-networkd has it from the installation";
            let ports = [*port];
            findings.push(finding(
                hearing,
                "card_mtu",
                Some(network.number),
                &ports,
                text,
                next,
            ));
        }
    }
    silenced
}

/// The port that suffers most, in which direction, and with how many others: if it does with most of them.
fn worst(
    network: &Network,
    passing: &[Pair],
    small: &BTreeSet<Pair>,
    told: &BTreeSet<usize>,
) -> Option<(usize, &'static str, String)> {
    let suffering = |at: usize| {
        small
            .iter()
            .filter(|pair| pair.0 == at || pair.1 == at)
            .count()
    };
    let worst = (0..network.ports.len()).max_by_key(|at| (suffering(*at), Reverse(*at)))?;
    // As receiver or as sender: how many pairs are bad, of how many.
    let count_of = |own: fn(&Pair) -> usize, other: fn(&Pair) -> usize| {
        let is_its = |pair: &&Pair| own(pair) == worst && !told.contains(&other(pair));
        let bad = small.iter().filter(is_its).count();
        (bad, passing.iter().filter(is_its).count())
    };
    let to = count_of(|pair| pair.0, |pair| pair.1);
    let from = count_of(|pair| pair.1, |pair| pair.0);
    let is_most = |(bad, all): (usize, usize)| bad * 2 > all;
    let (direction, (bad, all)) = match (is_most(to), is_most(from)) {
        (true, true) => ("to or from", to),
        (true, false) => ("to", to),
        (false, true) => ("from", from),
        (false, false) => return None,
    };
    let whom = match bad == all {
        true => count(all, "other"),
        false => format!(
            "{bad} of {} that it has small ones with",
            count(all, "other")
        ),
    };
    Some((worst, direction, whom))
}

fn ports_of(network: &Network, pairs: &BTreeSet<Pair>) -> Vec<Port> {
    let all: BTreeSet<usize> = pairs.iter().flat_map(|pair| [pair.0, pair.1]).collect();
    all.into_iter().map(|at| network.ports[at]).collect()
}
