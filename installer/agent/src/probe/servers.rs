//! Asks name servers and time servers one question each, by datagrams through the node's own routes.
use agent_protocol::probe::Answer;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// For one try, and how often.
const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 3;
/// For all, names of servers looked up too.
const WITHIN: Duration = Duration::from_secs(8);
/// How long a DNS answer without extensions can be (RFC 1035 section 4.2.1).
const LONGEST: usize = 512;

const DNS_PORT: u16 = 53;
const NTP_PORT: u16 = 123;

/// Names of RCODE, RFC 1035 section 4.1.1.
const RCODES: [&str; 6] = [
    "no error",
    "format error",
    "server failure",
    "name error",
    "not implemented",
    "refused",
];

/// Questions on their way.
pub struct Asking {
    answers: mpsc::Receiver<(bool, usize, Option<String>)>,
    dns: Vec<Answer>,
    time: Vec<Answer>,
    open: usize,
    deadline: Instant,
}

impl Asking {
    /// Asks all at once; `salt` makes the questions this run's own.
    pub fn start(dns: &[IpAddr], time: &[String], salt: [u8; 8]) -> Self {
        let (told, answers) = mpsc::channel();
        let unanswered = |server: String| Answer {
            server,
            fault: Some(format!("no answer within {} s", WITHIN.as_secs())),
        };
        for (at, server) in dns.iter().enumerate() {
            let (told, server) = (told.clone(), SocketAddr::new(*server, DNS_PORT));
            // Threads that are still waiting at the end of the program end with it.
            thread::spawn(move || told.send((true, at, ask_name(server, salt).err())));
        }
        for (at, server) in time.iter().enumerate() {
            let (told, server) = (told.clone(), server.clone());
            thread::spawn(move || told.send((false, at, ask_time(&server, salt).err())));
        }
        Asking {
            answers,
            dns: dns
                .iter()
                .map(|server| unanswered(server.to_string()))
                .collect(),
            time: time.iter().cloned().map(unanswered).collect(),
            open: dns.len() + time.len(),
            deadline: Instant::now() + WITHIN,
        }
    }

    /// Takes in the answers that are there; whether nothing is to be waited for any more.
    pub fn is_done(&mut self) -> bool {
        while let Ok((is_dns, at, fault)) = self.answers.try_recv() {
            let list = if is_dns {
                &mut self.dns
            } else {
                &mut self.time
            };
            list[at].fault = fault;
            self.open -= 1;
        }
        self.open == 0 || Instant::now() >= self.deadline
    }

    /// Of name servers, and of time servers.
    pub fn answers(mut self) -> (Vec<Answer>, Vec<Answer>) {
        self.is_done();
        (self.dns, self.time)
    }
}

/// Asks for the name servers of the root, which every resolver knows.
fn ask_name(server: SocketAddr, salt: [u8; 8]) -> Result<(), String> {
    let mut question = vec![salt[0], salt[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    // The root, type NS, class IN.
    question.extend([0, 0, 2, 0, 1]);
    exchange(server, &question, |answer| dns_fault(answer, salt))
}

/// `None`: it is not an answer to our question.
fn dns_fault(answer: &[u8], salt: [u8; 8]) -> Option<Result<(), String>> {
    let head = answer.first_chunk::<12>()?;
    if head[..2] != salt[..2] || head[2] & 0x80 == 0 {
        return None;
    }
    let code = usize::from(head[3] & 0x0f);
    Some(match code {
        0 => Ok(()),
        code => Err(format!(
            "it answers: {}",
            RCODES.get(code).unwrap_or(&"an unknown error")
        )),
    })
}

fn ask_time(server: &str, salt: [u8; 8]) -> Result<(), String> {
    let mut addresses = (server, NTP_PORT)
        .to_socket_addrs()
        .map_err(|error| format!("its name cannot be resolved: {error}"))?;
    let address = addresses.next().ok_or("its name has no address")?;
    // Version 4, mode client; our mark as the time of sending, which comes back as origin (RFC 5905 section 8).
    let mut question = [0; 48];
    question[0] = 0x23;
    question[40..48].copy_from_slice(&salt);
    exchange(address, &question, |answer| ntp_fault(answer, salt))
}

fn ntp_fault(answer: &[u8], salt: [u8; 8]) -> Option<Result<(), String>> {
    let head = answer.first_chunk::<48>()?;
    if head[24..32] != salt || head[0] & 7 != 4 {
        return None;
    }
    let (leap, stratum) = (head[0] >> 6, head[1]);
    Some(match (leap, stratum) {
        (3, _) | (_, 16..) => Err("it answers that its own clock is not set".to_owned()),
        (_, 0) => Err(format!(
            "it answers that it does not serve us ({})",
            head[12..16].escape_ascii()
        )),
        _ => Ok(()),
    })
}

/// Sends until something comes that `judge` takes for an answer.
fn exchange(
    server: SocketAddr,
    question: &[u8],
    judge: impl Fn(&[u8]) -> Option<Result<(), String>>,
) -> Result<(), String> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let said = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind((any, 0)).map_err(said)?;
    socket.connect(server).map_err(said)?;
    let mut answer = [0; LONGEST];
    let mut last = "no answer".to_owned();
    for _ in 0..TRIES {
        let until = Instant::now() + TRY;
        if let Err(error) = socket.send(question) {
            last = said(error);
        }
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            // A read without time is refused.
            socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .map_err(said)?;
            match socket.recv(&mut answer) {
                Ok(length) => {
                    if let Some(judged) = judge(&answer[..length]) {
                        return judged;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    last = said(error);
                    // Refused at once: waiting a moment keeps the tries apart.
                    thread::sleep(Duration::from_millis(300).min(left));
                    break;
                }
            }
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    /// A server that answers one question as told, after something that is no answer.
    fn server(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut question = [0; LONGEST];
            let (length, from) = socket.recv_from(&mut question).unwrap();
            socket.send_to(b"garbage", from).unwrap();
            socket.send_to(&answer(&question[..length]), from).unwrap();
        });
        address
    }

    #[test]
    fn a_name_server_answers_or_says_why_not() {
        let with = |code: u8| {
            move |question: &[u8]| {
                let mut answer = question.to_vec();
                answer[2] |= 0x80;
                answer[3] = code;
                answer
            }
        };
        assert_eq!(ask_name(server(with(0)), SALT), Ok(()));
        assert_eq!(
            ask_name(server(with(5)), SALT),
            Err("it answers: refused".to_owned())
        );
    }

    #[test]
    fn a_time_server_is_well_when_its_own_clock_is_set() {
        let with = |first: u8, stratum: u8| {
            move |question: &[u8]| {
                let mut answer = vec![0; 48];
                (answer[0], answer[1]) = (first, stratum);
                answer[24..32].copy_from_slice(&question[40..48]);
                answer
            }
        };
        let ask = |first, stratum| {
            let mut question = [0; 48];
            question[40..48].copy_from_slice(&SALT);
            exchange(server(with(first, stratum)), &question, |answer| {
                ntp_fault(answer, SALT)
            })
        };
        assert_eq!(ask(0x24, 2), Ok(()));
        assert!(ask(0xe4, 2).unwrap_err().contains("not set"));
        assert!(ask(0x24, 16).unwrap_err().contains("not set"));
        assert!(ask(0x24, 0).unwrap_err().contains("does not serve us"));
    }

    proptest! {
        #[test]
        fn strangers_answers_never_panic(answer in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (dns_fault(&answer, SALT), ntp_fault(&answer, SALT));
        }
    }
}
