//! Answers router solicitations, so that iPXE does not wait about ten seconds for an IPv6 router before it goes
//! on with what DHCP gave it (its IPv6 configurator runs before the boot script is fetched, so a script cannot
//! skip it).
//!
//! The advertisement (RFC 4861 section 4.2) says as little as can be: no prefix, router lifetime 0, no DHCPv6.
//! Nobody gets an address or a route from it.
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::Mac;
use crate::dhcp::DhcpPolicy;
use crate::error::BootError;

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// Neighbour discovery messages with another hop limit are invalid: they came from elsewhere.
const HOP_LIMIT: u32 = 255;
/// Nothing of interest is longer than an Ethernet frame.
const LONGEST: usize = 1500;
const PAUSE: Duration = Duration::from_secs(1);

/// Type and all fields zero: hop limit unspecified, no flags, not a default router, timers unspecified. The
/// kernel fills the checksum in.
const ADVERTISEMENT: [u8; 16] = [
    ROUTER_ADVERTISEMENT,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
];

/// The machine that solicits, from the message's source link-layer address option; `None` when the message is
/// not a solicitation or does not say.
#[must_use]
pub fn soliciting(message: &[u8]) -> Option<Mac> {
    let (header, mut options) = message.split_at_checked(8)?;
    if header[0] != ROUTER_SOLICITATION || header[1] != 0 {
        return None;
    }
    // Type, length in units of eight octets, value.
    while let [kind, units, ..] = *options {
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        if option.is_empty() {
            return None;
        }
        if kind == SOURCE_LINK_LAYER_ADDRESS {
            return option.get(2..8)?.try_into().ok().map(Mac);
        }
        options = rest;
    }
    None
}

/// The raw socket, a member of the all-routers group on one interface. Tokio's UDP socket drives it: receiving
/// and sending are the same two system calls for both kinds.
pub(crate) fn bind(interface: &str, index: u32) -> Result<UdpSocket, BootError> {
    (|| {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_unicast_hops_v6(HOP_LIMIT)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into())
    })()
    .map_err(|source: io::Error| BootError::Socket {
        what: "router advertisements",
        interface: interface.to_owned(),
        address: SocketAddr::V6(SocketAddrV6::new(ALL_ROUTERS, 0, 0, index)),
        source,
    })
}

/// Answers machines that the policy knows, until stopped.
pub(crate) async fn serve(socket: UdpSocket, policy: Arc<DhcpPolicy>, stop: CancellationToken) {
    let mut message = [0; LONGEST];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut message) => received,
        };
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "router advertisement socket");
                tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => continue }
            }
        };
        let Some(mac) =
            soliciting(&message[..length]).filter(|mac| policy.reservations.contains_key(mac))
        else {
            continue;
        };
        match socket.send_to(&ADVERTISEMENT, from).await {
            Ok(_) => tracing::debug!(%mac, "router advertisement"),
            Err(error) => tracing::debug!(%mac, %error, "router advertisement not sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_solicitor_is_named_by_its_option() {
        let mut message = vec![133, 0, 0xab, 0xcd, 0, 0, 0, 0];
        assert_eq!(soliciting(&message), None);
        message.extend([14, 1, 1, 2, 3, 4, 5, 6, 1, 1, 0x52, 0x54, 0, 0xaa, 0xbb, 1]);
        assert_eq!(
            soliciting(&message),
            Some(Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]))
        );
        message[0] = 135;
        assert_eq!(soliciting(&message), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = message;
            let _ = soliciting(&message);
            if message.len() > 2 {
                message[..2].copy_from_slice(&[133, 0]);
                let _ = soliciting(&message);
            }
        }
    }
}
