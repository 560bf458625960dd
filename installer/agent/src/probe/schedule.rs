//! What a node sends, and when: every link small and full, a few rounds, so spread that neither a switch nor a slow
//! listener sees all nodes at once. A function of the spec.
use super::ears::Listening;
use super::ethernet::{Mac, Probe, broadcast};
use super::{arp, dhcp, ipv4};
use agent_protocol::probe::{LinkReport, Spec};
use std::net::Ipv4Addr;
use std::time::Duration;

/// One frame on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Since the beginning.
    pub at: Duration,
    /// Index in the spec.
    pub link: usize,
    /// It is of the first round.
    first: bool,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Probe {
        full: bool,
    },
    /// Who has this address? Asked on behalf of nobody.
    Address(Ipv4Addr),
    /// The same as the link's own user, as gateways may want it.
    Gateway(Ipv4Addr),
    DhcpServers,
}

impl Sending {
    /// All frames of a spec, by time.
    pub fn of(spec: &Spec) -> Vec<Self> {
        let mut one_round = Vec::new();
        for (link, links) in spec.links.iter().enumerate() {
            let asked = links.ask_for.iter().chain(&links.address);
            let mut whats = vec![What::Probe { full: false }, What::Probe { full: true }];
            whats.extend(asked.map(|address| What::Address(*address)));
            whats.extend(links.gateway.map(What::Gateway));
            whats.extend(links.ask_dhcp.then_some(What::DhcpServers));
            one_round.extend(whats.into_iter().map(|what| (link, what)));
        }
        let round = Duration::from_millis(spec.spread_ms.into());
        let pause = round / one_round.len().max(1) as u32;
        // Each node begins at another place between two frames.
        let own = pause * u32::from(spec.node) / u32::from(spec.nodes.max(1));
        let rounds = u32::from(spec.rounds);
        (0..rounds)
            .flat_map(|number| {
                let frames = one_round.iter().zip(0u32..);
                frames.map(move |(&(link, what), place)| Sending {
                    at: round * number + pause * place + own,
                    link,
                    first: number == 0,
                    what,
                })
            })
            .collect()
    }

    /// The frame itself, from the card with this address.
    pub fn frame(&self, spec: &Spec, shared: &Listening, mac: Mac) -> Vec<u8> {
        let link = &spec.links[self.link];
        match self.what {
            What::Probe { full } => Probe {
                node: spec.node,
                link: self.link as u16,
                full,
            }
            .frame(&shared.nonce, mac, link.vlan, link.mtu),
            What::Address(wanted) => {
                broadcast(mac, link.vlan, arp::ETHERTYPE, &arp::probe(mac, wanted))
            }
            What::Gateway(wanted) => {
                let own = link.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
                let request = arp::request(mac, own, wanted);
                broadcast(mac, link.vlan, arp::ETHERTYPE, &request)
            }
            What::DhcpServers => {
                let message = dhcp::discover(mac, shared.transaction);
                let packet =
                    ipv4::broadcast_datagram(dhcp::CLIENT_PORT, dhcp::SERVER_PORT, &message);
                broadcast(mac, link.vlan, ipv4::ETHERTYPE, &packet)
            }
        }
    }

    /// Notes how sending came out: one round that got through makes the failures of others good.
    pub fn note(&self, report: &mut LinkReport, fault: Option<String>) {
        let known = match self.what {
            What::Probe { full: false } => &mut report.fault,
            What::Probe { full: true } => &mut report.full_fault,
            _ => return,
        };
        if self.first || fault.is_none() {
            *known = fault;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_protocol::probe::LinkSpec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_link_sends_both_sizes_every_round_within_its_time(
            links in 0usize..6, asked in 0usize..4, rounds in 0u8..5, spread_ms in 0u32..5000, node in 0u16..9
        ) {
            let link = LinkSpec {
                nic: "eth0".into(), vlan: None, mtu: 1500, address: Some(Ipv4Addr::LOCALHOST), gateway: None,
                ask_for: vec![Ipv4Addr::LOCALHOST; asked], ask_dhcp: true,
            };
            let spec = Spec {
                nonce: "00".repeat(16), node, nodes: 9, links_max: 6, links: vec![link; links], rounds, spread_ms,
                dns: Vec::new(), time: Vec::new(),
            };
            let all = Sending::of(&spec);
            prop_assert_eq!(all.len(), usize::from(rounds) * links * (4 + asked));
            prop_assert!(all.is_sorted_by_key(|sending| sending.at));
            let end = Duration::from_millis(spread_ms.into()) * rounds.into();
            prop_assert!(all.iter().all(|sending| sending.at <= end));
            for link in 0..links {
                for full in [false, true] {
                    let probe = What::Probe { full };
                    let sent = all.iter().filter(|sending| sending.link == link && sending.what == probe);
                    prop_assert_eq!(sent.count(), usize::from(rounds));
                }
            }
        }
    }
}
