//! Reads what the `openssl` command prints of keys, requests and certificates. Pure.
//!
//! Known are only the pieces that decide whether a file still fits: names, public key, extensions, dates.
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// A key's kind, with the length and curve that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// By Ansible's name: RSA, DSA, ECC, Ed25519, ...
    pub kind: &'static str,
    pub bits: i64,
    /// By OpenSSL's name.
    pub curve: Option<String>,
}

/// From `openssl pkey -text_pub`.
pub fn key(text: &str) -> Option<Key> {
    for kind in ["Ed25519", "Ed448", "X25519", "X448"] {
        if text.contains(&format!("{} Public-Key:", kind.to_uppercase())) {
            let bits = if kind.ends_with("448") { 448 } else { 256 };
            return Some(Key {
                kind,
                bits,
                curve: None,
            });
        }
    }
    let bits = text
        .split_once("Public-Key: (")?
        .1
        .split_once(" bit")?
        .0
        .parse()
        .ok()?;
    let curve = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("ASN1 OID:"))
        .map(|curve| curve.trim().to_owned());
    let kind = match () {
        () if text.contains("Modulus:") => "RSA",
        () if curve.is_some() => "ECC",
        () if text.lines().any(|line| line.trim() == "G:") => "DSA",
        () => return None,
    };
    Some(Key { kind, bits, curve })
}

/// What a request or certificate says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paper {
    pub subject: String,
    /// Empty for a request.
    pub issuer: String,
    /// PEM.
    pub public_key: String,
    /// Name, with `critical` behind it if it is, and value.
    pub extensions: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub not_before: Option<i64>,
    pub not_after: Option<i64>,
}

/// From `openssl req` or `openssl x509` with `-text -pubkey`, and `-dates -dateopt iso_8601` of a certificate.
pub fn paper(text: &str) -> Paper {
    let mut paper = Paper {
        public_key: pem(text, "PUBLIC KEY").unwrap_or_default(),
        ..Paper::default()
    };
    let mut block: Option<usize> = None;
    let mut extension: Option<String> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let content = line.trim();
        if let Some(base) = block {
            if indent > base + 4 {
                if let Some(value) = extension
                    .as_ref()
                    .and_then(|name| paper.extensions.get_mut(name))
                {
                    if !value.is_empty() {
                        value.push('\n');
                    }
                    // How far a value is indented depends on what it is in.
                    value.push_str(&content.split_whitespace().collect::<Vec<_>>().join(" "));
                }
                continue;
            }
            if indent == base + 4 && content.contains(':') {
                let (name, critical) = content.rsplit_once(':').unwrap_or((content, ""));
                let name = format!("{} {}", name.trim(), critical.trim())
                    .trim()
                    .to_owned();
                paper.extensions.insert(name.clone(), String::new());
                extension = Some(name);
                continue;
            }
            if indent <= base {
                block = None;
            }
        }
        if let Some(subject) = content.strip_prefix("Subject:") {
            paper.subject = subject.trim().to_owned();
        } else if let Some(issuer) = content.strip_prefix("Issuer:") {
            paper.issuer = issuer.trim().to_owned();
        } else if let Some(date) = line.strip_prefix("notBefore=") {
            paper.not_before = super::asn1_time::iso(date);
        } else if let Some(date) = line.strip_prefix("notAfter=") {
            paper.not_after = super::asn1_time::iso(date);
        } else if ["Requested Extensions:", "X509v3 extensions:"].contains(&content) {
            block = Some(indent);
        }
    }
    paper
}

impl Paper {
    /// The value of an extension, critical or not.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions
            .get(name)
            .or_else(|| self.extensions.get(&format!("{name} critical")))
            .map(String::as_str)
    }

    /// For a reader: names and extensions.
    pub fn shown(&self) -> String {
        let mut out = format!("Subject: {}\n", self.subject);
        if !self.issuer.is_empty() {
            out.push_str(&format!("Issuer: {}\n", self.issuer));
        }
        let key = hex::encode(Sha256::digest(&self.public_key));
        out.push_str(&format!("Public key: {}\n", &key[..16]));
        for (name, value) in &self.extensions {
            out.push_str(&format!("{name}: {}\n", value.replace('\n', ", ")));
        }
        out
    }
}

/// The first block of that label, with its frame.
pub fn pem(text: &str, label: &str) -> Option<String> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let from = text.find(&begin)?;
    let to = from + text[from..].find(&end)? + end.len();
    Some(format!("{}\n", &text[from..to]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extensions_and_names_are_found() {
        let text = "Certificate:\n    Data:\n        Issuer: CN = CA\n        Subject: CN = a, O = \"b: c\"\n        X509v3 extensions:\n            X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n            X509v3 CRL Distribution Points: \n                Full Name:\n                  URI:http://x\n\n    Signature Algorithm: x\n-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\nnotAfter=2030-01-02 03:04:05Z\n";
        let paper = paper(text);
        assert_eq!(
            paper.extension("X509v3 Basic Constraints"),
            Some("CA:TRUE, pathlen:0")
        );
        assert_eq!(
            paper.extension("X509v3 CRL Distribution Points"),
            Some("Full Name:\nURI:http://x")
        );
        assert_eq!(
            (paper.subject.as_str(), paper.issuer.as_str()),
            ("CN = a, O = \"b: c\"", "CN = CA")
        );
        assert_eq!(paper.not_after, Some(1_893_553_445));
        assert!(paper.public_key.contains("\nAA\n"));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "( {4}|X509v3 extensions:|a: critical|\n|Public-Key: \\(|[0-9]| bit|-----BEGIN PUBLIC KEY-----){0,20}") {
            let _ = paper(&text);
            let _ = key(&text);
        }
    }
}
