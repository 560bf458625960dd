//! The keys of identity's tokens, as the environment's secrets hold them: which makes tokens, which is to be the next, and
//! which only opens those that were made before. The time comes from the caller.
//!
//! As Keystone's key repository: file `0` is the staged key, the highest number is the primary one. The staged key is on
//! every controller before it becomes primary, so a token of a controller that has the new keys is opened by one that does
//! not have them yet.
use crate::error::CommandError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use state::{Secret, Secrets};

/// The secret that holds all keys.
const NAME: &str = "identity_token_keys";
/// What the first key is made of: environments had it before keys were rotated.
const FIRST: &str = "identity_fernet";

/// A retired key is kept this long, in seconds: longer than any token lives.
const KEPT: i64 = 7 * 86_400;
/// Retired keys at one time: each is tried with every token that no other opens.
const RETIRED_MAX: usize = 16;

/// All keys of an environment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKeys {
    staged: String,
    primary: Numbered,
    /// Oldest first.
    retired: Vec<Retired>,
    /// The last rotation has not reached every controller, as far as is known.
    underway: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbered {
    number: u64,
    key: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retired {
    number: u64,
    key: String,
    /// Seconds since 1970.
    since: i64,
}

/// Why there is no rotation now.
#[derive(Debug, PartialEq, Eq)]
pub enum NotNow {
    /// The last one has to reach the controllers first.
    Underway,
    /// So many keys wait for the end of their tokens; the oldest goes at this time (seconds since 1970).
    TooMany { oldest_goes: i64 },
}

impl TokenKeys {
    /// The first keys, from two secrets.
    pub fn new(first: &str, staged: &str) -> Self {
        TokenKeys {
            staged: of_secret(staged),
            primary: Numbered {
                number: 1,
                key: of_secret(first),
            },
            retired: Vec::new(),
            underway: false,
        }
    }

    /// The staged key makes tokens from now on, and one of the secret `staged` is the next.
    pub fn rotate(&mut self, staged: &str, now: i64) -> Result<(), NotNow> {
        if self.underway {
            return Err(NotNow::Underway);
        }
        let kept = |old: &&Retired| old.since + KEPT > now;
        let mut retired: Vec<Retired> = self.retired.iter().filter(kept).cloned().collect();
        if let Some(oldest) = retired.first()
            && retired.len() >= RETIRED_MAX
        {
            return Err(NotNow::TooMany {
                oldest_goes: oldest.since + KEPT,
            });
        }
        let next = Numbered {
            number: self.primary.number + 1,
            key: std::mem::replace(&mut self.staged, of_secret(staged)),
        };
        let Numbered { number, key } = std::mem::replace(&mut self.primary, next);
        retired.push(Retired {
            number,
            key,
            since: now,
        });
        self.retired = retired;
        self.underway = true;
        Ok(())
    }

    /// New keys alone: what was made with any other is no token any more. Until every controller has them, they refuse each
    /// other's tokens.
    pub fn renew(&mut self, first: &str, staged: &str) {
        let number = self.primary.number + 1;
        *self = TokenKeys::new(first, staged);
        self.primary.number = number;
        self.underway = true;
    }

    /// Whether a rotation has still to reach controllers.
    pub fn is_underway(&self) -> bool {
        self.underway
    }

    /// Every controller has the keys as they are now.
    pub fn distributed(&mut self) {
        self.underway = false;
    }

    /// Number of the key that makes tokens.
    pub fn primary(&self) -> u64 {
        self.primary.number
    }

    /// The files of a controller, in the order in which they are to be written: a key never is missing in between.
    pub fn files(&self) -> Vec<(String, &str)> {
        let mut files: Vec<(String, &str)> = self
            .retired
            .iter()
            .map(|old| (old.number.to_string(), old.key.as_str()))
            .collect();
        files.push((self.primary.number.to_string(), &self.primary.key));
        files.push(("0".to_owned(), &self.staged));
        files
    }
}

/// The environment's keys; the first ones are made if there are none.
pub fn of(secrets: &Secrets) -> Result<TokenKeys, CommandError> {
    if let Some(kept) = secrets.get(NAME).map_err(anyhow::Error::from)? {
        // The error of JSON would quote what it found.
        return serde_json::from_str(kept.expose())
            .map_err(|_| anyhow::anyhow!("the secret `{NAME}` is not what `wright` wrote").into());
    }
    let first = secrets
        .get_or_generate(FIRST)
        .map_err(anyhow::Error::from)?;
    let keys = TokenKeys::new(first.expose(), fresh()?.expose());
    keep(secrets, &keys)?;
    Ok(keys)
}

/// Stores the keys, durably.
pub fn keep(secrets: &Secrets, keys: &TokenKeys) -> Result<(), CommandError> {
    let text = serde_json::to_string(keys).map_err(anyhow::Error::from)?;
    Ok(secrets.put(NAME, &text).map_err(anyhow::Error::from)?)
}

/// Of which a key is made.
pub fn fresh() -> Result<Secret, CommandError> {
    Ok(Secret::generate().map_err(anyhow::Error::from)?)
}

/// A Fernet key is 32 bytes in URL-safe Base64; a secret is text.
fn of_secret(secret: &str) -> String {
    URL_SAFE.encode(Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keys: &TokenKeys) -> Vec<String> {
        keys.files().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_staged_key_becomes_the_primary_one() {
        let mut keys = TokenKeys::new("a", "b");
        assert_eq!(names(&keys), ["1", "0"]);
        let staged = keys.staged.clone();
        keys.rotate("c", 100).unwrap();
        assert_eq!(names(&keys), ["1", "2", "0"]);
        assert_eq!(keys.primary.key, staged);
        assert_eq!(keys.staged, of_secret("c"));
        // Nothing goes on before every controller has the staged key.
        let before = keys.clone();
        assert_eq!(keys.rotate("d", 200), Err(NotNow::Underway));
        assert!(keys == before);
    }

    #[test]
    fn new_keys_alone_have_a_number_that_was_not_used() {
        let mut keys = TokenKeys::new("a", "b");
        keys.rotate("c", 100).unwrap();
        let before = keys.clone();
        keys.renew("d", "e");
        assert_eq!(names(&keys), ["3", "0"]);
        for (_, key) in before.files() {
            assert!(keys.files().iter().all(|(_, other)| *other != key));
        }
        assert!(keys.is_underway());
    }

    #[test]
    fn a_retired_key_stays_as_long_as_a_token_may_live() {
        let mut keys = TokenKeys::new("a", "b");
        for n in 0..RETIRED_MAX as i64 {
            keys.rotate("next", n).unwrap();
            keys.distributed();
        }
        let too_many = NotNow::TooMany { oldest_goes: KEPT };
        assert_eq!(keys.rotate("next", KEPT - 1), Err(too_many));
        keys.rotate("next", KEPT + 2).unwrap();
        // Those of the seconds 0, 1 and 2 are gone.
        assert_eq!(names(&keys).first().map(String::as_str), Some("4"));
        assert_eq!(keys.primary(), RETIRED_MAX as u64 + 2);
    }
}
