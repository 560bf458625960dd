//! What a node's own card says. Its ports are left out of all that follows: silence has its reason already.
use super::{Draft, ON, Port, finding, names};
use crate::analysis::hearing::Hearing;
use crate::report::{Severity, list};
use std::collections::{BTreeMap, BTreeSet};

/// Findings about cards, and the ports whose cards are well.
pub fn look(hearing: &Hearing<'_>) -> (Vec<Draft>, BTreeSet<Port>) {
    let mut findings = Vec::new();
    let mut healthy = BTreeSet::new();
    for (number, node) in hearing.plan.nodes.iter().enumerate() {
        let Some(heard) = hearing.heard(number) else {
            continue;
        };
        let mut by_nic: BTreeMap<&str, Vec<Port>> = BTreeMap::new();
        for (link, planned) in node.links.iter().enumerate() {
            let ports = by_nic.entry(&planned.nic).or_default();
            ports.push(Port { node: number, link });
        }
        for (nic, ports) in by_nic {
            let fault = card_fault(hearing, number, nic);
            if let Some((kind, fault, next)) = fault {
                let networks: Vec<String> = ports
                    .iter()
                    .map(|port| hearing.plan.network_name(hearing.plan.link(*port).network))
                    .collect();
                let name = &names(hearing, &ports)[0];
                let text = format!("{name} {fault}; it is to carry {}", list(&networks));
                findings.push(finding(hearing, kind, None, &ports, text, next));
                continue;
            }
            for port in ports {
                let report = heard.links.get(port.link);
                match report.and_then(|report| report.fault.as_ref()) {
                    Some(fault) => {
                        let name = hearing.plan.port_name(port);
                        let network = hearing.plan.link(port).network;
                        let text = format!("{name} cannot send on {ON}: {fault}");
                        let next = "see what the node's kernel says of the card: `dmesg`";
                        findings.push(finding(
                            hearing,
                            "cannot_send",
                            Some(network),
                            &[port],
                            text,
                            next,
                        ));
                    }
                    None => {
                        healthy.insert(port);
                    }
                }
            }
            if let Some(lost) = hearing
                .nic(number, nic)
                .map(|nic| nic.lost)
                .filter(|lost| *lost > 0)
            {
                let port = Port {
                    node: number,
                    link: 0,
                };
                let text = format!(
                    "{} {nic} did not keep up with what came: {lost} frames were lost, so what it did not hear may be \
                     well",
                    node.name
                );
                let next = "look for a flood of frames on its wires, then ask again";
                let mut lost = finding(hearing, "lost_frames", None, &[port], text, next);
                lost.severity = Severity::Warning;
                findings.push(lost);
            }
        }
    }
    (findings, healthy)
}

/// Kind, text and next step of what is wrong with a card.
fn card_fault(
    hearing: &Hearing<'_>,
    node: usize,
    nic: &str,
) -> Option<(&'static str, String, &'static str)> {
    let Some(report) = hearing.nic(node, nic) else {
        let next = "the node's agent may be of another version: ask again";
        return Some(("no_card", "was not looked at".to_owned(), next));
    };
    if let Some(fault) = &report.fault {
        let next = "compare the card's hardware address in the inventory with that of the machine";
        return Some(("no_card", format!("cannot be used: {fault}"), next));
    }
    (!report.carrier).then(|| {
        let next = "look whether the cable is plugged in at both ends and the switch's port is on";
        (
            "no_carrier",
            "has no link: nothing is at the other end".to_owned(),
            next,
        )
    })
}
