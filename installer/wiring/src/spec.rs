//! What each node is told to do. Whatever would grow with the square of the nodes is shared out among them.
use crate::plan::Plan;
use agent_protocol::probe::{ASKED_MAX, LinkSpec, SERVERS_MAX, Spec};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Nodes that look for DHCP servers on a network, spread over all of them, so over their racks: each server keeps an
/// address aside for a while for everyone that asks.
const DHCP_ASKERS: usize = 16;
/// Nodes that ask for an address which none of the asked nodes has.
const ADDRESS_ASKERS: usize = 3;

/// How fast it goes.
#[derive(Debug, Clone)]
pub struct Pace {
    /// For one node: to be reached, and to listen.
    pub reach: Duration,
    /// Nodes that are being reached at the same time.
    pub at_once: usize,
    pub rounds: u8,
    /// Of one round.
    pub spread: Duration,
    /// After the last node has sent; VRRP speaks once a second unless told otherwise.
    pub settle: Duration,
    /// For a node that is slow to send or to answer.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            reach: Duration::from_secs(60),
            at_once: 64,
            rounds: 3,
            spread: Duration::from_secs(1),
            settle: Duration::from_millis(1500),
            answer: Duration::from_secs(30),
        }
    }
}

/// The spec of one node, `present` being those that listen.
pub fn of(plan: &Plan, node: usize, present: &BTreeSet<usize>, nonce: &str, pace: &Pace) -> Spec {
    let links = plan.nodes[node].links.iter();
    let links = links.map(|link| {
        let carries = |other: &&usize| {
            let links = &plan.nodes[**other].links;
            links.iter().any(|theirs| theirs.network == link.network)
        };
        let askers: Vec<usize> = present.iter().filter(carries).copied().collect();
        let place = askers.iter().position(|asker| *asker == node);
        LinkSpec {
            nic: link.nic.clone(),
            vlan: link.vlan,
            mtu: link.mtu,
            address: link.address,
            gateway: link.gateway,
            ask_for: place.map_or(Vec::new(), |place| {
                unowned(plan, link.network, present)
                    .into_iter()
                    .enumerate()
                    .filter(|(number, _)| is_asker(*number, place, askers.len()))
                    .map(|(_, address)| address)
                    .take(ASKED_MAX)
                    .collect()
            }),
            ask_dhcp: place.is_some_and(|place| is_spread(place, askers.len(), DHCP_ASKERS)),
        }
    });
    let links: Vec<LinkSpec> = links.collect();
    let known = &plan.nodes[node];
    Spec {
        nonce: nonce.to_owned(),
        node: node as u16,
        nodes: plan.nodes.len() as u16,
        links_max: plan.links_max() as u16,
        links,
        rounds: pace.rounds,
        spread_ms: pace.spread.as_millis().try_into().unwrap_or(u32::MAX),
        dns: known.dns.iter().take(SERVERS_MAX).copied().collect(),
        time: known.time.iter().take(SERVERS_MAX).cloned().collect(),
    }
}

/// Planned addresses that no present node asks for as its own.
fn unowned(plan: &Plan, network: usize, present: &BTreeSet<usize>) -> Vec<Ipv4Addr> {
    let absent = plan
        .ports_of(network)
        .filter(|port| !present.contains(&port.node))
        .filter_map(|port| plan.link(port).address);
    let vips = plan.networks[network].vips.iter().copied();
    let all: BTreeSet<Ipv4Addr> = absent.chain(vips).collect();
    all.into_iter().collect()
}

/// Whether the asker at this place asks for the address of this number.
fn is_asker(number: usize, place: usize, askers: usize) -> bool {
    (0..ADDRESS_ASKERS.min(askers)).any(|turn| (number * ADDRESS_ASKERS + turn) % askers == place)
}

/// Whether the one at this place is one of `wanted` that are spread evenly over all.
fn is_spread(place: usize, all: usize, wanted: usize) -> bool {
    all <= wanted || (place * wanted) % all < wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_many_as_wanted_are_spread_over_all(all in 1usize..500, wanted in 1usize..40) {
            let chosen = (0..all).filter(|place| is_spread(*place, all, wanted)).count();
            prop_assert_eq!(chosen, wanted.min(all));
        }

        #[test]
        fn every_address_has_its_askers(number in 0usize..500, askers in 1usize..300) {
            let asking = (0..askers).filter(|place| is_asker(number, *place, askers)).count();
            prop_assert_eq!(asking, ADDRESS_ASKERS.min(askers));
        }
    }
}
