//! Numbers at places in bytes that may end before them.

/// The first bytes of an image.
#[derive(Clone, Copy)]
pub struct Head<'a>(pub &'a [u8]);

impl<'a> Head<'a> {
    /// So many bytes from a place, if they are there.
    pub fn slice(self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    /// Whether these bytes are there.
    pub fn has(self, at: usize, bytes: &[u8]) -> bool {
        self.slice(at, bytes.len()) == Some(bytes)
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.slice(at, N)?.try_into().ok()
    }

    /// Big-endian.
    pub fn u32_be(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// Big-endian.
    pub fn u64_be(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// Little-endian.
    pub fn u16_le(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// Little-endian.
    pub fn u32_le(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Little-endian.
    pub fn u64_le(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}
