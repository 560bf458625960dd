//! Answers to messages as firmware and iPXE send them, in wire bytes; and to anything at all.
use proptest::prelude::*;

use super::*;
use crate::dhcp::request::Malformed;

pub(crate) fn policy() -> DhcpPolicy {
    let reservation = |address: &str, hostname: &str| Reservation {
        address: address.parse().unwrap(),
        hostname: hostname.into(),
    };
    DhcpPolicy {
        server: "10.20.0.1".parse().unwrap(),
        http_port: 7080,
        network: "10.20.0.0/24".parse().unwrap(),
        gateway: Some("10.20.0.1".parse().unwrap()),
        dns: vec!["10.20.0.1".parse().unwrap()],
        lease_seconds: 3600,
        reservations: HashMap::from([
            (
                "52:54:00:aa:00:01".parse().unwrap(),
                reservation("10.20.0.11", "node-1"),
            ),
            (
                "52:54:00:aa:00:02".parse().unwrap(),
                reservation("10.20.0.12", "node-2"),
            ),
        ]),
        pool: None,
    }
}

/// The answer to a machine that has a reservation.
fn answered(request: &Request) -> Option<Reply> {
    let policy = policy();
    answer(&policy, request, policy.reservations.get(&request.mac)?)
}

/// A BOOTP header with these options, as bytes.
fn datagram(last_octet: u8, options: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 4, 0x80, 0];
    bytes.resize(28, 0);
    bytes.extend([0x52, 0x54, 0, 0xaa, 0, last_octet]);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    for option in options {
        bytes.extend(*option);
    }
    bytes.push(255);
    bytes
}

const DISCOVER: &[u8] = &[53, 1, 1];
const REQUEST: &[u8] = &[53, 1, 3];
const INFORM: &[u8] = &[53, 1, 8];
const PXE: &[u8] = b"\x3c\x20PXEClient:Arch:00000:UNDI:002001";
const HTTP: &[u8] = b"\x3c\x0aHTTPClient";
const WANTS_BOOT_FILE: &[u8] = &[55, 3, 1, 3, 67];
const UUID: &[u8] = &[
    97, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];

fn reply(datagram: &[u8]) -> Option<Reply> {
    answered(&Request::decode(datagram).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    // Zeros between the header's fields say nothing: shown as one line.
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let line = line
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" ");
        let zeros = line.chars().all(|c| c == '0' || c == ' ');
        if !(zeros && text.ends_with("...\n")) {
            text += if zeros { "..." } else { &line };
            text += "\n";
        }
    }
    text
}

#[test]
fn wire_bytes_of_the_usual_askers() {
    let cases: [(&str, Vec<u8>); 7] = [
        (
            "BIOS PXE ROM discovers",
            datagram(1, &[DISCOVER, PXE, UUID, &[93, 2, 0, 0]]),
        ),
        (
            "UEFI PXE discovers",
            datagram(2, &[DISCOVER, PXE, &[93, 2, 0, 7], WANTS_BOOT_FILE]),
        ),
        (
            "UEFI HTTP boot discovers",
            datagram(2, &[DISCOVER, HTTP, &[93, 2, 0, 16]]),
        ),
        (
            "iPXE discovers",
            datagram(1, &[DISCOVER, PXE, b"\x4d\x04iPXE", &[175, 3, 177, 1, 1]]),
        ),
        (
            "iPXE requests",
            datagram(
                1,
                &[
                    REQUEST,
                    &[50, 4, 10, 20, 0, 11],
                    &[54, 4, 10, 20, 0, 1],
                    b"\x4d\x05\x04iPXE",
                ],
            ),
        ),
        (
            "ARM firmware discovers",
            datagram(1, &[DISCOVER, PXE, &[93, 2, 0, 11]]),
        ),
        (
            "another's address is requested",
            datagram(1, &[REQUEST, &[50, 4, 10, 20, 0, 12]]),
        ),
    ];
    let mut text = String::new();
    for (name, datagram) in cases {
        let reply = reply(&datagram).unwrap();
        let bytes = reply.encode().unwrap();
        text += &format!(
            "{name}: {:?}, {} bytes\n{}\n",
            reply.destination,
            bytes.len(),
            hex(&bytes)
        );
    }
    insta::assert_snapshot!(text);
}

#[test]
fn only_known_machines_that_chose_this_server_are_answered() {
    assert!(reply(&datagram(9, &[DISCOVER])).is_none(), "no reservation");
    let elsewhere = datagram(
        1,
        &[REQUEST, &[50, 4, 10, 20, 0, 11], &[54, 4, 10, 20, 0, 2]],
    );
    assert!(reply(&elsewhere).is_none(), "another server was chosen");
    assert!(reply(&datagram(1, &[&[53, 1, 4]])).is_none(), "decline");
    assert!(reply(&datagram(1, &[&[53, 1, 7]])).is_none(), "release");
}

#[test]
fn renewals_relays_and_informs_go_where_they_belong() {
    let mut renewal = datagram(1, &[REQUEST]);
    renewal[12..16].copy_from_slice(&[10, 20, 0, 11]);
    let renewed = reply(&renewal).unwrap();
    assert_eq!(
        renewed.destination,
        Destination::Client("10.20.0.11".parse().unwrap())
    );
    assert_eq!(renewed.message.opts().msg_type(), Some(MessageType::Ack));

    let mut wrong = renewal.clone();
    wrong[15] = 99;
    let refused = reply(&wrong).unwrap();
    assert_eq!(refused.destination, Destination::Broadcast);
    assert_eq!(refused.message.opts().msg_type(), Some(MessageType::Nak));

    let mut relayed = datagram(1, &[DISCOVER]);
    relayed[24..28].copy_from_slice(&[10, 20, 0, 254]);
    assert_eq!(
        reply(&relayed).unwrap().destination,
        Destination::Relay("10.20.0.254".parse().unwrap())
    );
    relayed[24..28].copy_from_slice(&[192, 168, 0, 254]);
    assert!(reply(&relayed).is_none(), "a network that is not ours");

    let mut inform = datagram(1, &[INFORM]);
    inform[12..16].copy_from_slice(&[10, 20, 0, 11]);
    let informed = reply(&inform).unwrap();
    assert!(informed.message.yiaddr().is_unspecified());
    assert!(
        informed
            .message
            .opts()
            .get(OptionCode::AddressLeaseTime)
            .is_none()
    );
}

#[test]
fn what_is_no_request_says_why() {
    assert_eq!(Request::decode(&[]).unwrap_err(), Malformed::Short);
    assert_eq!(
        Request::decode(&datagram(1, &[])).unwrap_err(),
        Malformed::NoMessageType
    );
    for (at, value, reason) in [
        (0, 2, Malformed::NotEthernetRequest),
        (1, 6, Malformed::NotEthernetRequest),
        (2, 255, Malformed::NotEthernetRequest),
        (28, 1, Malformed::NotEthernetRequest),
        (236, 0, Malformed::NoMagic),
    ] {
        let mut bytes = datagram(1, &[DISCOVER]);
        bytes[at] = value;
        assert_eq!(Request::decode(&bytes).unwrap_err(), reason, "octet {at}");
    }
}

proptest! {
    /// Any bytes at all, and any options behind a good header: decoded or refused, answered or not, never a
    /// panic; and an answer is always long enough and of our server.
    #[test]
    fn no_datagram_panics(noise in proptest::collection::vec(any::<u8>(), 0..700), changed in 0usize..240, to: u8) {
        if let Ok(request) = Request::decode(&noise) {
            let _ = answered(&request);
        }
        let mut bytes = datagram(1, &[DISCOVER]);
        bytes.pop();
        bytes.extend(&noise);
        bytes[changed] = to;
        if let Ok(request) = Request::decode(&bytes)
            && let Some(reply) = answered(&request)
            && let Ok(encoded) = reply.encode()
        {
            prop_assert!(encoded.len() >= 300);
            prop_assert_eq!(encoded[0], 2);
        }
    }
}
