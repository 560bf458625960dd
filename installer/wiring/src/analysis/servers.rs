//! What nodes need beside each other: gateways, name servers, time servers; and BMCs, which the deployment host needs.
use super::hearing::Hearing;
use super::{Draft, ON, Port, finding};
use crate::bmc::Bmc;
use crate::report::{count, list};
use agent_protocol::probe::{Answer, Heard};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// `cut` are ports of which it is known already that nothing comes to them.
pub fn look(
    hearing: &Hearing<'_>,
    healthy: &BTreeSet<Port>,
    cut: &BTreeSet<Port>,
    bmcs: &[Bmc],
    findings: &mut Vec<Draft>,
) {
    for network in 0..hearing.plan.networks.len() {
        gateways(hearing, network, healthy, cut, findings);
    }
    let dns = "see that the server runs and that the node's default route leads to it; `dns` in `networks.yml` names it";
    servers(hearing, "name server", |heard| &heard.dns, dns, findings);
    let time = "see that the server runs and that UDP port 123 passes; `time_servers` in the inventory names it";
    servers(hearing, "time server", |heard| &heard.time, time, findings);
    for bmc in bmcs {
        if let Some(fault) = &bmc.fault {
            let text = format!(
                "the BMC of {}, {} port {}, does not answer the deployment host: {fault}",
                bmc.node, bmc.address, bmc.port
            );
            let next = "see that the BMC has this address, that IPMI over LAN is on, and that UDP port 623 passes";
            let mut silent = finding(hearing, "bmc", None, &[], text, next);
            silent.nodes = vec![bmc.node.clone()];
            findings.push(silent);
        }
    }
}

fn gateways(
    hearing: &Hearing<'_>,
    network: usize,
    healthy: &BTreeSet<Port>,
    cut: &BTreeSet<Port>,
    findings: &mut Vec<Draft>,
) {
    let plan = hearing.plan;
    let mut asking: BTreeMap<Ipv4Addr, (Vec<Port>, usize)> = BTreeMap::new();
    let mut told: BTreeSet<(usize, Ipv4Addr)> = BTreeSet::new();
    for port in plan
        .ports_of(network)
        .filter(|port| healthy.contains(port) && !cut.contains(port))
    {
        let link = plan.link(port);
        let (Some(gateway), Some(nic)) = (link.gateway, hearing.nic(port.node, &link.nic)) else {
            continue;
        };
        // Any member of a bond may get the answer.
        let members: Vec<&str> = plan.nodes[port.node]
            .links
            .iter()
            .filter(|other| {
                other.network == network && other.bond == link.bond && link.bond.is_some()
            })
            .map(|other| other.nic.as_str())
            .chain([nic.name.as_str()])
            .collect();
        if !told.insert((port.node, gateway)) {
            continue;
        }
        let answered = members
            .iter()
            .filter_map(|name| hearing.nic(port.node, name))
            .any(|nic| {
                let is_it = |claim: &agent_protocol::probe::Claim| {
                    claim.address == gateway && claim.vlan == link.vlan
                };
                nic.claims.iter().any(is_it)
            });
        let (silent, all) = asking.entry(gateway).or_default();
        *all += 1;
        if !answered {
            silent.push(port);
        }
    }
    for (gateway, (silent, all)) in asking {
        if silent.is_empty() {
            continue;
        }
        let text = match silent.len() == all {
            true => format!(
                "the gateway {gateway} of {ON} answers none of {}",
                count(all, "node")
            ),
            false => format!(
                "the gateway {gateway} of {ON} does not answer {}, but {}",
                list(&super::names(hearing, &silent)),
                count(all - silent.len(), "other")
            ),
        };
        let next = "see that the router has this address on this wire; `gateway` in `networks.yml` names it";
        findings.push(finding(
            hearing,
            "gateway",
            Some(network),
            &silent,
            text,
            next,
        ));
    }
}

/// The nodes that a server did not serve, with the reason, and how many asked it.
type Asked<'a> = (Vec<(usize, &'a str)>, usize);

fn servers(
    hearing: &Hearing<'_>,
    what: &str,
    of: fn(&Heard) -> &[Answer],
    next: &str,
    findings: &mut Vec<Draft>,
) {
    let mut by_server: BTreeMap<&str, Asked<'_>> = BTreeMap::new();
    for node in 0..hearing.plan.nodes.len() {
        for answer in hearing.heard(node).map_or(&[][..], of) {
            let (silent, all) = by_server.entry(&answer.server).or_default();
            *all += 1;
            if let Some(fault) = &answer.fault {
                silent.push((node, fault));
            }
        }
    }
    for (server, (silent, all)) in by_server {
        let Some((_, fault)) = silent.first() else {
            continue;
        };
        let nodes: Vec<String> = silent
            .iter()
            .map(|(node, _)| hearing.plan.nodes[*node].name.clone())
            .collect();
        let text = match silent.len() == all {
            true => format!(
                "the {what} {server} serves none of {}: {fault}",
                count(all, "node")
            ),
            false => format!(
                "the {what} {server} does not serve {}, but {}: {fault}",
                list(&nodes),
                count(all - silent.len(), "other")
            ),
        };
        let mut silent = finding(hearing, "server", None, &[], text, next);
        silent.nodes = nodes;
        findings.push(silent);
    }
}
