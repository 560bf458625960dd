//! IPv4 packets (RFC 791) as far as the probe needs them: datagrams out, DHCP offers and VRRP in.
use std::net::Ipv4Addr;

pub const ETHERTYPE: u16 = 0x0800;
pub const UDP: u8 = 17;
pub const VRRP: u8 = 112;
const HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// A packet whose payload is as long as its header says, or as was kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    pub protocol: u8,
    pub from: Ipv4Addr,
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` for fragments beyond the first, too.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let head = data.first_chunk::<HEADER>()?;
        let header = usize::from(head[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let offset = u16::from_be_bytes([head[6], head[7]]) & 0x1fff;
        if head[0] >> 4 != 4 || header < HEADER || offset != 0 {
            return None;
        }
        Some(Packet {
            protocol: head[9],
            from: Ipv4Addr::new(head[12], head[13], head[14], head[15]),
            payload: data.get(header..total.min(data.len()))?,
        })
    }

    /// The payload of a datagram to this port.
    pub fn datagram_to(&self, port: u16) -> Option<&'a [u8]> {
        let head = self.payload.first_chunk::<UDP_HEADER>()?;
        let is_it = self.protocol == UDP && u16::from_be_bytes([head[2], head[3]]) == port;
        self.payload.get(UDP_HEADER..).filter(|_| is_it)
    }
}

/// A datagram from nobody to everybody, without a check sum of its own (RFC 768 allows that).
pub fn broadcast_datagram(from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let total = (HEADER + UDP_HEADER + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    packet.extend([0; 4]);
    packet.extend([255; 4]);
    let sum = check_sum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(from_port.to_be_bytes());
    packet.extend(to_port.to_be_bytes());
    packet.extend((total - HEADER as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// RFC 1071.
fn check_sum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|two| {
        let low = two.get(1).copied().unwrap_or(0);
        u32::from(two[0]) << 8 | u32::from(low)
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The virtual router's id of a VRRP advertisement of version 2 or 3 (RFC 5798 section 5.2).
pub fn vrrp_router_id(packet: &Packet<'_>) -> Option<u8> {
    const ADVERTISEMENT: u8 = 1;
    let head = packet.payload.first_chunk::<8>()?;
    let is_it = matches!(head[0] >> 4, 2 | 3) && head[0] & 0x0f == ADVERTISEMENT;
    (packet.protocol == VRRP && is_it).then_some(head[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_datagram_is_read_as_it_was_written(payload in prop::collection::vec(any::<u8>(), 0..600), to: u16) {
            let bytes = broadcast_datagram(68, to, &payload);
            prop_assert_eq!(check_sum(&bytes[..HEADER]), 0);
            // Padding of the frame is none of the packet's.
            let padded = [bytes, vec![0; 30]].concat();
            let packet = Packet::parse(&padded).unwrap();
            prop_assert_eq!(packet.datagram_to(to), Some(&payload[..]));
            prop_assert_eq!(packet.datagram_to(to.wrapping_add(1)), None);
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(packet) = Packet::parse(&bytes) {
                let _ = (packet.datagram_to(68), vrrp_router_id(&packet));
            }
        }
    }

    #[test]
    fn an_advertisement_names_its_router() {
        let payload = [0x31, 51, 100, 1, 0, 20, 0, 0, 10, 0, 0, 2];
        let packet = |protocol, payload| Packet {
            protocol,
            from: Ipv4Addr::LOCALHOST,
            payload,
        };
        assert_eq!(vrrp_router_id(&packet(VRRP, &payload)), Some(51));
        assert_eq!(vrrp_router_id(&packet(UDP, &payload)), None);
        assert_eq!(vrrp_router_id(&packet(VRRP, &payload[..4])), None);
    }
}
