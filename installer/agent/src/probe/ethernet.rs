//! Ethernet frames: building them with a VLAN tag (IEEE 802.1Q) or without, and the probe's own kind.
//!
//! A probe frame's data, in network byte order:
//!
//! | bytes | what |
//! |---|---|
//! | 0..16 | nonce of the run |
//! | 16..18, 18..20 | index of the sending node, and of its link |
//! | 20 | 0: small, 1: full size |
//! | 21 | zero |
//! | 22..24 | bytes of data in all |
//! | 24.. | zeros |
use agent_protocol::probe::ETHERTYPE;
use std::fmt;

const HEADER: usize = 14;
const TAG: usize = 4;
const ETHERTYPE_VLAN: u16 = 0x8100;
/// Data that fills the shortest frame (IEEE 802.3 section 3.2.7: 64 bytes with header and check sum).
const SMALL: usize = 46;
/// Of the data what is looked at.
const STATED: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Self = Mac([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A frame to everybody.
pub fn broadcast(from: Mac, vlan: Option<u16>, ethertype: u16, data: &[u8]) -> Vec<u8> {
    to(Mac::BROADCAST, from, vlan, ethertype, data)
}

pub fn to(to: Mac, from: Mac, vlan: Option<u16>, ethertype: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + TAG + data.len().max(SMALL));
    frame.extend(to.0);
    frame.extend(from.0);
    if let Some(vlan) = vlan {
        frame.extend(ETHERTYPE_VLAN.to_be_bytes());
        // Priority zero; the identifier has twelve bits.
        frame.extend((vlan & 0x0fff).to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(data);
    let shortest = frame.len() - data.len() + SMALL;
    frame.resize(frame.len().max(shortest), 0);
    frame
}

/// A frame as it came, the tag beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    pub from: Mac,
    pub vlan: Option<u16>,
    pub ethertype: u16,
    pub data: &'a [u8],
    /// Bytes of data on the wire, of which the end may not have been kept.
    pub data_length: usize,
}

impl<'a> Received<'a> {
    /// `vlan` is the tag that the kernel took off already; `length` is that of the frame as the kernel gave it.
    pub fn parse(bytes: &'a [u8], length: usize, vlan: Option<u16>) -> Option<Self> {
        let (header, mut data) = bytes.split_first_chunk::<HEADER>()?;
        let mut left = length.checked_sub(HEADER)?;
        let mut ethertype = u16::from_be_bytes([header[12], header[13]]);
        let mut tag = vlan;
        // Some cards leave the tag where it was.
        if ethertype == ETHERTYPE_VLAN && vlan.is_none() {
            let (inner, rest) = data.split_first_chunk::<TAG>()?;
            tag = Some(u16::from_be_bytes([inner[0], inner[1]]) & 0x0fff);
            ethertype = u16::from_be_bytes([inner[2], inner[3]]);
            data = rest;
            left = left.checked_sub(TAG)?;
        }
        let mut from = [0; 6];
        from.copy_from_slice(&header[6..12]);
        Some(Received {
            from: Mac(from),
            // Tag 0 is priority without a VLAN (IEEE 802.1Q section 9.6).
            vlan: tag.filter(|tag| *tag != 0),
            ethertype,
            data,
            data_length: left,
        })
    }
}

/// What a probe frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub node: u16,
    pub link: u16,
    pub full: bool,
}

impl Probe {
    /// A frame of this kind; `mtu` is the length of a full one's data.
    pub fn frame(self, nonce: &[u8; 16], from: Mac, vlan: Option<u16>, mtu: u16) -> Vec<u8> {
        let length = match self.full {
            true => usize::from(mtu).max(SMALL),
            false => SMALL,
        };
        let mut data = vec![0; length];
        data[..16].copy_from_slice(nonce);
        data[16..18].copy_from_slice(&self.node.to_be_bytes());
        data[18..20].copy_from_slice(&self.link.to_be_bytes());
        data[20] = self.full.into();
        data[22..24].copy_from_slice(&(length as u16).to_be_bytes());
        broadcast(from, vlan, ETHERTYPE, &data)
    }

    /// `None` for frames of other runs and of strangers, and for those that came shorter than they left.
    pub fn parse(frame: &Received<'_>, nonce: &[u8; 16]) -> Option<Self> {
        let data = frame.data.first_chunk::<STATED>()?;
        let word = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
        let whole = frame.data_length == usize::from(word(22));
        if frame.ethertype != ETHERTYPE || data[..16] != *nonce || data[20] > 1 || !whole {
            return None;
        }
        Some(Probe {
            node: word(16),
            link: word(18),
            full: data[20] == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: [u8; 16] = [7; 16];
    const FROM: Mac = Mac([2, 0, 0, 0, 0, 1]);

    proptest! {
        #[test]
        fn a_probe_frame_is_read_as_it_was_written(
            node: u16, link: u16, full: bool, mtu in 68u16..9217, vlan in prop::option::of(1u16..4095), kept in 64usize..200
        ) {
            let probe = Probe { node, link, full };
            let frame = probe.frame(&NONCE, FROM, vlan, mtu);
            let head = &frame[..frame.len().min(kept)];
            let received = Received::parse(head, frame.len(), None).unwrap();
            prop_assert_eq!(received.vlan, vlan);
            prop_assert_eq!(received.from, FROM);
            prop_assert_eq!(Probe::parse(&received, &NONCE), Some(probe));
            prop_assert_eq!(Probe::parse(&received, &[8; 16]), None);
            // The tag may have been taken off by the kernel.
            if let Some(tag) = vlan {
                let mut bare = frame.clone();
                bare.drain(12..16);
                let received = Received::parse(&bare, bare.len(), Some(tag)).unwrap();
                prop_assert_eq!((received.vlan, Probe::parse(&received, &NONCE)), (vlan, Some(probe)));
            }
            // One that was cut on its way does not count.
            let cut = Received::parse(head, frame.len() - 1, None).unwrap();
            prop_assert_eq!(Probe::parse(&cut, &NONCE), None);
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), length: usize, vlan: Option<u16>) {
            if let Some(received) = Received::parse(&bytes, length, vlan) {
                let _ = Probe::parse(&received, &NONCE);
            }
        }
    }

    #[test]
    fn full_frames_fill_the_mtu_and_the_tag_comes_on_top() {
        let probe = Probe {
            node: 1,
            link: 2,
            full: true,
        };
        assert_eq!(probe.frame(&NONCE, FROM, None, 1500).len(), 1514);
        assert_eq!(probe.frame(&NONCE, FROM, Some(5), 9000).len(), 9018);
        let small = Probe {
            full: false,
            ..probe
        };
        assert_eq!(small.frame(&NONCE, FROM, None, 1500).len(), 60);
    }
}
