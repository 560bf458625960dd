//! OpenPGP public keys, as far as apt's keyrings need them: armour taken off, keys told apart and named by
//! their fingerprints. Signatures are apt's matter.
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::digest;

/// One public key with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Of the key and its subkeys, in capital hexadecimal digits.
    pub fingerprints: Vec<String>,
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// Whether a fingerprint, or its end as users write it, means this key.
    pub fn is(&self, id: &str) -> bool {
        let id = id
            .trim_start_matches("0x")
            .replace(' ', "")
            .to_ascii_uppercase();
        id.len() >= 8 && self.fingerprints.iter().any(|print| print.ends_with(&id))
    }
}

/// The keys of a keyring, in binary form or with armour. `None` if it is neither.
pub fn keys(bytes: &[u8]) -> Option<Vec<PublicKey>> {
    const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(ARMOUR) {
        return packets(bytes);
    }
    let mut keys = Vec::new();
    for block in text.split(ARMOUR).skip(1) {
        keys.extend(packets(&dearmour(block)?)?);
    }
    Some(keys)
}

/// Decodes what stands between a block's first and last line.
fn dearmour(block: &str) -> Option<Vec<u8>> {
    let mut body = String::new();
    let mut lines = block.lines().skip(1).map(str::trim).peekable();
    // Headers such as `Version: ...`, then an empty line; some blocks have neither.
    while lines.peek().is_some_and(|line| line.contains(": ")) {
        lines.next();
    }
    for line in lines {
        if line.starts_with("-----END") {
            break;
        }
        // The checksum begins with `=`; TLS or a digest has checked the bytes already.
        if !line.starts_with('=') {
            body.push_str(line);
        }
    }
    BASE64_STANDARD.decode(body).ok()
}

/// Parts a row of packets into keys.
fn packets(bytes: &[u8]) -> Option<Vec<PublicKey>> {
    let mut keys: Vec<PublicKey> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (tag, header, length) = header(&bytes[at..])?;
        let end = at.checked_add(header)?.checked_add(length)?;
        let body = bytes.get(at + header..end)?;
        match tag {
            6 => keys.push(PublicKey {
                fingerprints: vec![fingerprint(body)?],
                bytes: Vec::new(),
            }),
            14 => {
                let print = fingerprint(body)?;
                keys.last_mut()?.fingerprints.push(print);
            }
            _ => {}
        }
        keys.last_mut()?.bytes.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    (!keys.is_empty()).then_some(keys)
}

/// A packet's tag, and the lengths of its header and body.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let number = |from: usize, count: usize| -> Option<usize> {
        let digits = bytes.get(from..from + count)?;
        Some(
            digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    };
    let first = *bytes.first()?;
    if first & 0x80 == 0 {
        return None;
    }
    if first & 0x40 != 0 {
        let tag = first & 0x3f;
        let second = *bytes.get(1)?;
        return match second {
            0..192 => Some((tag, 2, usize::from(second))),
            192..224 => Some((
                tag,
                3,
                ((usize::from(second) - 192) << 8) + number(2, 1)? + 192,
            )),
            255 => Some((tag, 6, number(2, 4)?)),
            // In pieces: never of a key.
            _ => None,
        };
    }
    let tag = (first & 0x3c) >> 2;
    match first & 3 {
        0 => Some((tag, 2, number(1, 1)?)),
        1 => Some((tag, 3, number(1, 2)?)),
        2 => Some((tag, 5, number(1, 4)?)),
        _ => None,
    }
}

/// Of a key packet of version 4, as RFC 4880 has it.
fn fingerprint(body: &[u8]) -> Option<String> {
    if *body.first()? != 4 {
        return None;
    }
    let length = u16::try_from(body.len()).ok()?.to_be_bytes();
    let whole = [&[0x99], length.as_slice(), body].concat();
    Some(digest::of_bytes("sha1", &whole).to_ascii_uppercase())
}

#[cfg(test)]
pub const EXAMPLE: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEAAAAARYJKwYBBAHaRw8BAQdAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka\nGxwdHh+0BG5hbWU=\n=AAAA\n-----END PGP PUBLIC KEY BLOCK-----\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_named_with_and_without_armour() {
        let found = keys(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fingerprints[0].len(), 40);
        assert_eq!(keys(&found[0].bytes).unwrap(), found);
        let twice = [found[0].bytes.as_slice(), &found[0].bytes].concat();
        assert_eq!(keys(&twice).unwrap().len(), 2);
        let print = &found[0].fingerprints[0];
        assert!(found[0].is(print) && found[0].is(&format!("0x{}", print[24..].to_lowercase())));
        assert!(!found[0].is("") && !found[0].is("00000000"));
    }

    #[test]
    fn the_fingerprint_is_that_of_gpg() {
        if !crate::builtin::testing::has("gpg") {
            return eprintln!("skipped: gpg is not there");
        }
        let home = tempfile::tempdir().unwrap();
        let gpg = |args: &[&str]| {
            let output = std::process::Command::new("gpg")
                .args(["--batch", "--homedir"])
                .arg(home.path())
                .args(args)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        gpg(&[
            "--passphrase",
            "",
            "--quick-gen-key",
            "a@b",
            "rsa2048",
            "sign",
            "1d",
        ]);
        let told = String::from_utf8(gpg(&["--with-colons", "--list-keys"])).unwrap();
        let print = told
            .lines()
            .find_map(|line| line.strip_prefix("fpr:::::::::"))
            .unwrap();
        let _ = std::process::Command::new("gpgconf")
            .arg("--homedir")
            .arg(home.path())
            .args(["--kill", "all"])
            .status();
        for export in [gpg(&["--export"]), gpg(&["--armor", "--export"])] {
            assert_eq!(
                keys(&export).unwrap()[0].fingerprints[0],
                print.trim_end_matches(':')
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), start in "(-----BEGIN PGP PUBLIC KEY BLOCK-----\n)?") {
            keys(&[start.as_bytes(), &bytes].concat());
        }
    }
}
