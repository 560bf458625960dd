//! What PostgreSQL keeps of passwords: SCRAM-SHA-256 verifiers (RFC 5803) and, of old, MD5 hashes. Pure but for the salt.
//!
//! Passwords are taken as they are: those that SASLprep would change are left to the server, in plain text.
use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};

const ROUNDS: u32 = 4096;
/// A verifier from a server may ask for no more work than this.
const ROUNDS_MAX: u32 = 1_000_000;

/// Whether `kept` is what the server would keep of `password`, which may be a hash already.
pub fn fits(password: &str, user: &str, kept: Option<&str>) -> bool {
    let Some(kept) = kept else {
        return password.is_empty();
    };
    if is_hash(password) || password.is_empty() {
        return kept == password;
    }
    if kept.starts_with("md5") {
        return kept == md5_of(password, user);
    }
    let parts = || {
        let (rounds, salt) = kept
            .strip_prefix("SCRAM-SHA-256$")?
            .split_once('$')?
            .0
            .split_once(':')?;
        let rounds = rounds
            .parse()
            .ok()
            .filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))?;
        Some((rounds, STANDARD.decode(salt).ok()?))
    };
    parts().is_some_and(|(rounds, salt)| kept == scram(password, &salt, rounds))
}

/// What to give the server in place of the password. `kind` is its setting `password_encryption`.
pub fn verifier(password: &str, user: &str, kind: &str) -> io::Result<String> {
    if is_hash(password) || !password.is_ascii() {
        return Ok(password.to_owned());
    }
    if kind == "md5" {
        return Ok(md5_of(password, user));
    }
    let mut salt = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut salt)?;
    Ok(scram(password, &salt, ROUNDS))
}

fn is_hash(password: &str) -> bool {
    password.starts_with("SCRAM-SHA-256$")
        || password.strip_prefix("md5").is_some_and(|rest| {
            rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

fn md5_of(password: &str, user: &str) -> String {
    format!(
        "md5{}",
        hex::encode(Md5::digest(format!("{password}{user}")))
    )
}

fn scram(password: &str, salt: &[u8], rounds: u32) -> String {
    // PBKDF2 with one block.
    let mut block = salt.to_vec();
    block.extend([0, 0, 0, 1]);
    let mut last = keyed(password.as_bytes(), &block);
    let mut salted = last;
    for _ in 1..rounds {
        last = keyed(password.as_bytes(), &last);
        salted
            .iter_mut()
            .zip(last)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    let stored = Sha256::digest(keyed(&salted, b"Client Key"));
    let server = keyed(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${rounds}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    )
}

fn keyed(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_password_fits_what_was_made_of_it() {
        for kind in ["scram-sha-256", "md5"] {
            let kept = verifier("it's", "nova", kind).unwrap();
            assert!(fits("it's", "nova", Some(&kept)) && fits(&kept, "nova", Some(&kept)));
            assert!(!fits("its", "nova", Some(&kept)) && !fits("it's", "nova", None));
        }
        // As the manual of the server has it: the hash of password and name.
        assert_eq!(md5_of("a", "b"), "md5187ef4436122d1cc2f40dc2b92f0eba0");
        assert!(fits("", "nova", None) && !fits("", "nova", Some("md5")));
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_met() {
        // Salt and rounds of the RFC's example for the password "pencil": its server signature comes from this key.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = scram("pencil", &salt, 4096);
        assert_eq!(
            verifier,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    proptest! {
        #[test]
        fn no_kept_text_panics(kept in "(SCRAM-SHA-256|md5)?[$:a0=]{0,20}") {
            let _ = fits("a", "b", Some(&kept));
        }
    }
}
