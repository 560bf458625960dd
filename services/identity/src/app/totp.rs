//! One-time passwords by time (RFC 6238 on RFC 4226: HMAC-SHA-1, six digits, thirty seconds), as authenticator programs make
//! them. Pure: knows no user, and the time comes from the caller.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

const STEP_SECONDS: u64 = 30;
const DIGITS: usize = 6;
/// RFC 4226 asks for 128 bits at least.
const SHORTEST: usize = 16;

/// The key in a credential: Base32, as authenticator programs show it; case, spaces and padding do not count.
pub fn key(blob: &str) -> Option<Vec<u8>> {
    let text: String = blob
        .chars()
        .filter(|c| !c.is_ascii_whitespace() && *c != '=')
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let key = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
    (key.len() >= SHORTEST).then_some(key)
}

/// The step whose password this is: of the current one and `previous` before it. Whether it was used is the caller's matter.
pub fn step_of(key: &[u8], passcode: &str, now_seconds: u64, previous: u64) -> Option<u64> {
    let current = now_seconds / STEP_SECONDS;
    let mut found = None;
    // All of them, so that the time does not tell which.
    for step in current.saturating_sub(previous)..=current {
        let same: bool = passcode_at(key, step)
            .as_bytes()
            .ct_eq(passcode.as_bytes())
            .into();
        if same {
            found = Some(step);
        }
    }
    found
}

fn passcode_at(key: &[u8], step: u64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(&step.to_be_bytes());
    let digest: [u8; 20] = mac.finalize().into_bytes().into();
    // RFC 4226, 5.3: the last four bits say where the number begins.
    let at = usize::from(digest[19] & 0x0F);
    let number = u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
    let number = (number & 0x7FFF_FFFF) % 10_u32.pow(DIGITS as u32);
    format!("{number:0width$}", width = DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the last six of eight digits.
    #[test]
    fn agrees_with_the_rfc() {
        let key = b"12345678901234567890";
        for (time, passcode) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(step_of(key, passcode, time, 0), Some(time / 30), "{time}");
            assert_eq!(step_of(key, passcode, time + 30, 0), None, "{time}");
            assert_eq!(step_of(key, passcode, time + 30, 1), Some(time / 30));
            assert_eq!(step_of(key, passcode, time + 60, 1), None, "{time}");
        }
        for wrong in ["", "28708", "2870820", "287083"] {
            assert_eq!(step_of(key, wrong, 59, 5), None, "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_as_programs_show_them() {
        let expected = Some(b"12345678901234567890".to_vec());
        assert_eq!(key("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), expected);
        assert_eq!(key("gezd gnbv gy3t qojq gezd gnbv gy3t qojq"), expected);
        for wrong in ["", "GEZDGNBV", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ1", "no key"] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }
}
