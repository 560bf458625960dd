//! The image on its way to the disk: compressed bytes → SHA-256 → zstd → sparse writes.
//!
//! The image's first MiB holds partition table and boot code. It is not written here but handed back, so
//! that the disk cannot be booted from until [`commit`] writes it, last of all: power may fail at any time.
//!
//! Memory is bounded: one buffer on each side of the decoder, the decoder's window, and that first MiB. It
//! knows neither HTTP nor devices: a reader comes in, a [`Target`] is written to.
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_protocol::enrol::Image;
use sha2::{Digest, Sha256};

const READ_BYTES: usize = 256 << 10;
const WRITE_BYTES: usize = 1 << 20;
/// What is held back: partition table and boot code. Partitions begin behind it.
pub const HEAD_BYTES: usize = WRITE_BYTES;
/// Zeros are looked for in pieces of this size: a page, so that no write has to read first. A multiple of every
/// sector size, too.
pub const BLOCK_BYTES: usize = 4096;
/// Largest decoder window accepted (2^27 = 128 MiB, what `zstd --long` uses).
const WINDOW_LOG_MAX: u32 = 27;

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("reading the image failed after {received} compressed bytes")]
    Read {
        received: u64,
        #[source]
        source: io::Error,
    },
    #[error("writing to the disk failed at byte {offset}")]
    Write {
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error("the image unpacks to more than the {expected} bytes that were announced")]
    TooLong { expected: u64 },
    #[error("the image unpacked to {got} bytes, {expected} were announced")]
    Short { expected: u64, got: u64 },
    #[error("the image has SHA-256 {got}, {expected} was announced")]
    Checksum { expected: String, got: String },
}

impl StreamError {
    /// Whether the same stream may well arrive whole at the next try.
    pub fn is_worth_a_retry(&self) -> bool {
        matches!(self, StreamError::Read { .. })
    }
}

/// What an image is written to.
pub trait Target {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when everything written so far outlives a power cut.
    fn sync_all(&self) -> io::Result<()>;
}

impl Target for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}

/// An image that is on the disk but for its beginning.
#[derive(Debug)]
pub struct Written {
    /// Of the compressed stream; equals the announced one.
    pub sha256: String,
    /// The first [`HEAD_BYTES`] of the image, or all of a shorter one, for [`commit`].
    pub head: Vec<u8>,
}

/// Writes the image but for its head. The SHA-256 of the compressed stream equals `image.sha256`: anything
/// else is an error. The disk's own first [`HEAD_BYTES`] must be zeros, and are left so.
///
/// `zeros_are_there`: the disk reads as zeros already, zero blocks are skipped.
/// `received` counts compressed bytes, for the one who reports progress.
pub fn write_image(
    source: impl Read,
    disk: &impl Target,
    image: &Image,
    zeros_are_there: bool,
    received: &AtomicU64,
) -> Result<Written, StreamError> {
    let count = || received.load(Ordering::Relaxed);
    let read_error = |source| StreamError::Read {
        received: count(),
        source,
    };
    let hashing = Hashing {
        source,
        sha256: Sha256::new(),
        received,
    };
    let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(READ_BYTES, hashing))
        .map_err(read_error)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(read_error)?;

    // Whole blocks from a block's boundary in memory to one on the disk: then nothing on the way need copy them.
    let mut memory = vec![0; WRITE_BYTES + BLOCK_BYTES];
    let boundary = memory.as_ptr().align_offset(BLOCK_BYTES);
    let buffer = &mut memory[boundary..][..WRITE_BYTES];
    let mut head = Vec::new();
    let mut offset = 0;
    loop {
        let length = match fill(&mut decoder, buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(source) => return Err(corrupt_or(decoder, image, source, received)),
        };
        if offset + length as u64 > image.disk_bytes {
            return Err(StreamError::TooLong {
                expected: image.disk_bytes,
            });
        }
        if offset == 0 {
            head = buffer[..length].to_vec();
        } else {
            write_sparse(disk, &buffer[..length], offset, zeros_are_there)?;
        }
        offset += length as u64;
    }
    let sha256 = digest(decoder, received)?;
    if sha256 != image.sha256.to_ascii_lowercase() {
        return Err(StreamError::Checksum {
            expected: image.sha256.clone(),
            got: sha256,
        });
    }
    if offset != image.disk_bytes {
        return Err(StreamError::Short {
            expected: image.disk_bytes,
            got: offset,
        });
    }
    disk.sync_all()
        .map_err(|source| StreamError::Write { offset, source })?;
    Ok(Written { sha256, head })
}

/// Writes the head, by which the disk can be booted from. Everything else on it is made durable before.
pub fn commit(disk: &impl Target, head: &[u8]) -> io::Result<()> {
    disk.sync_all()?;
    disk.write_all_at(head, 0)?;
    disk.sync_all()
}

/// The decoder gave up. If the bytes were not those announced, say so: that is the cause, and trying
/// again would not help. If the connection broke, the read error is the cause.
fn corrupt_or<R: Read>(
    decoder: Decoder<'_, R>,
    image: &Image,
    source: io::Error,
    received: &AtomicU64,
) -> StreamError {
    match digest(decoder, received) {
        Ok(got)
            if got != image.sha256.to_ascii_lowercase()
                && received.load(Ordering::Relaxed) >= image.compressed_bytes =>
        {
            StreamError::Checksum {
                expected: image.sha256.clone(),
                got,
            }
        }
        _ => StreamError::Read {
            received: received.load(Ordering::Relaxed),
            source,
        },
    }
}

type Decoder<'a, R> = zstd::Decoder<'static, BufReader<Hashing<'a, R>>>;

/// Reads what lies behind the last frame and gives the digest of the whole stream.
fn digest<R: Read>(decoder: Decoder<'_, R>, received: &AtomicU64) -> Result<String, StreamError> {
    let mut hashing = decoder.finish().into_inner();
    io::copy(&mut hashing, &mut io::sink()).map_err(|source| StreamError::Read {
        received: received.load(Ordering::Relaxed),
        source,
    })?;
    Ok(hex::encode(hashing.sha256.finalize()))
}

/// Reads until the buffer is full or the stream ends, so that blocks stay aligned.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Writes `bytes` at `offset`, in as few calls as there are runs of blocks that are not zero.
fn write_sparse(
    disk: &impl Target,
    bytes: &[u8],
    offset: u64,
    zeros_are_there: bool,
) -> Result<(), StreamError> {
    let write = |from: usize, to: usize| {
        let at = offset + from as u64;
        disk.write_all_at(&bytes[from..to], at)
            .map_err(|source| StreamError::Write { offset: at, source })
    };
    if !zeros_are_there {
        return write(0, bytes.len());
    }
    let mut run = None;
    for from in (0..bytes.len()).step_by(BLOCK_BYTES) {
        let block = &bytes[from..bytes.len().min(from + BLOCK_BYTES)];
        match (is_zero(block), run) {
            (true, Some(start)) => {
                write(start, from)?;
                run = None;
            }
            (false, None) => run = Some(from),
            _ => {}
        }
    }
    run.map_or(Ok(()), |start| write(start, bytes.len()))
}

/// Looks at the first bytes alone most of the time: data rarely begins with a run of zeros.
fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Counts and hashes what is read through it.
struct Hashing<'a, R> {
    source: R,
    sha256: Sha256,
    received: &'a AtomicU64,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.sha256.update(&buffer[..length]);
        self.received.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::os::unix::fs::MetadataExt;

    fn image_of(content: &[u8]) -> (Vec<u8>, Image) {
        let packed = zstd::encode_all(content, 3).unwrap();
        let image = Image {
            url: String::new(),
            sha256: hex::encode(Sha256::digest(&packed)),
            compressed_bytes: packed.len() as u64,
            disk_bytes: content.len() as u64,
            root_partition: 1,
            kernel: String::new(),
        };
        (packed, image)
    }

    /// Writes over a disk of the size of `before`, which holds `before`.
    fn written(
        packed: &[u8],
        image: &Image,
        before: &[u8],
        zeros: bool,
    ) -> Result<Vec<u8>, StreamError> {
        let disk = tempfile::tempfile().unwrap();
        FileExt::write_all_at(&disk, before, 0).unwrap();
        let written = write_image(packed, &disk, image, zeros, &AtomicU64::new(0))?;
        commit(&disk, &written.head).unwrap();
        let mut after = vec![0; image.disk_bytes as usize];
        disk.read_exact_at(&mut after, 0).unwrap();
        Ok(after)
    }

    /// A disk that loses power: of what was written since the last `sync_all`, any part may be there.
    #[derive(Default)]
    struct Log(RefCell<Vec<Write>>);

    /// Where, and what; nothing for a `sync_all`.
    type Write = Option<(u64, Vec<u8>)>;

    impl Target for Log {
        fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.0.borrow_mut().push(Some((offset, bytes.to_vec())));
            Ok(())
        }

        fn sync_all(&self) -> io::Result<()> {
            self.0.borrow_mut().push(None);
            Ok(())
        }
    }

    impl Log {
        /// The disk when power fails after `steps`; `kept` says which of the writes that nothing made durable
        /// are there all the same.
        fn after_power_cut(&self, size: usize, steps: usize, kept: &[bool]) -> Vec<u8> {
            let log = self.0.borrow();
            let done = &log[..steps.min(log.len())];
            let durable = done.iter().rposition(Option::is_none).unwrap_or(0);
            let mut disk = vec![0; size];
            for (number, write) in done.iter().enumerate() {
                let there = number < durable || kept[number % kept.len()];
                if let (Some((offset, bytes)), true) = (write, there) {
                    disk[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            disk
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_disk_that_can_be_booted_from_is_whole(
            tail in prop::collection::vec((any::<u8>(), 1usize..200_000), 1..20),
            cut in any::<prop::sample::Index>(),
            kept in prop::collection::vec(any::<bool>(), 1..8),
            flipped in any::<prop::sample::Index>(),
            is_wrong in any::<bool>(),
        ) {
            let mut content = vec![1; HEAD_BYTES];
            content.extend(tail.iter().flat_map(|(byte, length)| vec![*byte; *length]));
            let (mut packed, image) = image_of(&content);
            if is_wrong {
                let at = flipped.index(packed.len());
                packed[at] ^= 1;
            }
            let disk = Log::default();
            let written = write_image(packed.as_slice(), &disk, &image, true, &AtomicU64::new(0));
            prop_assert_eq!(written.is_err(), is_wrong);
            if let Ok(written) = written {
                // As the seeding does in between, behind the head.
                disk.write_all_at(&content[HEAD_BYTES..], HEAD_BYTES as u64).unwrap();
                commit(&disk, &written.head).unwrap();
            }
            let steps = cut.index(disk.0.borrow().len() + 1);
            let after = disk.after_power_cut(content.len(), steps, &kept);
            if after[..HEAD_BYTES].iter().any(|byte| *byte != 0) {
                prop_assert!(!is_wrong && after[HEAD_BYTES..] == content[HEAD_BYTES..]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_unpacked_is_what_was_packed(runs in prop::collection::vec((any::<u8>(), 1usize..9000), 0..200), zeros in any::<bool>()) {
            let content: Vec<u8> = runs.iter().flat_map(|(byte, length)| vec![byte % 3; *length]).collect();
            let (packed, image) = image_of(&content);
            let before = vec![if zeros { 0 } else { 9 }; content.len()];
            prop_assert_eq!(written(&packed, &image, &before, zeros).unwrap(), content);
        }
    }

    /// A disk that takes only what can pass the page cache by (open(2), O_DIRECT).
    struct Blocks;

    impl Target for Blocks {
        fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            assert_eq!(bytes.as_ptr().align_offset(BLOCK_BYTES), 0);
            assert_eq!(bytes.len() % BLOCK_BYTES, 0);
            assert_eq!(offset % BLOCK_BYTES as u64, 0);
            Ok(())
        }

        fn sync_all(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whole_blocks_are_written_from_whole_blocks() {
        let mut content = vec![7; 5 * WRITE_BYTES / 2];
        content[WRITE_BYTES + 100_000..WRITE_BYTES + 900_000].fill(0);
        let (packed, image) = image_of(&content);
        for zeros in [true, false] {
            write_image(&packed[..], &Blocks, &image, zeros, &AtomicU64::new(0)).unwrap();
        }
    }

    #[test]
    fn holes_take_no_space() {
        let mut content = vec![0; 8 << 20];
        content[5 << 20] = 1;
        let (packed, image) = image_of(&content);
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(image.disk_bytes).unwrap();
        write_image(packed.as_slice(), &disk, &image, true, &AtomicU64::new(0)).unwrap();
        assert!(disk.metadata().unwrap().blocks() * 512 <= 64 << 10);
    }

    #[test]
    fn old_data_does_not_show_through_holes() {
        let content = vec![0; 1 << 20];
        let (packed, image) = image_of(&content);
        assert_eq!(
            written(&packed, &image, &vec![9; content.len()], false).unwrap(),
            content
        );
    }

    #[test]
    fn a_wrong_checksum_is_an_error_and_not_tried_again() {
        let (packed, mut image) = image_of(&[7; 100_000]);
        image.sha256 = "00".repeat(32);
        let error = written(&packed, &image, &[], true).unwrap_err();
        assert!(
            matches!(&error, StreamError::Checksum { .. }) && !error.is_worth_a_retry(),
            "{error}"
        );
    }

    #[test]
    fn a_flipped_bit_is_told_as_a_wrong_checksum() {
        let content: Vec<u8> = (0..200_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let (mut packed, image) = image_of(&content);
        let middle = packed.len() / 2;
        packed[middle] ^= 0x10;
        let error = written(&packed, &image, &[], true).unwrap_err();
        assert!(matches!(error, StreamError::Checksum { .. }), "{error:?}");
    }

    #[test]
    fn a_broken_connection_is_worth_a_retry() {
        let content: Vec<u8> = (0..200_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let (packed, image) = image_of(&content);
        let error = written(&packed[..packed.len() / 2], &image, &[], true).unwrap_err();
        assert!(error.is_worth_a_retry(), "{error:?}");
    }

    #[test]
    fn an_image_longer_or_shorter_than_announced_is_refused() {
        let (packed, mut image) = image_of(&[7; 100_000]);
        image.disk_bytes -= 1;
        assert!(matches!(
            written(&packed, &image, &[], true),
            Err(StreamError::TooLong { .. })
        ));
        image.disk_bytes += 2;
        assert!(matches!(
            written(&packed, &image, &[], true),
            Err(StreamError::Short { .. })
        ));
    }
}
