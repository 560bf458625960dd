//! Where small frames pass and those of full size do not: an MTU that is too small somewhere on the way.
use super::hearing::{Hearing, Level, Network};
use super::{Draft, ON, Port, finding, names};
use crate::report::{count, list};
use std::collections::BTreeSet;

const NEXT: &str = "set the MTU of its switch port (with room for the tag), or the network's `mtu` in `networks.yml`";

pub fn look(hearing: &Hearing<'_>, network: &Network, findings: &mut Vec<Draft>) {
    let plan = hearing.plan;
    let total = network.ports.len();
    let on = ON;
    let mut silenced = BTreeSet::new();
    for (at, port) in network.ports.iter().enumerate() {
        if let Some(fault) = full_fault(hearing, *port) {
            silenced.insert(at);
            let text = format!(
                "{} cannot send a full frame on {on}: {fault}",
                plan.port_name(*port)
            );
            let next = "set the card's MTU on the node (its files for systemd-networkd are written at installation)";
            findings.push(finding(
                hearing,
                "card_mtu",
                Some(network.number),
                &[*port],
                text,
                next,
            ));
        }
    }
    let at_all = |receiver: usize, sender: usize| {
        network.is_expected(receiver, sender)
            && network.level(receiver, sender) > Level::Nothing
            && !silenced.contains(&sender)
            && !silenced.contains(&receiver)
    };
    let all_pairs =
        || (0..total).flat_map(move |receiver| (0..total).map(move |sender| (receiver, sender)));
    let passing: Vec<(usize, usize)> = all_pairs().filter(|pair| at_all(pair.0, pair.1)).collect();
    let is_small = |pair: &&(usize, usize)| network.level(pair.0, pair.1) == Level::Small;
    let mut small: BTreeSet<(usize, usize)> = passing.iter().filter(is_small).copied().collect();
    if small.is_empty() {
        return;
    }
    let bytes = network
        .ports
        .iter()
        .map(|port| plan.link(*port).mtu)
        .max()
        .unwrap_or(0);
    let ports = |pairs: &BTreeSet<(usize, usize)>| -> Vec<Port> {
        let all: BTreeSet<usize> = pairs.iter().flat_map(|pair| [pair.0, pair.1]).collect();
        all.into_iter().map(|at| network.ports[at]).collect()
    };
    if small.len() == passing.len() {
        let ports = ports(&small);
        let text = format!(
            "no frame of {bytes} bytes passes on {on}, but small ones do: {}",
            list(&names(hearing, &ports))
        );
        findings.push(finding(
            hearing,
            "mtu",
            Some(network.number),
            &ports,
            text,
            NEXT,
        ));
        return;
    }
    // The port with the most such pairs is the cause of them; then that of the rest.
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    loop {
        let suffering = |at: usize| {
            small
                .iter()
                .filter(|pair| pair.0 == at || pair.1 == at)
                .count()
        };
        let Some(worst) = (0..total).max_by_key(|at| (suffering(*at), std::cmp::Reverse(*at)))
        else {
            return;
        };
        let counts = |of_pair: fn(&(usize, usize)) -> (usize, usize)| {
            let is_own = |pair: &&(usize, usize)| {
                let (own, other) = of_pair(pair);
                own == worst && !taken.contains(&other)
            };
            (
                small.iter().filter(is_own).count(),
                passing.iter().filter(is_own).count(),
            )
        };
        let (to_bad, to_all) = counts(|pair| (pair.0, pair.1));
        let (from_bad, from_all) = counts(|pair| (pair.1, pair.0));
        let (is_to, is_from) = (to_bad * 2 > to_all, from_bad * 2 > from_all);
        if !is_to && !is_from {
            break;
        }
        let direction = match (is_to, is_from) {
            (true, true) => "to or from",
            (true, false) => "to",
            _ => "from",
        };
        let (bad, all) = if is_to {
            (to_bad, to_all)
        } else {
            (from_bad, from_all)
        };
        let whom = match bad == all {
            true => count(all, "other"),
            false => format!(
                "{bad} of {} that it has small ones with",
                count(all, "other")
            ),
        };
        let port = network.ports[worst];
        let text = format!(
            "frames of {bytes} bytes do not pass {direction} {} on {on}, though small ones do ({whom})",
            plan.port_name(port)
        );
        findings.push(finding(
            hearing,
            "mtu",
            Some(network.number),
            &[port],
            text,
            NEXT,
        ));
        taken.insert(worst);
        small.retain(|pair| pair.0 != worst && pair.1 != worst);
    }
    if !small.is_empty() {
        let ports = ports(&small);
        let text = format!(
            "frames of {bytes} bytes do not pass everywhere on {on}, though small ones do: between {}",
            list(&names(hearing, &ports))
        );
        findings.push(finding(
            hearing,
            "mtu",
            Some(network.number),
            &ports,
            text,
            NEXT,
        ));
    }
}

/// Why a port sent no full frame, if it said so.
fn full_fault<'a>(hearing: &Hearing<'a>, port: Port) -> Option<&'a String> {
    let report = hearing.heard(port.node)?.links.get(port.link)?;
    report.full_fault.as_ref()
}
