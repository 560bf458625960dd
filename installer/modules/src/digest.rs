//! Checksums of files, by the names that users write.
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// What users may write before the colon of a checksum.
pub const NAMES: &[&str] = &["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];
const BUFFER_BYTES: usize = 256 << 10;

/// An empty digest of that name; `None` if there is none.
pub fn new(name: &str) -> Option<Box<dyn DynDigest>> {
    Some(match name {
        "md5" => Box::<Md5>::default(),
        "sha1" => Box::<Sha1>::default(),
        "sha224" => Box::<Sha224>::default(),
        "sha256" => Box::<Sha256>::default(),
        "sha384" => Box::<Sha384>::default(),
        "sha512" => Box::<Sha512>::default(),
        _ => return None,
    })
}

/// The digest in hexadecimal digits.
pub fn finish(digest: Box<dyn DynDigest>) -> String {
    hex::encode(digest.finalize())
}

/// The digest of a text.
pub fn of_bytes(name: &str, bytes: &[u8]) -> String {
    let mut digest = new(name).unwrap_or_else(|| Box::<Sha1>::default());
    digest.update(bytes);
    finish(digest)
}

/// The digest of a file, read piece by piece; an unknown name is `InvalidInput`.
pub fn of_file(name: &str, path: &Path) -> io::Result<String> {
    let mut digest = new(name).ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(finish(digest)),
            length => digest.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_digest() {
        let digits = [32, 40, 56, 64, 96, 128];
        for (name, digits) in NAMES.iter().zip(digits) {
            assert_eq!(of_bytes(name, b"text").len(), digits, "{name}");
        }
        assert_eq!(
            of_bytes("sha1", b"text"),
            "372ea08cab33e71c02c651dbc83a474d32c676ea"
        );
        assert!(new("crc32").is_none());
    }
}
