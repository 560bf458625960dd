//! Asking installed nodes what they hear on their wires: what goes through `wright-agent probe`, in frames.
//!
//! ```text
//! controller                    agent, on every node at once
//!                         ◄──   Hello
//! Spec                    ──►   opens its cards
//!                         ◄──   Listening
//! Send (all listen)       ──►   sends on every link, asks around
//!                         ◄──   Sent
//! Stop (all have sent)    ──►
//!                         ◄──   Heard
//! ```
//! All listen before one sends, and nobody stops before all have sent: a slow node costs time, never a false finding. A
//! frame is broadcast, so it costs a link one frame a round, however many nodes listen. All answers are bounded by
//! the spec, whatever comes over the wire.
//!
//! This file does not know what was to be heard, nor what follows from it.
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// EtherType of probe frames: the first of the two for local experiments (IEEE 802 section 9.2.3).
pub const ETHERTYPE: u16 = 0x88b5;

/// Most bits of a [`Bitmap`], which are the links of all nodes together.
pub const LINKS_OF_ALL_MAX: usize = 1 << 16;
/// Most links of one node.
pub const LINKS_MAX: usize = 256;
/// Most addresses that a link asks for.
pub const ASKED_MAX: usize = 1024;
/// Most rounds, and milliseconds of one.
pub const ROUNDS_MAX: u8 = 10;
pub const SPREAD_MS_MAX: u32 = 60_000;
/// Most servers of one kind that a node asks.
pub const SERVERS_MAX: usize = 16;
/// Different VLAN tags that are told apart on one card.
pub const PLACES_MAX: usize = 64;
/// Cards that are told of for one address.
pub const CLAIMS_MAX: usize = 4;
/// DHCP servers, and VRRP routers, that are told of on one card.
pub const STRANGERS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToProbe {
    Spec(Box<Spec>),
    Send,
    Stop,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromProbe {
    /// `agent_sha256` is that of the running binary.
    Hello {
        protocol: u32,
        agent_sha256: String,
    },
    Listening,
    Sent,
    Heard(Box<Heard>),
    /// The last message.
    Failed {
        reason: String,
    },
}

/// What one node is to send and to listen for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// 32 hex digits that no other run has: frames without it are not of this run.
    pub nonce: String,
    /// Index of this node, and how many there are.
    pub node: u16,
    pub nodes: u16,
    /// Most links that any node has: link `l` of node `n` is bit `n * links_max + l`.
    pub links_max: u16,
    pub links: Vec<LinkSpec>,
    /// How often everything is sent.
    pub rounds: u8,
    /// Milliseconds over which one round is spread, so that no switch sees all nodes' frames at once.
    pub spread_ms: u32,
    /// Name servers to ask.
    pub dns: Vec<IpAddr>,
    /// Time servers to ask, addresses or names.
    pub time: Vec<String>,
}

/// One network on one physical card. A bond's members are links of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// The kernel's name of the card that frames leave by.
    pub nic: String,
    pub vlan: Option<u16>,
    /// Bytes after the Ethernet header.
    pub mtu: u16,
    /// What the node has here, or will have.
    pub address: Option<Ipv4Addr>,
    pub gateway: Option<Ipv4Addr>,
    /// Addresses to ask for beside the node's own and the gateway's.
    pub ask_for: Vec<Ipv4Addr>,
    /// Look for DHCP servers.
    pub ask_dhcp: bool,
}

/// What a node heard from the moment that it listened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// Every card of the links once, in their order.
    pub nics: Vec<NicReport>,
    /// In the order of the spec: why nothing, or no frame of full size, could be sent.
    pub links: Vec<LinkReport>,
    /// Hardware addresses of all the node's cards, bridges and bonds.
    pub macs: Vec<String>,
    pub dns: Vec<Answer>,
    pub time: Vec<Answer>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NicReport {
    pub name: String,
    /// Why the card could not be listened to; the rest is empty then.
    pub fault: Option<String>,
    pub mac: String,
    pub mtu: u32,
    pub carrier: bool,
    /// Frames that came faster than they could be read.
    pub lost: u32,
    pub places: Vec<Place>,
    pub claims: Vec<Claim>,
    pub offers: Vec<Offer>,
    pub speakers: Vec<Speaker>,
}

/// Probe frames that came to a card with one tag, or without.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub vlan: Option<u16>,
    pub small: Bitmap,
    /// Frames of the full size of the sender's network, complete.
    pub full: Bitmap,
}

/// A card says that it has an address (ARP).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub vlan: Option<u16>,
    pub address: Ipv4Addr,
    pub mac: String,
}

/// A DHCP server offers an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub vlan: Option<u16>,
    pub server: Ipv4Addr,
    pub mac: String,
    pub offered: Ipv4Addr,
}

/// A router speaks VRRP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    pub vlan: Option<u16>,
    pub router_id: u8,
    pub address: Ipv4Addr,
    pub mac: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Why no small frame left.
    pub fault: Option<String>,
    /// Why no frame of full size left.
    pub full_fault: Option<String>,
}

/// What came of asking a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub server: String,
    /// `None`: it answered as it should.
    pub fault: Option<String>,
}

/// A set of small numbers, as hex in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap(Vec<u8>);

impl Bitmap {
    /// Room for `bits` numbers, none of them in it.
    pub fn new(bits: usize) -> Self {
        Bitmap(vec![0; bits.min(LINKS_OF_ALL_MAX).div_ceil(8)])
    }

    /// Takes a number in; one that there is no room for is left out.
    pub fn insert(&mut self, bit: usize) {
        if let Some(byte) = self.0.get_mut(bit / 8) {
            *byte |= 1 << (bit % 8);
        }
    }

    pub fn contains(&self, bit: usize) -> bool {
        self.0
            .get(bit / 8)
            .is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

impl Serialize for Bitmap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let used = self
            .0
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let digits = self.0[..used]
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bitmap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits
            .filter(|digits| digits.len() % 2 == 0 && digits.len() * 4 <= LINKS_OF_ALL_MAX)
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "a set of links is an even number of hex digits, at most {}",
                    LINKS_OF_ALL_MAX / 4
                ))
            })?;
        Ok(Bitmap(
            digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect(),
        ))
    }
}

impl Spec {
    /// What makes the spec one that cannot be carried out, if anything does.
    pub fn fault(&self) -> Option<String> {
        let all = usize::from(self.nodes) * usize::from(self.links_max);
        let links = self.links.len();
        if parse_nonce(&self.nonce).is_none() {
            return Some("the nonce is not 32 hex digits".to_owned());
        }
        if self.node >= self.nodes || links > usize::from(self.links_max) {
            return Some("this node or one of its links is beyond the number of them".to_owned());
        }
        if all > LINKS_OF_ALL_MAX || links > LINKS_MAX {
            return Some(format!(
                "{all} links are more than the {LINKS_OF_ALL_MAX} that one run can tell apart, or {links} more than \
                 the {LINKS_MAX} of one node"
            ));
        }
        if self.dns.len() > SERVERS_MAX || self.time.len() > SERVERS_MAX {
            return Some(format!("more than {SERVERS_MAX} servers of a kind"));
        }
        if self.rounds > ROUNDS_MAX || self.spread_ms > SPREAD_MS_MAX {
            return Some(format!(
                "more than {ROUNDS_MAX} rounds, or one longer than {SPREAD_MS_MAX} ms"
            ));
        }
        let too_many = |link: &&LinkSpec| link.ask_for.len() > ASKED_MAX;
        let many = self.links.iter().find(too_many);
        many.map(|link| format!("more than {ASKED_MAX} addresses to ask for on {}", link.nic))
    }
}

/// The nonce's bytes.
pub fn parse_nonce(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut nonce = [0; 16];
    for (at, byte) in nonce.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_bitmap_is_the_set_that_was_put_in_also_after_the_wire(
            size in 1usize..3000, numbers in prop::collection::btree_set(0usize..4000, 0..50)
        ) {
            let mut bitmap = Bitmap::new(size);
            numbers.iter().for_each(|number| bitmap.insert(*number));
            let text = serde_json::to_string(&bitmap).unwrap();
            let back: Bitmap = serde_json::from_str(&text).unwrap();
            let room = size.div_ceil(8) * 8;
            let expected: BTreeSet<usize> = numbers.into_iter().filter(|number| *number < room).collect();
            let got: BTreeSet<usize> = (0..5000).filter(|number| back.contains(*number)).collect();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn strangers_text_is_no_bitmap_or_a_small_one(text in ".{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            if let Ok(bitmap) = serde_json::from_str::<Bitmap>(&json) {
                prop_assert!(bitmap.0.len() * 2 == text.len());
            }
        }
    }

    #[test]
    fn a_nonce_is_32_hex_digits() {
        assert_eq!(parse_nonce(&"0f".repeat(16)), Some([15; 16]));
        for wrong in ["", "0f", &"zz".repeat(16), &"é".repeat(16)] {
            assert_eq!(parse_nonce(wrong), None);
        }
    }
}
