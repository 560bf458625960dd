//! What can be told of pairs only: where nobody is in a majority, and what is left when cables are told.
use super::hearing::{Hearing, Level, Network};
use super::{Draft, ON, Port, finding, names};
use crate::report::{count, list};
use std::collections::BTreeSet;

/// Findings about one network's pairs that nothing else explains; more would not be read.
const PAIRS_MAX: usize = 8;

/// Nobody is in a majority.
pub fn no_majority(hearing: &Hearing<'_>, network: &Network, findings: &mut Vec<Draft>) {
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
                    "{} hears {} on {ON}, but not the other way",
                    name(a),
                    name(b)
                ),
                (_, true) => format!(
                    "{} hears {} on {ON}, but not the other way",
                    name(b),
                    name(a)
                ),
                _ => format!("{} and {} do not see each other on {ON}", name(a), name(b)),
            };
            ("no_pair", text)
        }
        parts if parts[0].len() == 1 => {
            let text = format!(
                "on {ON} nobody sees anybody: {}",
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
                "on {ON} there are {} parts that do not see each other: ({})",
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
pub fn rest(
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
                "{} does not hear {} on {ON}, but hears {}",
                name(who),
                list(&others),
                count(rest, "other")
            ),
            false => format!(
                "{} is not heard by {} on {ON}, but by {}",
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
            "on {ON} {} more do not reach their receivers",
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
