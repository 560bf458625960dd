//! `wright-agent probe`: what this node hears on its wires, while all nodes send (`agent_protocol::probe`).
//!
//! Raw frames on every card, tags written and read here: nothing of the node's network need be configured for it, a
//! VLAN neither nor a bond, whose members are looked at one by one. One thread and bounded memory, whatever comes. It
//! does not know what should be heard.
mod arp;
mod dhcp;
mod ears;
mod ethernet;
mod ipv4;
mod nic;
mod schedule;
mod servers;
mod socket;

use agent_protocol::PROTOCOL;
use agent_protocol::frame::{self, FrameError};
use agent_protocol::probe::{FromProbe, Heard, LinkReport, NicReport, Spec, ToProbe, parse_nonce};
use ears::{Ears, Listening};
use nic::Nic;
use schedule::Sending;
use servers::Asking;
use socket::{KEPT_MAX, Wire};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Longest spec: no node has more links and addresses than fit in.
const SPEC_BYTES_MAX: usize = 1 << 20;
/// Longest silence of the controller. Others may be slow to start.
const PATIENCE: Duration = Duration::from_secs(180);
/// For cards that were down: negotiation takes some seconds.
const CARRIER_WITHIN: Duration = Duration::from_secs(8);
/// Frames that are read from one card before others have their turn.
const AT_ONCE: usize = 256;
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("the controller's connection broke")]
    Io(#[from] io::Error),
    #[error("the controller speaks another language")]
    Frame(#[from] FrameError),
    #[error("the controller hung up")]
    HungUp,
    #[error("the controller was silent for {} s", PATIENCE.as_secs())]
    Silence,
    #[error("the controller said something out of turn")]
    OutOfTurn,
    #[error("{0}")]
    Spec(String),
}

/// One conversation over standard input and output.
pub fn run() -> Result<(), ProbeError> {
    let mut controller = Controller::default();
    let talked = converse(&mut controller);
    if let Err(error) = &talked {
        let reason = error.to_string();
        // Who hung up does not read this.
        let _ = tell(&FromProbe::Failed { reason });
    }
    talked
}

fn converse(controller: &mut Controller) -> Result<(), ProbeError> {
    tell(&FromProbe::Hello {
        protocol: PROTOCOL,
        agent_sha256: crate::serve::daemon::own_sha256()?,
    })?;
    let deadline = Instant::now() + PATIENCE;
    let spec = loop {
        wait(&[], true, TICK)?;
        match controller.said()? {
            Some(ToProbe::Spec(spec)) => break *spec,
            Some(_) => return Err(ProbeError::OutOfTurn),
            None if Instant::now() > deadline => return Err(ProbeError::Silence),
            None => {}
        }
    };
    if let Some(fault) = spec.fault() {
        return Err(ProbeError::Spec(fault));
    }
    let mut probe = Probing::start(&spec)?;
    tell(&FromProbe::Listening)?;
    probe.listen_until(controller, &ToProbe::Send)?;
    probe.send(&spec, controller)?;
    tell(&FromProbe::Sent)?;
    probe.listen_until(controller, &ToProbe::Stop)?;
    tell(&FromProbe::Heard(Box::new(probe.report())))
}

/// A card that is listened to.
struct Card {
    nic: Nic,
    wire: Wire,
    ears: Ears,
}

struct Probing {
    shared: Listening,
    /// As in the report: a card, or why there is none.
    cards: Vec<(String, Result<Card, String>)>,
    links: Vec<LinkReport>,
    asking: Option<Asking>,
}

impl Probing {
    fn start(spec: &Spec) -> Result<Self, ProbeError> {
        let nonce = parse_nonce(&spec.nonce).unwrap_or_default();
        let shared = Listening {
            nonce,
            transaction: [nonce[12], nonce[13], nonce[14], nonce[15]],
            nodes: spec.nodes,
            links_max: spec.links_max,
            own: nic::own_macs()?,
        };
        let mut cards: Vec<(String, Result<Card, String>)> = Vec::new();
        for link in &spec.links {
            if cards.iter().any(|(name, _)| *name == link.nic) {
                continue;
            }
            let of_card = spec.links.iter().filter(|other| other.nic == link.nic);
            let watched: BTreeSet<_> = of_card
                .flat_map(|link| {
                    link.ask_for
                        .iter()
                        .chain(&link.address)
                        .chain(&link.gateway)
                })
                .copied()
                .collect();
            let card = Nic::take(&link.nic).and_then(|nic| {
                let wire = Wire::open(nic.index, &nonce)?;
                let ears = Ears::new(watched);
                Ok(Card { nic, wire, ears })
            });
            cards.push((link.nic.clone(), card.map_err(|error| error.to_string())));
        }
        let deadline = Instant::now() + CARRIER_WITHIN;
        let is_waited_for = |card: &Card| card.nic.was_down() && !card.nic.has_carrier();
        while Instant::now() < deadline
            && cards
                .iter()
                .any(|(_, card)| card.as_ref().is_ok_and(is_waited_for))
        {
            std::thread::sleep(TICK);
        }
        Ok(Probing {
            shared,
            cards,
            links: vec![LinkReport::default(); spec.links.len()],
            asking: None,
        })
    }

    /// Listens until the controller says `word`.
    fn listen_until(
        &mut self,
        controller: &mut Controller,
        word: &ToProbe,
    ) -> Result<(), ProbeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.listen(controller, TICK)?;
            match controller.said()? {
                Some(said) if said == *word => return Ok(()),
                Some(_) => return Err(ProbeError::OutOfTurn),
                None if Instant::now() > deadline => return Err(ProbeError::Silence),
                None => {}
            }
        }
    }

    /// Sends everything at its time, and listens between.
    fn send(&mut self, spec: &Spec, controller: &mut Controller) -> Result<(), ProbeError> {
        let salt = self.shared.nonce.first_chunk().copied().unwrap_or_default();
        let mut asking = Asking::start(&spec.dns, &spec.time, salt);
        let began = Instant::now();
        let mut to_send = Sending::of(spec).into_iter().peekable();
        loop {
            while let Some(due) = to_send.next_if(|sending| began.elapsed() >= sending.at) {
                self.send_one(spec, &due);
            }
            let left = match to_send.peek() {
                Some(next) => next.at.saturating_sub(began.elapsed()),
                None if asking.is_done() => break,
                None => TICK,
            };
            self.listen(controller, left.min(TICK))?;
            if controller.said()?.is_some() {
                return Err(ProbeError::OutOfTurn);
            }
        }
        self.asking = Some(asking);
        Ok(())
    }

    fn send_one(&mut self, spec: &Spec, sending: &Sending) {
        let link = &spec.links[sending.link];
        let card = self.cards.iter().find(|(name, _)| *name == link.nic);
        let Some((_, Ok(card))) = card else {
            // The card's report says why.
            return;
        };
        let frame = sending.frame(spec, &self.shared, card.nic.mac);
        let sent = card.wire.send(&frame).err();
        let fault = sent.and_then(|error| match error.raw_os_error() {
            Some(libc::EMSGSIZE) => Some(format!(
                "a frame of {} bytes is too long for the card, whose MTU is {}",
                link.mtu, card.nic.mtu
            )),
            // A full queue says nothing, and some cards say this of what the other end drops: who listens knows.
            Some(libc::ENOBUFS | libc::EAGAIN) => None,
            _ => Some(error.to_string()),
        });
        sending.note(&mut self.links[sending.link], fault);
    }

    /// Takes in what comes within this time, or until the controller says something.
    fn listen(&mut self, controller: &mut Controller, within: Duration) -> Result<(), ProbeError> {
        let wires: Vec<&Wire> = self
            .cards
            .iter()
            .filter_map(|(_, card)| Some(&card.as_ref().ok()?.wire))
            .collect();
        wait(&wires, !controller.has_words(), within)?;
        let mut buffer = [0; KEPT_MAX];
        for card in self
            .cards
            .iter_mut()
            .filter_map(|(_, card)| card.as_mut().ok())
        {
            for _ in 0..AT_ONCE {
                match card.wire.receive(&mut buffer) {
                    Ok(Some(frame)) => card.ears.hear(&frame, &self.shared),
                    Ok(None) => {}
                    // Nothing is left, or the card went down: its carrier is looked at in the end.
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    fn report(self) -> Heard {
        let nics = self.cards.into_iter().map(|(name, card)| match card {
            Err(fault) => NicReport {
                name,
                fault: Some(fault),
                ..NicReport::default()
            },
            Ok(card) => card.ears.report(NicReport {
                name,
                mac: card.nic.mac.to_string(),
                mtu: card.nic.mtu,
                carrier: card.nic.has_carrier(),
                lost: card.wire.lost(),
                ..NicReport::default()
            }),
        });
        let (dns, time) = self.asking.map(Asking::answers).unwrap_or_default();
        Heard {
            nics: nics.collect(),
            links: self.links,
            macs: self.shared.own.iter().map(ToString::to_string).collect(),
            dns,
            time,
        }
    }
}

/// What the controller says on standard input.
#[derive(Default)]
struct Controller {
    buffer: Vec<u8>,
    /// The last look found nothing whole in the buffer.
    looked: bool,
}

impl Controller {
    /// Whether something may be in the buffer that was not looked at.
    fn has_words(&self) -> bool {
        !self.looked && !self.buffer.is_empty()
    }

    /// The next message if there is one; never waits.
    fn said(&mut self) -> Result<Option<ToProbe>, ProbeError> {
        if let Some(said) = frame::decode(&mut self.buffer)? {
            self.looked = false;
            return Ok(Some(said));
        }
        self.looked = true;
        if !is_readable(libc::STDIN_FILENO) {
            return Ok(None);
        }
        let mut piece = [0; 16 << 10];
        match nix::unistd::read(io::stdin(), &mut piece).map_err(io::Error::from)? {
            0 => return Err(ProbeError::HungUp),
            length => self.buffer.extend_from_slice(&piece[..length]),
        }
        if self.buffer.len() > SPEC_BYTES_MAX {
            return Err(ProbeError::Spec(format!(
                "the spec is longer than {SPEC_BYTES_MAX} bytes"
            )));
        }
        self.looked = false;
        Ok(frame::decode(&mut self.buffer)?)
    }
}

fn tell(message: &FromProbe) -> Result<(), ProbeError> {
    let mut out = io::stdout().lock();
    out.write_all(&frame::encode(message)?)?;
    // Standard output is buffered by lines, frames have none.
    out.flush()?;
    Ok(())
}

fn poll_for(fd: i32) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

fn is_readable(fd: i32) -> bool {
    let mut one = [poll_for(fd)];
    poll(&mut one, Duration::ZERO).is_ok_and(|ready| ready > 0)
}

/// Waits until a card has a frame or the controller speaks, no longer than `within`.
fn wait(wires: &[&Wire], controller: bool, within: Duration) -> io::Result<()> {
    let mut all: Vec<libc::pollfd> = wires
        .iter()
        .map(|wire| poll_for(wire.as_raw_fd()))
        .collect();
    if controller {
        all.push(poll_for(libc::STDIN_FILENO));
    }
    poll(&mut all, within).map(drop)
}

fn poll(all: &mut [libc::pollfd], within: Duration) -> io::Result<usize> {
    // Rounded up: a wait of less than a millisecond must not spin.
    let milliseconds = within
        .as_micros()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(i32::MAX);
    // SAFETY: pointer and length are those of a slice.
    let ready = unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, milliseconds) };
    match ready {
        0.. => Ok(ready as usize),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
    }
}
