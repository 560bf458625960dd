//! DHCP (RFC 2131) as far as it shows who serves it: a DISCOVER out, the server of an OFFER in. Nothing is ever
//! requested, so no server gives an address away.
use super::ethernet::Mac;
use std::net::Ipv4Addr;

pub const SERVER_PORT: u16 = 67;
pub const CLIENT_PORT: u16 = 68;
/// Fields of fixed length, and the cookie that options begin with (section 3).
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// RFC 2132.
const MESSAGE_TYPE: u8 = 53;
const SERVER_IDENTIFIER: u8 = 54;
const END: u8 = 255;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
/// Servers and relays may drop messages that are shorter than BOOTP's (RFC 1542 section 2.1).
const SHORTEST: usize = 300;

/// A DISCOVER that is to be answered by broadcast: the card has no address to answer to.
pub fn discover(from: Mac, transaction: [u8; 4]) -> Vec<u8> {
    let mut message = vec![0; FIXED];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&transaction);
    message[10] = 0x80;
    message[28..34].copy_from_slice(&from.0);
    message[236..240].copy_from_slice(&COOKIE);
    message.extend([MESSAGE_TYPE, 1, DISCOVER, END]);
    message.resize(SHORTEST, 0);
    message
}

/// What is offered, and by whom, in answer to our transaction.
pub fn offer(message: &[u8], transaction: [u8; 4]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let head = message.first_chunk::<FIXED>()?;
    if head[0] != 2 || head[4..8] != transaction || head[236..240] != COOKIE {
        return None;
    }
    let address = |bytes: &[u8]| {
        let octets: [u8; 4] = bytes.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let offered = address(&head[16..20])?;
    let mut options = &message[FIXED..];
    let (mut kind, mut server) = (None, None);
    while let [code, rest @ ..] = options {
        options = match *code {
            0 => rest,
            END => break,
            code => {
                let (length, rest) = rest.split_first()?;
                let value = rest.get(..usize::from(*length))?;
                match code {
                    MESSAGE_TYPE => kind = value.first().copied(),
                    SERVER_IDENTIFIER => server = address(value),
                    _ => {}
                }
                &rest[value.len()..]
            }
        };
    }
    (kind == Some(OFFER)).then_some(())?;
    Some((server?, offered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The offer of 10.0.0.50 by 10.0.0.7.
    fn offered(transaction: [u8; 4]) -> Vec<u8> {
        let mut message = discover(Mac([2; 6]), transaction);
        message[0] = 2;
        message[16..20].copy_from_slice(&[10, 0, 0, 50]);
        message.truncate(FIXED);
        message.extend([0, MESSAGE_TYPE, 1, OFFER, 51, 4, 0, 0, 1, 0]);
        message.extend([SERVER_IDENTIFIER, 4, 10, 0, 0, 7, END]);
        message
    }

    proptest! {
        #[test]
        fn strangers_options_never_panic(options in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut message = offered([1; 4]);
            message.truncate(FIXED);
            message.extend(options);
            let _ = offer(&message, [1; 4]);
        }

        #[test]
        fn a_cut_offer_is_none_or_whole(length in 0usize..260) {
            let message = offered([1; 4]);
            let read = offer(&message[..length.min(message.len())], [1; 4]);
            let whole = Some((Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 50)));
            prop_assert!(read.is_none() || read == whole);
        }
    }

    #[test]
    fn only_offers_of_our_transaction_count() {
        let server = Ipv4Addr::new(10, 0, 0, 7);
        assert_eq!(
            offer(&offered([1; 4]), [1; 4]).map(|(server, _)| server),
            Some(server)
        );
        assert_eq!(offer(&offered([1; 4]), [2; 4]), None);
        assert_eq!(offer(&discover(Mac([2; 6]), [1; 4]), [1; 4]), None);
    }
}
