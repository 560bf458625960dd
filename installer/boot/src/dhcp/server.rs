//! The DHCP socket: datagrams in, the policy's replies out, and a count of machines that nobody knows.
//!
//! Deliberately not here: any decision about an answer; [`super::answer`] takes those.
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::Mac;
use crate::dhcp::{Destination, DhcpPolicy, Request, answer};
use crate::error::BootError;
use crate::policy::{BootPolicy, Observed};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Nothing that a client sends is longer than an Ethernet frame.
const LONGEST: usize = 1500;
/// How many machines without a reservation are remembered; more are only counted.
const REMEMBERED: usize = 1024;
/// After a failed receive (interface down, for example) before trying again.
const PAUSE: Duration = Duration::from_secs(1);

/// Counters since the start, and the unknown machines.
#[derive(Debug, Default)]
pub struct Seen {
    counts: Mutex<Counts>,
}

/// What came in on the DHCP socket.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    /// Well-formed, but due no answer.
    pub unanswered: u64,
    pub malformed: u64,
    /// Requests of each machine that no reservation names.
    pub unknown: HashMap<Mac, u64>,
    /// Requests of unknown machines beyond those remembered.
    pub unknown_others: u64,
}

impl Seen {
    /// The counters as they stand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.change(|counts| counts.clone())
    }

    /// Counters hold no invariant that a panic elsewhere could break: poisoning is ignored.
    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True the first time that the machine is seen.
    fn unknown(&self, mac: Mac) -> bool {
        self.change(|counts| {
            let room = counts.unknown.len() < REMEMBERED;
            if let Some(times) = counts.unknown.get_mut(&mac) {
                *times += 1;
                return false;
            }
            if room {
                counts.unknown.insert(mac, 1);
            } else {
                counts.unknown_others += 1;
            }
            room
        })
    }
}

/// The server's socket on one interface; several servers on several interfaces get along.
pub(crate) fn bind(interface: &str) -> Result<UdpSocket, BootError> {
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
    (|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    })()
    .map_err(|source: io::Error| BootError::Socket {
        what: "DHCP",
        interface: interface.to_owned(),
        address: SocketAddr::V4(address),
        source,
    })
}

/// Answers until stopped.
pub(crate) async fn serve(
    socket: UdpSocket,
    policy: Arc<DhcpPolicy>,
    boot: Arc<dyn BootPolicy>,
    seen: Arc<Seen>,
    stop: CancellationToken,
) {
    let mut datagram = [0; LONGEST];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut datagram) => received,
        };
        let length = match received {
            Ok((length, _)) => length,
            Err(error) => {
                tracing::warn!(%error, "DHCP socket");
                tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => continue }
            }
        };
        let Some((content, destination)) = consider(&datagram[..length], &policy, &*boot, &seen)
        else {
            continue;
        };
        if let Err(error) = socket.send_to(&content, destination).await {
            tracing::warn!(%error, %destination, "DHCP reply not sent");
        }
    }
}

fn consider(
    datagram: &[u8],
    policy: &DhcpPolicy,
    boot: &dyn BootPolicy,
    seen: &Seen,
) -> Option<(Vec<u8>, SocketAddrV4)> {
    let request = match Request::decode(datagram) {
        Ok(request) => request,
        Err(reason) => {
            seen.change(|counts| counts.malformed += 1);
            tracing::debug!(%reason, "dropped a DHCP datagram");
            return None;
        }
    };
    let mac = request.mac;
    let Some(reservation) = policy.reservations.get(&mac) else {
        if seen.unknown(mac) {
            tracing::info!(%mac, "a machine that the inventory does not know asks for an address");
            boot.observe(Observed::Unknown { mac });
        }
        return None;
    };
    let Some(reply) = answer(policy, &request) else {
        seen.change(|counts| counts.unanswered += 1);
        return None;
    };
    let content = match reply.encode() {
        Ok(content) => content,
        Err(error) => {
            tracing::warn!(%mac, %error, "DHCP reply cannot be encoded");
            return None;
        }
    };
    seen.change(|counts| counts.answered += 1);
    tracing::debug!(%mac, asked = ?request.kind, sender = ?request.sender, "DHCP");
    boot.observe(Observed::Dhcp {
        mac,
        address: reservation.address,
    });
    let destination = match reply.destination {
        Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
        Destination::Client(address) => SocketAddrV4::new(address, CLIENT_PORT),
        Destination::Relay(address) => SocketAddrV4::new(address, SERVER_PORT),
    };
    Some((content, destination))
}
