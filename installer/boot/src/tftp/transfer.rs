//! One file on its way to one reader: which packets go out, and what the reader's answers change. No sockets, no
//! clock. Options are those of RFC 2348 (block size), 2349 (timeout, size) and 7440 (window).
use std::sync::Arc;
use std::time::Duration;

use tftpd::{OptionType, Packet, TransferOption};

const BLOCK_BYTES: u64 = 512;
/// RFC 2348.
const BLOCK_BYTES_MIN: u64 = 8;
const BLOCK_BYTES_MAX: u64 = 65464;
/// A burst that any reader's buffer holds.
const WINDOW_MAX: u64 = 16;
const TIMEOUT: Duration = Duration::from_secs(2);
const REASON: usize = 100;

/// A transfer under way.
pub(super) struct Transfer {
    pub name: &'static str,
    content: Arc<[u8]>,
    /// The options that were taken on, until the reader has acknowledged them.
    offered: Vec<TransferOption>,
    block_bytes: u64,
    window_blocks: u64,
    /// How many blocks the reader has. On the wire a block's number is the lower 16 bits of its own.
    acknowledged: u64,
    pub timeout: Duration,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The next window is due.
    Progress,
    Nothing,
    Done,
    /// By an error of the reader's.
    Ended(String),
}

impl Transfer {
    /// Options that are out of range are left out of the answer, which refuses them.
    pub fn new(name: &'static str, content: Arc<[u8]>, asked: &[TransferOption]) -> Self {
        let mut transfer = Self {
            name,
            content,
            offered: Vec::new(),
            block_bytes: BLOCK_BYTES,
            window_blocks: 1,
            acknowledged: 0,
            timeout: TIMEOUT,
        };
        for TransferOption { option, value } in asked {
            let taken = match option {
                OptionType::BlockSize if *value >= BLOCK_BYTES_MIN => {
                    transfer.block_bytes = (*value).min(BLOCK_BYTES_MAX);
                    transfer.block_bytes
                }
                OptionType::WindowSize if (1..=65535).contains(value) => {
                    transfer.window_blocks = (*value).min(WINDOW_MAX);
                    transfer.window_blocks
                }
                OptionType::Timeout if (1..=255).contains(value) => {
                    transfer.timeout = Duration::from_secs(*value);
                    *value
                }
                OptionType::TransferSize => transfer.content.len() as u64,
                _ => continue,
            };
            // A second mention of the same option would be answered twice.
            if !transfer
                .offered
                .iter()
                .any(|offered| offered.option == *option)
            {
                transfer.offered.push(TransferOption {
                    option: *option,
                    value: taken,
                });
            }
        }
        transfer
    }

    /// The file's last block is the first one that is not full, so it may be empty.
    fn blocks(&self) -> u64 {
        self.content.len() as u64 / self.block_bytes + 1
    }

    /// The packets to send now, and to send again when nothing is heard.
    pub fn window(&self) -> Vec<Vec<u8>> {
        if !self.offered.is_empty() {
            return Packet::Oack(self.offered.clone())
                .serialize()
                .into_iter()
                .collect();
        }
        let end = self.blocks().min(self.acknowledged + self.window_blocks);
        (self.acknowledged..end)
            .filter_map(|block| self.packet(block))
            .collect()
    }

    fn packet(&self, block: u64) -> Option<Vec<u8>> {
        let start = usize::try_from(block * self.block_bytes).ok()?;
        let length = usize::try_from(self.block_bytes).ok()?;
        let end = start.saturating_add(length).min(self.content.len());
        let data = Packet::Data {
            block_num: (block + 1) as u16,
            data: self.content.get(start..end)?.to_vec(),
        };
        data.serialize().ok()
    }

    pub fn hear(&mut self, datagram: &[u8]) -> Heard {
        match Packet::deserialize(datagram) {
            Ok(Packet::Ack(number)) if !self.offered.is_empty() => {
                if number != 0 {
                    return Heard::Nothing;
                }
                self.offered.clear();
                Heard::Progress
            }
            Ok(Packet::Ack(number)) => {
                // How many blocks of the window it has; a number from before it is an old packet, and answering
                // that one would double every packet after it.
                let news = u64::from(number.wrapping_sub(self.acknowledged as u16));
                let sent = (self.blocks() - self.acknowledged).min(self.window_blocks);
                if news == 0 || news > sent {
                    return Heard::Nothing;
                }
                self.acknowledged += news;
                if self.acknowledged == self.blocks() {
                    Heard::Done
                } else {
                    Heard::Progress
                }
            }
            Ok(Packet::Error { code, msg }) => {
                let text: String = msg
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(REASON)
                    .collect();
                Heard::Ended(format!("{code}: {text}"))
            }
            _ => Heard::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn option(option: OptionType, value: u64) -> TransferOption {
        TransferOption { option, value }
    }

    fn file(length: usize) -> Arc<[u8]> {
        (0..length).map(|at| (at * 7 % 251) as u8).collect()
    }

    fn ack(number: u64) -> Vec<u8> {
        Packet::Ack(number as u16).serialize().unwrap()
    }

    /// A reader over a wire that loses every packet that `lost` says; what it has read.
    fn read(mut transfer: Transfer, mut lost: impl FnMut() -> bool) -> Vec<u8> {
        let (mut content, mut blocks, mut block_bytes) = (Vec::new(), 0u64, 512);
        for _ in 0..100_000 {
            let mut answer = None;
            for packet in transfer.window() {
                if lost() {
                    continue;
                }
                match Packet::deserialize(&packet).unwrap() {
                    Packet::Oack(options) => {
                        for option in options {
                            if option.option == OptionType::BlockSize {
                                block_bytes = option.value as usize;
                            }
                        }
                    }
                    Packet::Data { block_num, data } if block_num == (blocks + 1) as u16 => {
                        assert!(data.len() <= block_bytes);
                        content.extend(data);
                        blocks += 1;
                    }
                    other => assert!(matches!(other, Packet::Data { .. }), "{other:?}"),
                }
                answer = Some(ack(blocks));
            }
            if let Some(answer) = answer.filter(|_| !lost())
                && transfer.hear(&answer) == Heard::Done
            {
                return content;
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn block_numbers_begin_anew_behind_65535() {
        let content = file(70_000 * 8 + 3);
        let options = [
            option(OptionType::BlockSize, 8),
            option(OptionType::WindowSize, 9),
        ];
        let transfer = Transfer::new("x", content.clone(), &options);
        assert_eq!(read(transfer, || false), *content);
    }

    #[test]
    fn options_out_of_range_are_refused_and_others_cut() {
        let asked = [
            option(OptionType::BlockSize, 7),
            option(OptionType::WindowSize, 0),
            option(OptionType::Timeout, 256),
            option(OptionType::UTimeout, 1),
        ];
        let plain = Transfer::new("x", file(10), &asked);
        assert_eq!(plain.window()[0][..4], [0, 3, 0, 1], "data at once");
        let asked = [
            option(OptionType::BlockSize, 99_999),
            option(OptionType::TransferSize, 0),
            option(OptionType::TransferSize, 0),
        ];
        let told = Transfer::new("x", file(10), &asked).window();
        assert_eq!(told[0], b"\0\x06blksize\x0065464\0tsize\x0010\0");
    }

    #[test]
    fn an_old_answer_is_not_answered() {
        let mut transfer = Transfer::new("x", file(5000), &[]);
        assert_eq!(transfer.hear(&ack(1)), Heard::Progress);
        assert_eq!(transfer.hear(&ack(1)), Heard::Nothing);
        assert_eq!(transfer.hear(&ack(0)), Heard::Nothing);
        assert_eq!(transfer.hear(&ack(3)), Heard::Nothing, "it was not sent");
        assert_eq!(
            transfer.hear(b"\0\x05\0\x08stop\x1b[2J\0"),
            Heard::Ended("Refused option: stop[2J".into())
        );
    }

    proptest! {
        #[test]
        fn a_file_arrives_over_a_wire_that_loses_packets(
            length in 0usize..20_000,
            block in 1u64..2000,
            window in 0u64..40,
            losses in proptest::collection::vec(any::<bool>(), 1..50),
        ) {
            let content = file(length);
            let options = [option(OptionType::BlockSize, block), option(OptionType::WindowSize, window)];
            // The wire recovers, or nothing would ever arrive.
            let mut losses = losses.into_iter();
            let got = read(Transfer::new("x", content.clone(), &options), || losses.next().unwrap_or(false));
            prop_assert_eq!(got, content.to_vec());
        }

        #[test]
        fn no_datagram_panics(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20), kind in 0u8..8) {
            let mut transfer = Transfer::new("x", file(5000), &[]);
            for mut datagram in datagrams {
                if datagram.len() > 2 {
                    datagram[..2].copy_from_slice(&[0, kind]);
                }
                let _ = super::super::begin(&datagram, &super::super::Files::new());
                let _ = transfer.hear(&datagram);
                let _ = transfer.window();
            }
        }
    }
}
