//! ARP (RFC 826) as far as it tells who has an address, and the probe for it (RFC 5227 section 2.1.1).
use super::ethernet::Mac;
use std::net::Ipv4Addr;

pub const ETHERTYPE: u16 = 0x0806;
/// Ethernet, IPv4, their lengths; then the operation.
const HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
const LENGTH: usize = 28;

/// Asks who has an address, on behalf of nobody: no cache learns anything from it.
pub fn probe(from: Mac, wanted: Ipv4Addr) -> [u8; LENGTH] {
    request(from, Ipv4Addr::UNSPECIFIED, wanted)
}

/// Asks who has an address, as its user would.
pub fn request(from: Mac, own: Ipv4Addr, wanted: Ipv4Addr) -> [u8; LENGTH] {
    let mut data = [0; LENGTH];
    data[..6].copy_from_slice(&HEAD);
    data[7] = 1;
    data[8..14].copy_from_slice(&from.0);
    data[14..18].copy_from_slice(&own.octets());
    data[24..28].copy_from_slice(&wanted.octets());
    data
}

/// Who says to have which address: in a request as in a reply. `None` for probes, which claim nothing.
pub fn claim(data: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let data = data.first_chunk::<LENGTH>()?;
    if data[..6] != HEAD {
        return None;
    }
    let mut mac = [0; 6];
    mac.copy_from_slice(&data[8..14]);
    let address = Ipv4Addr::new(data[14], data[15], data[16], data[17]);
    (!address.is_unspecified()).then_some((address, Mac(mac)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = claim(&bytes);
        }
    }

    #[test]
    fn a_request_claims_its_sender_and_a_probe_claims_nothing() {
        let (from, own, wanted) = (
            Mac([2, 0, 0, 0, 0, 9]),
            Ipv4Addr::new(10, 0, 0, 9),
            Ipv4Addr::new(10, 0, 0, 1),
        );
        assert_eq!(claim(&request(from, own, wanted)), Some((own, from)));
        assert_eq!(claim(&probe(from, wanted)), None);
    }
}
