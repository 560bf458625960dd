//! Addresses that somebody else has, foreign DHCP servers, foreign VRRP routers.
use super::hearing::Hearing;
use super::{Draft, ON, Port, finding};
use crate::report::{Severity, count, list};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// VRRP's own hardware addresses for IPv4 (RFC 5798 section 7.3).
const VRRP_MACS: &str = "00:00:5e:00:01:";

pub fn look(hearing: &Hearing<'_>, findings: &mut Vec<Draft>) {
    for network in 0..hearing.plan.networks.len() {
        addresses(hearing, network, findings);
        dhcp(hearing, network, findings);
        vrrp(hearing, network, findings);
    }
}

/// Everything that nodes heard on a network's wire, with the port that heard it: `of` takes it from a card's report.
fn heard_on<'a, T>(
    hearing: &Hearing<'a>,
    network: usize,
    of: fn(&'a agent_protocol::probe::NicReport) -> &'a [T],
    vlan: fn(&T) -> Option<u16>,
) -> Vec<(Port, &'a T)> {
    let mut all = Vec::new();
    for port in hearing.plan.ports_of(network) {
        let link = hearing.plan.link(port);
        if let Some(nic) = hearing.nic(port.node, &link.nic) {
            let here = of(nic).iter().filter(|one| vlan(one) == link.vlan);
            all.extend(here.map(|one| (port, one)));
        }
    }
    all
}

fn addresses(hearing: &Hearing<'_>, network: usize, findings: &mut Vec<Draft>) {
    let plan = hearing.plan;
    let mut claims: BTreeMap<Ipv4Addr, BTreeSet<&str>> = BTreeMap::new();
    for (_, claim) in heard_on(hearing, network, |nic| &nic.claims, |claim| claim.vlan) {
        claims.entry(claim.address).or_default().insert(&claim.mac);
    }
    let mut planned: BTreeMap<Ipv4Addr, Vec<Port>> = BTreeMap::new();
    for port in plan.ports_of(network) {
        if let Some(address) = plan.link(port).address {
            planned.entry(address).or_default().push(port);
        }
    }
    let described = |mac: &str| match hearing.owner(mac) {
        Some(owner) => format!("{mac} ({owner})"),
        None => format!("{mac} (no node of the inventory)"),
    };
    let next = "find the machine by its hardware address in the switches' tables, and give it another address";
    for (address, macs) in &claims {
        if let Some(ports) = planned.get(address) {
            let port = ports[0];
            // A node that was not asked answers for its own address, and nothing tells its cards from others.
            let Some(heard) = hearing.heard(port.node) else {
                continue;
            };
            let strangers: Vec<String> = macs
                .iter()
                .filter(|mac| !heard.macs.iter().any(|own| own == *mac))
                .map(|mac| described(mac))
                .collect();
            if !strangers.is_empty() {
                let own = hearing
                    .nic(port.node, &plan.link(port).nic)
                    .map_or("", |nic| &nic.mac);
                let text = format!(
                    "{address}, planned for {} ({own}) on {ON}, is also that of {}",
                    plan.port_name(port),
                    list(&strangers)
                );
                findings.push(finding(
                    hearing,
                    "duplicate_address",
                    Some(network),
                    ports,
                    text,
                    next,
                ));
            }
        } else if plan.networks[network].vips.contains(address) {
            // One of the nodes may hold it.
            let is_foreign =
                |mac: &&&str| hearing.owner(mac).is_none() && !mac.starts_with(VRRP_MACS);
            let strangers: Vec<String> = macs
                .iter()
                .filter(is_foreign)
                .map(|mac| described(mac))
                .collect();
            if !strangers.is_empty() {
                let text = format!(
                    "{address}, a virtual address of {ON}, is in use by {}",
                    list(&strangers)
                );
                findings.push(finding(
                    hearing,
                    "duplicate_address",
                    Some(network),
                    &[],
                    text,
                    next,
                ));
            }
        } else if macs.len() > 1 {
            // Beside these, only gateways are watched.
            let owners: Vec<String> = macs.iter().map(|mac| described(mac)).collect();
            let text = format!(
                "{address}, the gateway of {ON}, is claimed by {}",
                list(&owners)
            );
            let mut both = finding(hearing, "duplicate_gateway", Some(network), &[], text, next);
            both.severity = match macs.iter().any(|mac| mac.starts_with(VRRP_MACS)) {
                // Routers that share it by VRRP speak for themselves, too.
                true => Severity::Warning,
                false => Severity::Error,
            };
            findings.push(both);
        }
    }
}

fn dhcp(hearing: &Hearing<'_>, network: usize, findings: &mut Vec<Draft>) {
    let planned = &hearing.plan.networks[network];
    let mut servers: BTreeMap<(Ipv4Addr, &str), Vec<Port>> = BTreeMap::new();
    for (port, offer) in heard_on(hearing, network, |nic| &nic.offers, |offer| offer.vlan) {
        if !planned.own_dhcp.contains(&offer.server) {
            servers
                .entry((offer.server, &offer.mac))
                .or_default()
                .push(port);
        }
    }
    for ((server, mac), ports) in servers {
        let heard = heard_by(hearing, &ports);
        let (harm, severity) = match planned.is_boot {
            true => ("nodes that boot may get addresses from it", Severity::Error),
            false => ("no node asks for addresses there", Severity::Warning),
        };
        let text = format!("a foreign DHCP server, {server} ({mac}), serves {ON}; {heard}; {harm}");
        let next = "switch it off on this wire, or see why its wire is joined to this one";
        let mut foreign = finding(hearing, "foreign_dhcp", Some(network), &ports, text, next);
        foreign.severity = severity;
        findings.push(foreign);
    }
}

fn vrrp(hearing: &Hearing<'_>, network: usize, findings: &mut Vec<Draft>) {
    let planned = &hearing.plan.networks[network];
    let mut routers: BTreeMap<(u8, Ipv4Addr, &str), Vec<Port>> = BTreeMap::new();
    for (port, speaker) in heard_on(
        hearing,
        network,
        |nic| &nic.speakers,
        |speaker| speaker.vlan,
    ) {
        let key = (speaker.router_id, speaker.address, speaker.mac.as_str());
        routers.entry(key).or_default().push(port);
    }
    let own: BTreeSet<Ipv4Addr> = hearing
        .plan
        .ports_of(network)
        .filter_map(|port| hearing.plan.link(port).address)
        .collect();
    for ((id, address, mac), ports) in routers {
        let is_ours = planned.own_vrrp.contains(&id) && own.contains(&address);
        if is_ours {
            continue;
        }
        let heard = heard_by(hearing, &ports);
        let (kind, harm, next, severity) = match planned.own_vrrp.contains(&id) {
            true => (
                "vrrp_conflict",
                "the controllers use the same id, and their virtual address would not stay with one of them",
                "set `vrrp_id_internal` or `vrrp_id_public` in the inventory to an id that is free there",
                Severity::Error,
            ),
            false => (
                "foreign_vrrp",
                "its id is none that the controllers use",
                "nothing, if it belongs to your routers",
                Severity::Warning,
            ),
        };
        let text = format!(
            "a foreign VRRP router, id {id}, speaks on {ON}: {address} ({mac}); {heard}; {harm}"
        );
        let mut foreign = finding(hearing, kind, Some(network), &ports, text, next);
        foreign.severity = severity;
        findings.push(foreign);
    }
}

/// `node-1 eth0 and 3 others hear it`.
fn heard_by(hearing: &Hearing<'_>, ports: &[Port]) -> String {
    let nodes: BTreeSet<usize> = ports.iter().map(|port| port.node).collect();
    let first = ports
        .first()
        .map(|port| hearing.plan.port_name(*port))
        .unwrap_or_default();
    match nodes.len() {
        0 | 1 => format!("{first} hears it"),
        n => format!("{first} and {} hear it", count(n - 1, "other")),
    }
}
