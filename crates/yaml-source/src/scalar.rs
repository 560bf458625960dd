//! What a plain (unquoted) scalar is: YAML 1.1 as PyYAML reads it, which is what Ansible and Heat
//! users are used to.
//!
//! On purpose different from PyYAML, each because it has bitten people:
//! - `12:30` and `52:54:00:12:34:56` stay text (YAML 1.1: a number to the base of 60);
//! - dates stay text (`heat_template_version: 2021-04-16`);
//! - integers beyond 64 bits stay text, with all their digits.

use crate::Value;

/// Reads a plain scalar.
pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        _ => {}
    }
    if let Some(value) = boolean(text) {
        return Value::Bool(value);
    }
    // Quick way out: all numbers begin so.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String(text.to_owned());
    }
    if let Some(value) = integer(text) {
        return Value::Int(value);
    }
    if let Some(value) = float(text) {
        return Value::Float(value);
    }
    Value::String(text.to_owned())
}

/// `yes`, `On`, `TRUE`, ...; not `y`, which PyYAML takes for text too.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// `1_000`, `0644` (octal), `0x1f`, `0b101`; signs are allowed.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(rest) = digits.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = digits.strip_prefix("0b") {
        (2, rest)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        (10, digits)
    } else {
        return None;
    };
    let mut value: i128 = 0;
    let mut any = false;
    for c in digits.chars().filter(|c| *c != '_') {
        value = value.checked_mul(radix)? + i128::from(c.to_digit(radix as u32)?);
        any = true;
    }
    if !any {
        return None;
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

/// `1.5`, `.5`, `1.`, `1.5e+3`, `.inf`, `-.Inf`, `.nan`. As in PyYAML a number needs its dot and an
/// exponent its sign, so `1e3` is text.
pub(crate) fn float(text: &str) -> Option<f64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if rest.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let begins = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
    // A number that begins with its dot cannot have a sign.
    let bare = whole.is_empty() && begins(fraction) && rest.len() == text.len();
    if !digits(whole) || !digits(fraction) || !(begins(whole) || bare) {
        return None;
    }
    if let Some(exponent) = exponent {
        let number = exponent.strip_prefix(['+', '-'])?;
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
    }
    let clean: String = rest.chars().filter(|c| *c != '_').collect();
    clean.parse::<f64>().ok().map(|value| sign * value)
}
