//! A client's message as the policy needs it: checked, and told apart by who sends it (firmware, iPXE, other).
//!
//! Deliberately not here: what to answer.
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};

use crate::Mac;

/// BOOTP's fixed part with DHCP's magic number.
const SHORTEST: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const ETHERNET: u8 = 1;

/// iPXE's own option space; iPXE always sends it, firmware never.
const IPXE_OPTION: u8 = 175;

/// A client's message.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub mac: Mac,
    pub kind: MessageType,
    pub sender: Sender,
    /// Address that the client uses already (`ciaddr`); unspecified when it has none.
    pub current: Ipv4Addr,
    /// Address that it asks for (option 50).
    pub requested: Option<Ipv4Addr>,
    /// Server that it chose (option 54).
    pub server: Option<Ipv4Addr>,
    /// Relay that forwarded the message; unspecified when none did.
    pub relay: Ipv4Addr,
    pub(crate) message: Message,
}

/// What sent the message; decides which boot file it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// iPXE, which fetches over HTTP.
    Ipxe,
    /// A PXE ROM or UEFI's PXE, which fetches over TFTP; processor architecture as in option 93 (RFC 4578).
    Pxe { architecture: u16 },
    /// UEFI's HTTP boot.
    HttpBoot { architecture: u16 },
    /// Neither: an operating system, perhaps.
    Other,
}

/// Why a datagram is not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("shorter than a BOOTP header")]
    Short,
    #[error("not a request from a client on Ethernet")]
    NotEthernetRequest,
    #[error("not DHCP: the magic number is missing")]
    NoMagic,
    #[error("options cannot be decoded")]
    Options,
    #[error("no message type")]
    NoMessageType,
}

impl Request {
    /// Decodes a datagram.
    ///
    /// # Errors
    /// Says why it is not a client's DHCP message.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        // Checked before decoding: the decoder trusts the hardware address length.
        let (Some([_, hardware_type, 6, _]), Some(magic)) =
            (datagram.get(..4), datagram.get(236..SHORTEST))
        else {
            return Err(if datagram.len() < SHORTEST {
                Malformed::Short
            } else {
                Malformed::NotEthernetRequest
            });
        };
        if *hardware_type != ETHERNET {
            return Err(Malformed::NotEthernetRequest);
        }
        if magic != MAGIC {
            return Err(Malformed::NoMagic);
        }
        let message = Message::decode(&mut Decoder::new(&with_used_options(datagram)))
            .map_err(|_| Malformed::Options)?;
        let chaddr: [u8; 6] = message
            .chaddr()
            .try_into()
            .map_err(|_| Malformed::NotEthernetRequest)?;
        // Group addresses are nobody's.
        if message.opcode() != Opcode::BootRequest || chaddr[0] & 1 == 1 {
            return Err(Malformed::NotEthernetRequest);
        }
        let options = message.opts();
        let kind = options.msg_type().ok_or(Malformed::NoMessageType)?;
        let address = |code| match options.get(code) {
            Some(
                DhcpOption::RequestedIpAddress(address) | DhcpOption::ServerIdentifier(address),
            ) => Some(*address),
            _ => None,
        };
        Ok(Self {
            mac: Mac(chaddr),
            kind,
            sender: sender(&message),
            current: message.ciaddr(),
            requested: address(OptionCode::RequestedIpAddress),
            server: address(OptionCode::ServerIdentifier),
            relay: message.giaddr(),
            message,
        })
    }

    /// Whether the client listed the option among those it wants (option 55).
    pub(crate) fn wants(&self, code: OptionCode) -> bool {
        matches!(self.message.opts().get(OptionCode::ParameterRequestList),
            Some(DhcpOption::ParameterRequestList(codes)) if codes.contains(&code))
    }
}

/// Options that the policy looks at or hands back, and the lengths they can have.
const USED: [(OptionCode, RangeInclusive<usize>); 11] = [
    (OptionCode::RequestedIpAddress, 4..=4),
    (OptionCode::MessageType, 1..=1),
    (OptionCode::ServerIdentifier, 4..=4),
    (OptionCode::ParameterRequestList, 1..=255),
    (OptionCode::ClassIdentifier, 1..=255),
    (OptionCode::ClientIdentifier, 2..=255),
    (OptionCode::UserClass, 1..=255),
    (OptionCode::RelayAgentInformation, 2..=255),
    (OptionCode::ClientSystemArchitecture, 2..=254),
    (OptionCode::ClientMachineIdentifier, 17..=17),
    (OptionCode::Unknown(IPXE_OPTION), 1..=255),
];

/// The datagram with these options only. The decoder stops at the first option that it cannot read, and asserts
/// the length of some: neither may happen for an option that nobody here needs.
fn with_used_options(datagram: &[u8]) -> Vec<u8> {
    let (header, mut options) = datagram.split_at(datagram.len().min(SHORTEST));
    let mut used = header.to_vec();
    loop {
        match *options {
            [0, ref rest @ ..] => options = rest,
            [255, ..] | [] | [_] => break,
            [code, length, ref rest @ ..] => {
                let length = usize::from(length);
                let Some(value) = rest.get(..length) else {
                    break;
                };
                let known = |(used, lengths): &(OptionCode, RangeInclusive<usize>)| {
                    u8::from(*used) == code && lengths.contains(&length)
                };
                if USED.iter().any(known) {
                    used.extend([code, length as u8]);
                    used.extend(value);
                }
                options = &rest[length..];
            }
        }
    }
    used.push(255);
    used
}

fn sender(message: &Message) -> Sender {
    let options = message.opts();
    // Some builds of iPXE write their user class raw, RFC 3004 wants a length before each: take both.
    let ipxe_class = matches!(options.get(OptionCode::UserClass),
        Some(DhcpOption::UserClass(class)) if class == b"iPXE" || class == b"\x04iPXE");
    if ipxe_class || options.get(OptionCode::from(IPXE_OPTION)).is_some() {
        return Sender::Ipxe;
    }
    // Firmware of old BIOS machines leaves option 93 out: they are architecture 0.
    let architecture = match options.get(OptionCode::ClientSystemArchitecture) {
        Some(DhcpOption::ClientSystemArchitecture(architecture)) => u16::from(*architecture),
        _ => 0,
    };
    match options.get(OptionCode::ClassIdentifier) {
        Some(DhcpOption::ClassIdentifier(class)) if class.starts_with(b"PXEClient") => {
            Sender::Pxe { architecture }
        }
        Some(DhcpOption::ClassIdentifier(class)) if class.starts_with(b"HTTPClient") => {
            Sender::HttpBoot { architecture }
        }
        _ => Sender::Other,
    }
}
