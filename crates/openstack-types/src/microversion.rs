//! Microversions: `2.79` and its like.
//!
//! Does not know which service has which range, nor the headers that carry them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A version of the form `major.minor`, ordered by number and not by text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microversion {
    /// API generation; a change of it is a different URL.
    pub major: u16,
    /// Revision inside that generation.
    pub minor: u16,
}

impl Microversion {
    /// `Microversion::new(2, 79)`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Microversion { major, minor }
    }
}

/// The text is no `major.minor`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of the form MAJOR.MINOR")]
pub struct MicroversionError(pub String);

impl FromStr for Microversion {
    type Err = MicroversionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Digits only: `u16::from_str` would also take a leading plus sign.
        let number = |part: &str| -> Option<u16> {
            (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse().ok())
                .flatten()
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self::new(number(major)?, number(minor)?)))
            .ok_or_else(|| MicroversionError(text.to_owned()))
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for Microversion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Microversion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_by_number() {
        let low: Microversion = "2.9".parse().unwrap();
        let high: Microversion = "2.10".parse().unwrap();
        assert!(low < high);
        assert_eq!(high.to_string(), "2.10");
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["", "2", "2.", ".1", "2.+1", "2.1.1", "a.b", "99999.1"] {
            assert!(text.parse::<Microversion>().is_err(), "{text}");
        }
    }
}
