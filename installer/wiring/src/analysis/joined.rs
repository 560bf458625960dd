//! Networks that should be apart and are one wire, and frames that come back to their sender.
use super::hearing::{Hearing, Level, Network};
use super::{Draft, ON, Port, finding, names};
use crate::report::{Severity, count, list};

pub fn look(hearing: &Hearing<'_>, networks: &[Network], findings: &mut Vec<Draft>) {
    for network in networks {
        loops(hearing, network, findings);
        for other in networks {
            if other.number != network.number && !is_planned(hearing, network, other) {
                leak(hearing, network, other, findings);
            }
        }
    }
}

fn loops(hearing: &Hearing<'_>, network: &Network, findings: &mut Vec<Draft>) {
    let back: Vec<Port> = (0..network.ports.len())
        .map(|at| network.ports[at])
        .filter(|port| {
            hearing
                .place(*port)
                .is_some_and(|place| hearing.at(place, *port) > Level::Nothing)
        })
        .collect();
    if back.is_empty() {
        return;
    }
    let text = format!(
        "on {ON} frames come back to the card that sent them: {}",
        list(&names(hearing, &back))
    );
    let next = "look for a loop between switches, or a port that reflects frames";
    findings.push(finding(
        hearing,
        "loop",
        Some(network.number),
        &back,
        text,
        next,
    ));
}

/// Some card is to carry both with the same tag: then they are one wire by intention.
fn is_planned(hearing: &Hearing<'_>, one: &Network, other: &Network) -> bool {
    let plan = hearing.plan;
    plan.ports_of(one.number).any(|port| {
        let link = plan.link(port);
        plan.nodes[port.node].links.iter().any(|theirs| {
            theirs.network == other.number && (&theirs.nic, theirs.vlan) == (&link.nic, link.vlan)
        })
    })
}

/// Ports of one network that hear, where that is to be, what other nodes send on another.
fn leak(hearing: &Hearing<'_>, network: &Network, other: &Network, findings: &mut Vec<Draft>) {
    // Ports that are on a wrong wire themselves are told of already.
    let senders: Vec<Port> = other.main.iter().map(|at| other.ports[*at]).collect();
    let hears = |port: &Port| {
        let place = hearing.place(*port);
        place.is_some_and(|place| {
            senders.iter().any(|sender| {
                sender.node != port.node && hearing.at(place, *sender) > Level::Nothing
            })
        })
    };
    let receivers: Vec<Port> = network.main.iter().map(|at| network.ports[*at]).collect();
    let hearing_it: Vec<Port> = receivers.iter().copied().filter(hears).collect();
    if hearing_it.is_empty() {
        return;
    }
    let plan = hearing.plan;
    let (on, of) = (
        plan.network_name(network.number),
        plan.network_name(other.number),
    );
    let next = "see that no switch port without a tag, or with a wrong native VLAN, joins the two";
    let is_most = hearing_it.len() * 2 > receivers.len();
    let is_first = network.number < other.number;
    if is_most && !is_first && senders.len() > 1 {
        // Told from the other side, if that hears as well as it is heard.
        let back = other.main.iter().map(|at| other.ports[*at]).any(|port| {
            let place = hearing.place(port);
            place.is_some_and(|place| {
                receivers.iter().any(|sender| {
                    sender.node != port.node && hearing.at(place, *sender) > Level::Nothing
                })
            })
        });
        if back {
            return;
        }
    }
    let text = match is_most {
        true => format!(
            "{on} and {of} are one wire: {} hear both",
            count(hearing_it.len(), "card")
        ),
        false => format!(
            "{} hears frames of {of} where only those of {on} should come{}",
            plan.port_name(hearing_it[0]),
            match hearing_it.len() {
                1 => String::new(),
                n => format!(", and so do {}", count(n - 1, "other")),
            }
        ),
    };
    let mut joined = finding(
        hearing,
        "joined",
        Some(network.number),
        &hearing_it,
        text,
        next,
    );
    joined.severity = Severity::Warning;
    findings.push(joined);
}
