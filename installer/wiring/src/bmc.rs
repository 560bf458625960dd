//! Does a BMC answer? Without logging in: the presence ping of ASF (ASF 2.0 section 3.2.4.2), and what every IPMI
//! console asks first (IPMI 2.0 section 22.13), because some BMCs answer only one of the two.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// RMCP version 1, a sequence that wants no acknowledgement, class ASF; the enterprise number of ASF; Presence Ping
/// (0x80), tag 1, no data.
const PING: [u8; 12] = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 1, 0, 0];
/// RMCP of class IPMI, no session; Get Channel Authentication Capabilities (application request 0x38) for this channel
/// and the administrator's rights.
const CAPABILITIES: [u8; 23] = [
    6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x20, 0x18, 0xc8, 0x81, 0, 0x38, 0x8e, 4, 0xb5,
];
const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 3;

/// A BMC by its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmc {
    pub node: String,
    pub address: Ipv4Addr,
    pub port: u16,
    /// `None`: it answers.
    pub fault: Option<String>,
}

/// Asks all from this machine, at the same time.
pub async fn ask(bmcs: &mut [Bmc]) {
    let asking = bmcs.iter_mut().map(|bmc| async {
        let answered = answers((bmc.address, bmc.port).into()).await;
        bmc.fault = answered.err();
    });
    futures::future::join_all(asking).await;
}

async fn answers(address: SocketAddr) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind("0.0.0.0:0").await.map_err(said)?;
    socket.connect(address).await.map_err(said)?;
    let mut last = format!("no answer within {} s", TRY.as_secs() * TRIES as u64);
    let mut answer = [0; 128];
    for _ in 0..TRIES {
        for question in [&PING[..], &CAPABILITIES] {
            if let Err(error) = socket.send(question).await {
                last = said(error);
            }
        }
        let listening = async {
            loop {
                match socket.recv(&mut answer).await {
                    Ok(length) if is_answer(&answer[..length]) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return Err(said(error)),
                }
            }
        };
        match timeout(TRY, listening).await {
            Ok(Ok(())) => return Ok(()),
            // The machine is there, and nothing listens on the port yet.
            Ok(Err(error)) => {
                last = error;
                tokio::time::sleep(TRY / 4).await;
            }
            Err(_) => {}
        }
    }
    Err(last)
}

/// A Presence Pong, or an answer to the question for capabilities.
fn is_answer(bytes: &[u8]) -> bool {
    let is_pong = bytes.len() >= 12 && bytes[3] & 0x1f == 6 && bytes[8] == 0x40;
    // The network function of answers to application requests, 7, before a logical unit of two bits.
    let is_ipmi =
        bytes.len() >= 22 && bytes[3] & 0x1f == 7 && bytes[15] >> 2 == 7 && bytes[19] == 0x38;
    bytes.first() == Some(&6) && (is_pong || is_ipmi)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bmc(address: SocketAddr) -> Bmc {
        Bmc {
            node: "node-1".into(),
            address: Ipv4Addr::LOCALHOST,
            port: address.port(),
            fault: None,
        }
    }

    #[test]
    fn the_question_has_its_check_sums() {
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(
            (sum(&CAPABILITIES[14..17]), sum(&CAPABILITIES[17..])),
            (0, 0)
        );
        assert_eq!(usize::from(CAPABILITIES[13]), CAPABILITIES.len() - 14);
    }

    /// Recorded from OpenIPMI's simulator, which the lab's machines have.
    #[test]
    fn both_answers_of_a_bmc_are_known() {
        let pong = "0600ff06000011be40010010000011be000000008100000000000000";
        let capabilities = "0600ff0700000000000000000010811c6320003800019704030000000009";
        for text in [pong, capabilities] {
            let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
            assert!(is_answer(&bytes));
            assert!((0..12).all(|length| !is_answer(&bytes[..length])));
        }
        assert!(!is_answer(&PING) && !is_answer(&CAPABILITIES));
    }

    #[tokio::test]
    async fn a_pong_is_an_answer_and_garbage_is_none() {
        let well = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let babbling = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut bmcs = [
            bmc(well.local_addr().unwrap()),
            bmc(babbling.local_addr().unwrap()),
        ];
        let serving = async {
            let (mut question, mut other) = ([0; 64], [0; 64]);
            loop {
                tokio::select! {
                    got = well.recv_from(&mut question) => {
                        let (length, from) = got.unwrap();
                        if question[..length] == PING {
                            let mut pong = [0; 28];
                            pong[..12].copy_from_slice(&PING);
                            (pong[8], pong[11]) = (0x40, 16);
                            well.send_to(&pong, from).await.unwrap();
                        }
                    }
                    got = babbling.recv_from(&mut other) => {
                        babbling.send_to(b"garbage", got.unwrap().1).await.unwrap();
                    }
                }
            }
        };
        tokio::select! {
            () = ask(&mut bmcs) => {}
            () = serving => {}
        }
        assert_eq!(bmcs[0].fault, None);
        assert_eq!(bmcs[1].fault.as_deref(), Some("no answer within 6 s"));
    }
}
