//! What was heard on one card, in bounds: whatever comes, it is some kilobytes.
use super::ethernet::{Mac, Probe, Received};
use super::{arp, dhcp, ipv4};
use agent_protocol::probe::{
    Bitmap, CLAIMS_MAX, Claim, NicReport, Offer, PLACES_MAX, Place, STRANGERS_MAX, Speaker,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What all cards of the node share.
pub struct Listening {
    pub nonce: [u8; 16],
    /// Of our DHCP messages.
    pub transaction: [u8; 4],
    pub nodes: u16,
    pub links_max: u16,
    /// Hardware addresses of the node itself: it does not hear of itself.
    pub own: BTreeSet<Mac>,
}

/// One card's ears.
pub struct Ears {
    /// Addresses whose owners are wanted.
    watched: BTreeSet<Ipv4Addr>,
    places: Vec<Place>,
    claims: Vec<Claim>,
    offers: Vec<Offer>,
    speakers: Vec<Speaker>,
}

impl Ears {
    pub fn new(watched: BTreeSet<Ipv4Addr>) -> Self {
        Ears {
            watched,
            places: Vec::new(),
            claims: Vec::new(),
            offers: Vec::new(),
            speakers: Vec::new(),
        }
    }

    /// Takes one frame in.
    pub fn hear(&mut self, frame: &Received<'_>, shared: &Listening) {
        if let Some(probe) = Probe::parse(frame, &shared.nonce) {
            return self.probe(probe, frame.vlan, shared);
        }
        if shared.own.contains(&frame.from) {
            return;
        }
        match frame.ethertype {
            arp::ETHERTYPE => self.claim(frame),
            ipv4::ETHERTYPE => self.packet(frame, shared),
            _ => {}
        }
    }

    pub fn report(self, nic: NicReport) -> NicReport {
        NicReport {
            places: self.places,
            claims: self.claims,
            offers: self.offers,
            speakers: self.speakers,
            ..nic
        }
    }

    fn probe(&mut self, probe: Probe, vlan: Option<u16>, shared: &Listening) {
        if probe.node >= shared.nodes || probe.link >= shared.links_max {
            return;
        }
        let room = usize::from(shared.nodes) * usize::from(shared.links_max);
        let bit = usize::from(probe.node) * usize::from(shared.links_max) + usize::from(probe.link);
        let at = match self.places.iter().position(|place| place.vlan == vlan) {
            Some(at) => at,
            None if self.places.len() < PLACES_MAX => {
                self.places.push(Place {
                    vlan,
                    small: Bitmap::new(room),
                    full: Bitmap::new(room),
                });
                self.places.len() - 1
            }
            None => return,
        };
        match probe.full {
            true => self.places[at].full.insert(bit),
            false => self.places[at].small.insert(bit),
        }
    }

    fn claim(&mut self, frame: &Received<'_>) {
        let Some((address, mac)) = arp::claim(frame.data) else {
            return;
        };
        if !self.watched.contains(&address) {
            return;
        }
        let claim = Claim {
            vlan: frame.vlan,
            address,
            mac: mac.to_string(),
        };
        let of_it = |known: &&Claim| known.address == address && known.vlan == claim.vlan;
        if self.claims.iter().filter(of_it).count() < CLAIMS_MAX {
            // Per address and tag, so the tags must be bounded, too.
            note(&mut self.claims, claim, self.watched.len() * CLAIMS_MAX);
        }
    }

    fn packet(&mut self, frame: &Received<'_>, shared: &Listening) {
        let Some(packet) = ipv4::Packet::parse(frame.data) else {
            return;
        };
        let (vlan, mac) = (frame.vlan, frame.from.to_string());
        if let Some(router_id) = ipv4::vrrp_router_id(&packet) {
            let address = packet.from;
            let speaker = Speaker {
                vlan,
                router_id,
                address,
                mac,
            };
            note(&mut self.speakers, speaker, STRANGERS_MAX);
        } else if let Some(message) = packet.datagram_to(dhcp::CLIENT_PORT)
            && let Some((server, offered)) = dhcp::offer(message, shared.transaction)
        {
            let known =
                |offer: &Offer| (offer.server, &offer.mac, offer.vlan) == (server, &mac, vlan);
            if !self.offers.iter().any(known) {
                let offer = Offer {
                    vlan,
                    server,
                    mac,
                    offered,
                };
                note(&mut self.offers, offer, STRANGERS_MAX);
            }
        }
    }
}

/// Notes something once, as long as there is room.
fn note<T: PartialEq>(list: &mut Vec<T>, new: T, room: usize) {
    if list.len() < room && !list.contains(&new) {
        list.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ethernet::broadcast;
    use super::*;
    use proptest::prelude::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const WATCHED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    fn shared() -> Listening {
        Listening {
            nonce: [7; 16],
            transaction: [1, 2, 3, 4],
            nodes: 3,
            links_max: 2,
            own: BTreeSet::from([OWN]),
        }
    }

    fn heard(frames: &[Vec<u8>]) -> NicReport {
        let mut ears = Ears::new(BTreeSet::from([WATCHED]));
        for frame in frames {
            let received = Received::parse(frame, frame.len(), None).unwrap();
            ears.hear(&received, &shared());
        }
        ears.report(NicReport::default())
    }

    fn claim_of(from: Mac, address: Ipv4Addr) -> Vec<u8> {
        let wanted = Ipv4Addr::new(10, 0, 0, 1);
        broadcast(
            from,
            None,
            arp::ETHERTYPE,
            &arp::request(from, address, wanted),
        )
    }

    #[test]
    fn probes_are_told_by_tag_and_size_and_only_those_of_this_run() {
        let frame = |node, link, full, nonce: u8, vlan| {
            let probe = Probe { node, link, full };
            probe.frame(&[nonce; 16], OTHER, vlan, 1500)
        };
        let report = heard(&[
            frame(1, 1, false, 7, None),
            frame(1, 1, true, 7, None),
            frame(2, 0, false, 7, Some(9)),
            frame(2, 1, false, 8, None),
            frame(3, 0, false, 7, None),
            frame(0, 2, false, 7, None),
        ]);
        let bits = |bitmap: &Bitmap| {
            (0..8)
                .filter(|bit| bitmap.contains(*bit))
                .collect::<Vec<_>>()
        };
        let told: Vec<_> = report
            .places
            .iter()
            .map(|place| (place.vlan, bits(&place.small), bits(&place.full)))
            .collect();
        assert_eq!(told, [(None, vec![3], vec![3]), (Some(9), vec![4], vec![])]);
    }

    #[test]
    fn claims_of_watched_addresses_count_unless_they_are_our_own() {
        let report = heard(&[
            claim_of(OWN, WATCHED),
            claim_of(OTHER, Ipv4Addr::new(10, 0, 0, 6)),
            claim_of(OTHER, WATCHED),
            claim_of(OTHER, WATCHED),
        ]);
        let told: Vec<_> = report
            .claims
            .iter()
            .map(|claim| claim.mac.as_str())
            .collect();
        assert_eq!(told, ["02:00:00:00:00:02"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// However many strangers say however much: the report stays small.
        #[test]
        fn a_flood_makes_no_report_long(seed: u64) {
            let mut ears = Ears::new(BTreeSet::from([WATCHED]));
            let mut state = seed | 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            for _ in 0..2000 {
                let word = next();
                let from = Mac([2, word as u8, (word >> 8) as u8, (word >> 16) as u8, 0, 0]);
                let vlan = Some((word >> 24) as u16 & 0xfff);
                let frame = match word % 3 {
                    0 => Probe { node: (next() % 3) as u16, link: 0, full: word & 8 == 0 }
                        .frame(&[7; 16], from, vlan, 100),
                    1 => broadcast(from, vlan, arp::ETHERTYPE, &arp::request(from, WATCHED, WATCHED)),
                    _ => {
                        let mut packet = ipv4::broadcast_datagram(1, 2, &[]);
                        packet.truncate(20);
                        packet[9] = ipv4::VRRP;
                        packet[3] = 28;
                        packet.extend([0x31, word as u8, 100, 1, 0, 0, 0, 0]);
                        broadcast(from, vlan, ipv4::ETHERTYPE, &packet)
                    }
                };
                ears.hear(&Received::parse(&frame, frame.len(), None).unwrap(), &shared());
            }
            let report = ears.report(NicReport::default());
            prop_assert!(serde_json::to_vec(&report).unwrap().len() < 16 << 10);
            prop_assert!(!report.speakers.is_empty() && !report.claims.is_empty());
        }
    }
}
