//! The DHCP socket: datagrams in, the policy's replies out, and a count of machines that nobody knows.
//!
//! Deliberately not here: any decision about an answer; [`super::answer`] takes those.
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::Mac;
use crate::dhcp::pool::Pool;
use crate::dhcp::{Destination, DhcpPolicy, Request, Reservation, answer};
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
    let began = Instant::now();
    let mut pool = policy.pool.map(|(first, last)| {
        Pool::new(first, last, |address| {
            address == policy.server
                || Some(address) == policy.gateway
                || policy
                    .reservations
                    .values()
                    .any(|reservation| reservation.address == address)
        })
    });
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
        let pool = pool.as_mut().map(|pool| (pool, began.elapsed()));
        let Some((content, destination)) =
            consider(&datagram[..length], &policy, pool, &*boot, &seen)
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
    pool: Option<(&mut Pool, Duration)>,
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
    let known = policy.reservations.get(&mac);
    if known.is_none() && seen.unknown(mac) {
        tracing::info!(%mac, "a machine that the inventory does not know asks for an address");
        boot.observe(Observed::Unknown { mac });
    }
    let reservation = match known {
        Some(reservation) => reservation.clone(),
        None => lend(pool?, policy, &request)?,
    };
    let Some(reply) = answer(policy, &request, &reservation) else {
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
    if known.is_some() {
        boot.observe(Observed::Dhcp {
            mac,
            address: reservation.address,
        });
    }
    let destination = match reply.destination {
        Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
        Destination::Client(address) => SocketAddrV4::new(address, CLIENT_PORT),
        Destination::Relay(address) => SocketAddrV4::new(address, SERVER_PORT),
    };
    Some((content, destination))
}

/// An address of the pool for a machine that nobody knows.
fn lend(
    (pool, now): (&mut Pool, Duration),
    policy: &DhcpPolicy,
    request: &Request,
) -> Option<Reservation> {
    let own = Some(request.current).filter(|current| !current.is_unspecified());
    let lease = match request.kind {
        MessageType::Discover => None,
        MessageType::Request => Some(Duration::from_secs(policy.lease_seconds.into())),
        _ => return None,
    };
    let address = pool.address(request.mac, request.requested.or(own), now, lease)?;
    Some(Reservation {
        address,
        hostname: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::answer::tests::policy;
    use crate::policy::BootChoice;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Listener(Mutex<Vec<Observed>>);

    #[async_trait::async_trait]
    impl BootPolicy for Listener {
        async fn choose(&self, _: Mac) -> BootChoice {
            BootChoice::Disk
        }

        async fn take_token(&self, _: Mac) -> Option<String> {
            None
        }

        fn observe(&self, observed: Observed) {
            self.0.lock().unwrap().push(observed);
        }
    }

    /// A PXE client's message of this type; with the address that it asks for.
    fn message(last_octet: u8, kind: u8, wanted: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 4, 0x80, 0];
        bytes.resize(28, 0);
        bytes.extend([0x52, 0x54, 0, 0xaa, 0, last_octet]);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99, 53, 1, kind]);
        bytes.extend(b"\x3c\x20PXEClient:Arch:00000:UNDI:002001");
        if let Some(wanted) = wanted {
            bytes.extend([50, 4]);
            bytes.extend(wanted);
        }
        bytes.push(255);
        bytes
    }

    #[test]
    fn an_unknown_machine_gets_nothing_unless_a_pool_is_set_aside_and_then_nothing_to_boot() {
        let (mut policy, listener, seen) = (policy(), Listener::default(), Seen::default());
        let discover = message(9, 1, None);
        assert!(consider(&discover, &policy, None, &listener, &seen).is_none());
        policy.pool = Some(([10, 20, 0, 200].into(), [10, 20, 0, 210].into()));
        let mut pool = Pool::new([10, 20, 0, 200].into(), [10, 20, 0, 210].into(), |_| false);
        let mut ask = |datagram: &[u8]| {
            let now = Some((&mut pool, Duration::ZERO));
            consider(datagram, &policy, now, &listener, &seen)
        };
        let (offer, _) = ask(&discover).unwrap();
        assert_eq!(offer[16..20], [10, 20, 0, 200]);
        let (ack, _) = ask(&message(9, 3, Some([10, 20, 0, 200]))).unwrap();
        assert_eq!(ack[16..20], [10, 20, 0, 200]);
        let (nak, _) = ask(&message(9, 3, Some([10, 20, 0, 11]))).unwrap();
        assert_eq!(
            (&nak[16..20], nak[242]),
            (&[0; 4][..], 6),
            "that is node-1's"
        );
        for answer in [&offer, &ack] {
            assert_eq!(answer[108..236], [0; 128], "a boot file");
            assert!(!answer.windows(8).any(|part| part == b"undionly"));
        }
        // A known machine is answered as ever.
        let (known, _) = ask(&message(1, 1, None)).unwrap();
        assert!(known.windows(8).any(|part| part == b"undionly"));
        let told = listener.0.into_inner().unwrap();
        let unknown = Mac([0x52, 0x54, 0, 0xaa, 0, 9]);
        assert_eq!(told.len(), 2, "once for each: {told:?}");
        assert_eq!(told[0], Observed::Unknown { mac: unknown });
        assert_eq!(seen.counts().unknown[&unknown], 4);
    }
}
