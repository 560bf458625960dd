//! TFTP (RFC 1350) for the first stage: reading the boot loaders, and nothing else. They are held in memory, so that
//! no request leads to a path. Everything that differs between nodes goes over HTTP.
//!
//! Packets are read and written by `tftpd`. Its own server prints every transfer that a client ends on standard
//! error, and UEFI firmware ends one each time it asks for a file's size; so [`transfer`] decides and this sends.
mod transfer;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tftpd::{ErrorCode, Packet};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dhcp::answer::{BIOS_LOADER, EFI_LOADER};
use crate::error::BootError;
use transfer::{Heard, Transfer};

const PORT: u16 = 69;
/// Nothing that a reader sends is longer than an Ethernet frame.
const LONGEST: usize = 1500;
/// A rack of machines at once, with room to spare; more ask again by themselves.
const TRANSFERS: usize = 256;
/// How often a window is sent without an answer before the reader is given up.
const TRIES: u32 = 6;
/// After a failed receive (interface down, for example) before trying again.
const PAUSE: Duration = Duration::from_secs(1);

/// Boot loaders by name.
pub(crate) type Files = BTreeMap<&'static str, Arc<[u8]>>;

/// Reads the boot loaders from where Debian's package puts them.
pub(crate) fn load(loaders: &Path) -> Result<Files, BootError> {
    let load = |name| {
        let path = loaders.join(name);
        match fs::read(&path) {
            Ok(content) => Ok((name, Arc::<[u8]>::from(content))),
            Err(source) => Err(BootError::Loader { path, source }),
        }
    };
    [EFI_LOADER, BIOS_LOADER].into_iter().map(load).collect()
}

pub(crate) fn bind(interface: &str, address: Ipv4Addr) -> Result<UdpSocket, BootError> {
    let address = SocketAddr::from((address, PORT));
    (|| {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    })()
    .map_err(|source: io::Error| BootError::Socket {
        what: "TFTP",
        interface: interface.to_owned(),
        address,
        source,
    })
}

/// Peers that a transfer runs with.
type Peers = Arc<Mutex<HashSet<SocketAddr>>>;

/// Serves until stopped; then transfers under way are finished by whoever waits for the tracker.
pub(crate) async fn serve(
    socket: UdpSocket,
    files: Files,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let peers = Peers::default();
    let mut datagram = [0; LONGEST];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut datagram) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "TFTP socket");
                tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(PAUSE) => continue }
            }
        };
        let packet = datagram.get(..length).unwrap_or_default();
        let transfer = match begin(packet, &files) {
            Some(Ok(transfer)) => transfer,
            Some(Err(refusal)) => {
                tracing::debug!(%peer, ?refusal, "TFTP request refused");
                // Whoever does not hear it asks again.
                if let Ok(bytes) = refusal.serialize() {
                    let _ = socket.send_to(&bytes, peer).await;
                }
                continue;
            }
            None => continue,
        };
        if !admit(&peers, peer) {
            continue;
        }
        let local = socket.local_addr().map(|address| address.ip());
        let (peers, stop) = (peers.clone(), stop.clone());
        tasks.spawn(async move {
            let name = transfer.name;
            let ended = match local {
                Ok(local) => tokio::select! {
                    () = stop.cancelled() => Ok("stopped".to_owned()),
                    ended = send(transfer, local, peer) => ended,
                },
                Err(error) => Err(error),
            };
            match ended {
                Ok(how) => tracing::info!(%peer, name, how, "TFTP"),
                Err(error) => tracing::warn!(%peer, name, %error, "TFTP"),
            }
            lock(&peers).remove(&peer);
        });
    }
}

/// A reader that asks again before it was answered has its transfer already, and there is an end to them.
fn admit(peers: &Peers, peer: SocketAddr) -> bool {
    let mut peers = lock(peers);
    peers.len() < TRANSFERS && peers.insert(peer)
}

/// No holder of this lock can panic half way through a change: poisoning is ignored.
fn lock(peers: &Peers) -> std::sync::MutexGuard<'_, HashSet<SocketAddr>> {
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a first datagram asks for: a transfer, or the refusal; `None` when it is not worth an answer.
fn begin(datagram: &[u8], files: &Files) -> Option<Result<Transfer, Packet>> {
    let refuse = |code: ErrorCode, text: &str| {
        let msg = text.to_owned();
        Some(Err(Packet::Error { code, msg }))
    };
    match Packet::deserialize(datagram) {
        Ok(Packet::Rrq {
            filename,
            mode,
            options,
        }) => {
            // Some firmware asks for `/ipxe.efi`.
            let wanted = filename.trim_start_matches('/');
            match files.get_key_value(wanted) {
                Some(_) if !mode.eq_ignore_ascii_case("octet") => {
                    refuse(ErrorCode::IllegalOperation, "only mode octet is served")
                }
                Some((&name, content)) => Some(Ok(Transfer::new(name, content.clone(), &options))),
                None => refuse(ErrorCode::FileNotFound, "no such file"),
            }
        }
        Ok(Packet::Wrq { .. }) => refuse(ErrorCode::AccessViolation, "nothing is written here"),
        _ => None,
    }
}

/// Sends until the reader has all, gives up, or does not answer any more; how it ended.
async fn send(mut transfer: Transfer, local: IpAddr, peer: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(peer).await?;
    let mut datagram = [0; LONGEST];
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        for packet in transfer.window() {
            socket.send(&packet).await?;
        }
        let deadline = tokio::time::Instant::now() + transfer.timeout;
        loop {
            let Ok(received) = tokio::time::timeout_at(deadline, socket.recv(&mut datagram)).await
            else {
                break;
            };
            let heard = match received {
                Ok(length) => transfer.hear(datagram.get(..length).unwrap_or_default()),
                // Its port is closed, which some firmware says before it asks again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Ok("the reader went away".to_owned());
                }
                Err(error) => return Err(error),
            };
            match heard {
                Heard::Progress => {
                    tries = 0;
                    break;
                }
                Heard::Nothing => {}
                Heard::Done => return Ok("sent".to_owned()),
                Heard::Ended(text) => return Ok(format!("the reader ended it: {text}")),
            }
        }
    }
    Ok("the reader does not answer any more".to_owned())
}
