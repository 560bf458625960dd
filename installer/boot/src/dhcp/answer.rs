//! What a client is answered: a function of the plan's reservations and the request, nothing else.
//!
//! Follows RFC 2131 section 4.3 for a server that knows each client's address: a request that fits is
//! acknowledged, one that does not is refused, a client that chose another server is left alone.
use std::collections::HashMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};
use ipnetwork::Ipv4Network;

use crate::Mac;
use crate::dhcp::request::{Request, Sender};

/// Old PXE ROMs drop anything shorter than BOOTP's original packet (RFC 1542 section 2.1).
const SHORTEST_REPLY: usize = 300;

/// `PXE_DISCOVERY_CONTROL` (6) = 8, "fetch the given boot file, look for no other boot server", and the end mark.
const PXE_USE_BOOT_FILE: [u8; 4] = [6, 1, 8, 255];
/// iPXE's `no-pxedhcp` (176) = 1: do not wait for a proxy's offer.
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];
const IPXE_OPTION: u8 = 175;

/// EFI x86-64 (7) and EFI byte code (9), which x86-64 firmware also says; EFI x86-64 over HTTP (16). RFC 5970's
/// registry.
const EFI_X86_64: [u16; 2] = [7, 9];
const EFI_X86_64_HTTP: u16 = 16;
const BIOS: u16 = 0;

/// Boot loader of UEFI machines.
pub const EFI_LOADER: &str = "ipxe.efi";
/// Boot loader of BIOS machines.
pub const BIOS_LOADER: &str = "undionly.kpxe";

/// All that answers are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpPolicy {
    /// This server's address on the network.
    pub server: Ipv4Addr,
    pub http_port: u16,
    pub network: Ipv4Network,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    /// Seconds; only the boot stages use these addresses, so an hour is plenty.
    pub lease_seconds: u32,
    pub reservations: HashMap<Mac, Reservation>,
    /// First and last address for machines that no reservation names; without, they get no answer.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// What the plan reserves for a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub address: Ipv4Addr,
    /// Without domain; empty for a machine that nobody knows, which gets nothing to boot either.
    pub hostname: String,
}

/// A message to send and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub message: Message,
    pub destination: Destination,
}

/// Where a reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To everyone on the link, client port. Also where RFC 2131 allows a unicast to an address that the client
    /// does not answer for yet: every PXE ROM takes broadcasts.
    Broadcast,
    /// To a client that has its address, client port.
    Client(Ipv4Addr),
    /// To the relay, server port.
    Relay(Ipv4Addr),
}

impl Reply {
    /// The datagram's content.
    ///
    /// # Errors
    /// When an option is longer than the protocol can say.
    pub fn encode(&self) -> Result<Vec<u8>, dhcproto::error::EncodeError> {
        let mut datagram = Vec::with_capacity(512);
        self.message.encode(&mut Encoder::new(&mut datagram))?;
        if datagram.len() < SHORTEST_REPLY {
            datagram.resize(SHORTEST_REPLY, 0);
        }
        Ok(datagram)
    }
}

impl DhcpPolicy {
    /// Base URL of the boot server, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}:{}", self.server, self.http_port)
    }
}

/// The reply to a request, if it is due one, for a machine whose address is `reservation`.
#[must_use]
pub fn answer(policy: &DhcpPolicy, request: &Request, reservation: &Reservation) -> Option<Reply> {
    let relayed = !request.relay.is_unspecified();
    // A relay speaks from the client's network; ours is the only one that we know.
    if relayed && !policy.network.contains(request.relay) {
        return None;
    }
    let address = reservation.address;
    let kind = match request.kind {
        MessageType::Discover => MessageType::Offer,
        MessageType::Request => {
            if request.server.is_some_and(|chosen| chosen != policy.server) {
                return None;
            }
            // Selecting and rebooting clients name the address in option 50, renewing ones in `ciaddr`.
            let claimed = request.requested.unwrap_or(request.current);
            if claimed == address {
                MessageType::Ack
            } else {
                MessageType::Nak
            }
        }
        MessageType::Inform => MessageType::Ack,
        // Declined: somebody else uses the address; released: nothing to free. Neither is answered.
        _ => return None,
    };
    let mut message = reply_to(request, policy.server, kind);
    if kind == MessageType::Nak {
        let text = format!("this machine's address is {address}");
        message.opts_mut().insert(DhcpOption::Message(text));
    } else {
        // RFC 2131 section 4.3.5: no address and no lease in the answer to an Inform.
        if request.kind != MessageType::Inform {
            message.set_yiaddr(address);
            message
                .opts_mut()
                .insert(DhcpOption::AddressLeaseTime(policy.lease_seconds));
        }
        add_network(&mut message, policy, reservation);
        if !reservation.hostname.is_empty() {
            add_boot_file(&mut message, policy, request);
        }
    }
    Some(Reply {
        destination: destination(request, kind),
        message,
    })
}

/// Table 3 and section 4.1 of RFC 2131.
fn destination(request: &Request, kind: MessageType) -> Destination {
    if !request.relay.is_unspecified() {
        Destination::Relay(request.relay)
    } else if kind != MessageType::Nak && !request.current.is_unspecified() {
        Destination::Client(request.current)
    } else {
        Destination::Broadcast
    }
}

fn reply_to(request: &Request, server: Ipv4Addr, kind: MessageType) -> Message {
    let asked = &request.message;
    let current = if kind == MessageType::Ack {
        request.current
    } else {
        Ipv4Addr::UNSPECIFIED
    };
    let mut message = Message::new_with_id(
        asked.xid(),
        current,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        request.relay,
        &request.mac.0,
    );
    message
        .set_opcode(Opcode::BootReply)
        .set_flags(asked.flags());
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    // Handed back unchanged: the machine's UUID (RFC 4578), the client's identifier (RFC 6842), and what a relay
    // added (RFC 3046).
    for code in [
        OptionCode::ClientMachineIdentifier,
        OptionCode::ClientIdentifier,
        OptionCode::RelayAgentInformation,
    ] {
        if let Some(option) = asked.opts().get(code) {
            options.insert(option.clone());
        }
    }
    message
}

fn add_network(message: &mut Message, policy: &DhcpPolicy, reservation: &Reservation) {
    let options = message.opts_mut();
    options.insert(DhcpOption::SubnetMask(policy.network.mask()));
    options.insert(DhcpOption::BroadcastAddr(policy.network.broadcast()));
    if !reservation.hostname.is_empty() {
        options.insert(DhcpOption::Hostname(reservation.hostname.clone()));
    }
    if let Some(gateway) = policy.gateway {
        options.insert(DhcpOption::Router(vec![gateway]));
    }
    if !policy.dns.is_empty() {
        options.insert(DhcpOption::DomainNameServer(policy.dns.clone()));
    }
}

fn add_boot_file(message: &mut Message, policy: &DhcpPolicy, request: &Request) {
    let base = policy.base_url();
    let (file, class): (String, &[u8]) = match request.sender {
        Sender::Ipxe => {
            let no_proxy =
                UnknownOption::new(OptionCode::from(IPXE_OPTION), IPXE_NO_PROXY.to_vec());
            message.opts_mut().insert(DhcpOption::Unknown(no_proxy));
            (format!("{base}/boot/{}", request.mac), b"")
        }
        Sender::Pxe { architecture: BIOS } => (BIOS_LOADER.into(), b"PXEClient"),
        Sender::Pxe { architecture } if EFI_X86_64.contains(&architecture) => {
            (EFI_LOADER.into(), b"PXEClient")
        }
        Sender::HttpBoot {
            architecture: EFI_X86_64_HTTP,
        } => (format!("{base}/boot/loader/{EFI_LOADER}"), b"HTTPClient"),
        // No loader for such machines: an address, but nothing to boot.
        Sender::Pxe { .. } | Sender::HttpBoot { .. } | Sender::Other => return,
    };
    message.set_siaddr(policy.server).set_fname_str(&file);
    let options = message.opts_mut();
    if request.wants(OptionCode::BootfileName) || matches!(request.sender, Sender::HttpBoot { .. })
    {
        options.insert(DhcpOption::BootfileName(file.into_bytes()));
    }
    if !class.is_empty() {
        options.insert(DhcpOption::ClassIdentifier(class.to_vec()));
    }
    if matches!(request.sender, Sender::Pxe { .. }) {
        options.insert(DhcpOption::TFTPServerName(
            policy.server.to_string().into_bytes(),
        ));
        options.insert(DhcpOption::VendorExtensions(PXE_USE_BOOT_FILE.to_vec()));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
