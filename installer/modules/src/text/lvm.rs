//! Sizes of logical volumes, as `lvcreate` takes them.
use crate::process::words;

/// How large it is to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Size {
    Bytes {
        sign: Option<char>,
        bytes: u64,
        text: String,
    },
    Share {
        sign: Option<char>,
        percent: u64,
        of: String,
    },
}

/// Reads a size as `lvcreate` would, MiB where nothing is said.
pub fn size(text: &str) -> Result<Size, String> {
    let unfit = || format!("size must be like 512, 10g, 80%VG or +100%FREE, not {text}");
    let sign = text.chars().next().filter(|c| matches!(c, '+' | '-'));
    let rest = &text[sign.map_or(0, char::len_utf8)..];
    if let Some((percent, of)) = rest.split_once('%') {
        let of = of.trim().to_ascii_uppercase();
        let percent: u64 = percent.trim().parse().map_err(|_| unfit())?;
        if !matches!(of.as_str(), "VG" | "PVS" | "FREE" | "ORIGIN") || percent == 0 {
            return Err(unfit());
        }
        if percent > 100 && of != "ORIGIN" {
            return Err(format!(
                "Size percentage cannot be larger than 100%: {text}"
            ));
        }
        return Ok(Size::Share { sign, percent, of });
    }
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| unfit())?;
    let unit = &rest[digits.len()..];
    let factor: f64 = match unit {
        "" | "m" | "M" => f64::from(1 << 20),
        "b" | "B" => 1.0,
        "s" | "S" => 512.0,
        "k" | "K" => 1024.0,
        "g" | "G" => f64::from(1 << 30),
        "t" | "T" => 1024.0 * f64::from(1 << 30),
        _ => return Err(unfit()),
    };
    if !(number > 0.0 && number.is_finite()) {
        return Err(unfit());
    }
    Ok(Size::Bytes {
        sign,
        bytes: (number * factor) as u64,
        text: format!("{digits}{}", if unit.is_empty() { "m" } else { unit }),
    })
}

impl Size {
    pub fn sign(&self) -> Option<char> {
        match self {
            Size::Bytes { sign, .. } | Size::Share { sign, .. } => *sign,
        }
    }

    /// As an option of LVM's programs.
    pub fn option(&self, signed: bool) -> Vec<String> {
        let sign = self
            .sign()
            .filter(|_| signed)
            .map(String::from)
            .unwrap_or_default();
        match self {
            Size::Bytes { text, .. } => words(&["-L", &format!("{sign}{text}")]),
            Size::Share { percent, of, .. } => words(&["-l", &format!("{sign}{percent}%{of}")]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_or_refused() {
        for text in [
            "", "x", "10q", "0", "-", "101%FREE", "10%X", "0%VG", "1e400", "é",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size("1.5g").unwrap().option(true), ["-L", "1.5g"]);
    }
}
