//! From what every node heard to causes. A fault on one cable shows as hundreds of missing pairs; what is told is the
//! cable, found by what the majority hears.
//!
//! - `cards`: what a node's own card says: absent, no carrier, wrong MTU;
//! - `apart`: whose cable keeps it from the others, and why; `pairs`: what remains;
//! - `size`: where small frames pass and full ones do not;
//! - `joined`: networks that are one wire, and frames that come back;
//! - `strangers`: addresses of two owners, foreign DHCP servers and VRRP routers;
//! - `servers`: gateways, name servers, time servers, BMCs.
//!
//! Each takes values and gives findings. Nothing here does I/O.
mod apart;
mod cards;
mod hearing;
mod joined;
mod pairs;
mod servers;
mod size;
mod strangers;
#[cfg(test)]
mod tests;

use crate::bmc::Bmc;
use crate::plan::{Plan, Port};
use crate::report::{Cell, Finding, Report, Severity, list};
use crate::survey::Outcome;
use hearing::{Hearing, Network};
use std::collections::BTreeMap;

/// What the wires are like. `outcomes` are in the order of the plan's nodes.
pub fn analyse(plan: &Plan, outcomes: &[Outcome], bmcs: &[Bmc]) -> Report {
    let hearing = Hearing::new(plan, outcomes);
    let (mut findings, healthy) = cards::look(&hearing);
    let networks: Vec<Network> = (0..plan.networks.len())
        .map(|network| Network::new(&hearing, network, &healthy))
        .collect();
    let apart = apart::look(&hearing, &networks, &mut findings);
    for network in &networks {
        size::look(&hearing, network, &mut findings);
    }
    joined::look(&hearing, &networks, &mut findings);
    strangers::look(&hearing, &mut findings);
    servers::look(&hearing, &healthy, &apart, bmcs, &mut findings);
    Report {
        networks: plan
            .networks
            .iter()
            .map(|network| network.name.clone())
            .collect(),
        nodes: cells(&hearing, &networks),
        unasked: hearing.unasked(),
        findings: conclude(plan, findings),
    }
}

/// Stands in a draft's text for its network's name.
const ON: &str = "{on}";

/// A finding of one network. What is the same on several networks of the same cards becomes one finding.
struct Draft {
    severity: Severity,
    kind: &'static str,
    network: Option<usize>,
    nodes: Vec<String>,
    text: String,
    next_step: String,
}

/// An error about some ports of a network, or of all.
fn finding(
    hearing: &Hearing<'_>,
    kind: &'static str,
    network: Option<usize>,
    ports: &[Port],
    text: String,
    next_step: &str,
) -> Draft {
    let mut nodes: Vec<String> = Vec::new();
    for port in ports {
        let name = &hearing.plan.nodes[port.node].name;
        if !nodes.contains(name) {
            nodes.push(name.clone());
        }
    }
    Draft {
        severity: Severity::Error,
        kind,
        network,
        nodes,
        text,
        next_step: next_step.to_owned(),
    }
}

/// Joins drafts that say the same of several networks; errors come before warnings, in the order of their finding else.
fn conclude(plan: &Plan, drafts: Vec<Draft>) -> Vec<Finding> {
    let mut joined: Vec<(Draft, Vec<usize>)> = Vec::new();
    let mut known: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
    for draft in drafts {
        let own = draft.network;
        let place = *known
            .entry((draft.kind, draft.text.clone()))
            .or_insert_with(|| {
                joined.push((draft, Vec::new()));
                joined.len() - 1
            });
        let networks = &mut joined[place].1;
        networks.extend(own.filter(|own| !networks.contains(own)));
    }
    let mut findings: Vec<Finding> = joined
        .into_iter()
        .map(|(draft, networks)| {
            let name = |network: &usize| plan.network_name(*network);
            let on = list(&networks.iter().map(name).collect::<Vec<_>>());
            let name = |network: usize| plan.networks[network].name.clone();
            Finding {
                severity: draft.severity,
                kind: draft.kind,
                networks: networks.into_iter().map(name).collect(),
                nodes: draft.nodes,
                text: draft.text.replace(ON, &on),
                next_step: draft.next_step,
            }
        })
        .collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn names(hearing: &Hearing<'_>, ports: &[Port]) -> Vec<String> {
    ports
        .iter()
        .map(|port| hearing.plan.port_name(*port))
        .collect()
}

/// How every node does on every network: with how many of those that are well themselves. One bad cable shows in its
/// own row then, and not in everybody's.
fn cells(hearing: &Hearing<'_>, networks: &[Network]) -> Vec<(String, Vec<Cell>)> {
    let plan = hearing.plan;
    let mut rows: Vec<(String, Vec<Cell>)> = plan
        .nodes
        .iter()
        .map(|node| (node.name.clone(), vec![Cell::Absent; plan.networks.len()]))
        .collect();
    for (number, network) in networks.iter().enumerate() {
        // Those whose cards are at fault, too: with them nothing passes.
        let mut carrying: Vec<usize> = plan.ports_of(number).map(|port| port.node).collect();
        carrying.dedup();
        let is_asked = |node: &usize| hearing.heard(*node).is_some();
        let asked: Vec<usize> = carrying.iter().copied().filter(is_asked).collect();
        let broken = network.broken_pairs(plan.nodes.len());
        let well_with = |node: usize, others: &[usize]| {
            let is_well = |other: &&usize| **other != node && !broken.contains(node, **other);
            others.iter().filter(is_well).count()
        };
        let is_sound = |node: &usize| well_with(*node, &asked) * 2 >= asked.len() - 1;
        let mut sound: Vec<usize> = asked.iter().copied().filter(is_sound).collect();
        if sound.len() < 2 {
            sound.clone_from(&asked);
        }
        for node in carrying {
            rows[node].1[number] = match is_asked(&node) {
                false => Cell::Unasked,
                true => Cell::With {
                    well: well_with(node, &sound),
                    of: sound.iter().filter(|other| **other != node).count(),
                },
            };
        }
    }
    rows
}
