//! Signatures of EC2 requests, version 2 and 4, as a service passes them on for checking. Pure: knows no database, and the
//! time comes from the caller.
//!
//! Reference: AWS General Reference, "Signature Version 4 signing process" and "Signature Version 2".

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, NaiveDateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, time::Duration};
use subtle::ConstantTimeEq;

const V4: &str = "AWS4-HMAC-SHA256";

/// The signed request, as `credentials` of `POST /v3/ec2tokens`.
#[derive(Clone, Deserialize)]
pub struct SignedRequest {
    /// The access key.
    pub access: String,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    host: String,
    #[serde(default)]
    verb: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    params: BTreeMap<String, Text>,
    #[serde(default)]
    headers: BTreeMap<String, Text>,
    /// SHA-256 of the body, in hex: version 4 signs it.
    #[serde(default)]
    body_hash: String,
}

/// A parameter's value: clients send numbers, too.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Text {
    String(String),
    Number(i64),
    Flag(bool),
}

impl Text {
    fn get(&self) -> String {
        match self {
            Text::String(text) => text.clone(),
            Text::Number(number) => number.to_string(),
            Text::Flag(flag) => flag.to_string(),
        }
    }
}

/// Why a request is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature at all.
    #[error("EC2 signature not supplied.")]
    NoSignature,
    /// It is of a version that is not offered, or lacks parts.
    #[error("Unexpected EC2 signature format.")]
    Format,
    /// It is not that of the secret.
    #[error("Invalid EC2 signature.")]
    Wrong,
    /// Too old, or from the future.
    #[error("The EC2 request has expired.")]
    Expired,
}

impl SignedRequest {
    /// Whether the holder of `secret` has signed it, not long ago.
    pub fn check(&self, secret: &str, now: DateTime<Utc>, skew: Duration) -> Result<(), Refusal> {
        let given = self.signature.as_deref().unwrap_or_default();
        if given.is_empty() {
            return Err(Refusal::NoSignature);
        }
        let expected = self.sign(secret, &self.host)?;
        let mut fits = same(&expected, given);
        // Some clients leave the port out of what they sign.
        if let Some((host, _port)) = self.host.rsplit_once(':') {
            fits |= same(&self.sign(secret, host)?, given);
        }
        if !fits {
            return Err(Refusal::Wrong);
        }
        // What is not signed is not looked at, so the time comes after the signature.
        self.check_time(now, skew)
    }

    fn check_time(&self, now: DateTime<Utc>, skew: Duration) -> Result<(), Refusal> {
        let at = match (self.param("Timestamp"), self.amz_date()) {
            (Some(text), _) => {
                NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f")
            }
            (None, Some(text)) => NaiveDateTime::parse_from_str(&text, "%Y%m%dT%H%M%SZ"),
            // Version 2 may say `Expires` instead. Without any time a request could be sent again for ever.
            (None, None) => return self.check_expires(now),
        };
        let at = at.map_err(|_| Refusal::Format)?.and_utc();
        let away = (now - at).abs().to_std().unwrap_or(Duration::MAX);
        if away > skew {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    fn check_expires(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let Some(text) = self.param("Expires") else {
            return Err(Refusal::Format);
        };
        let at = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f")
            .map_err(|_| Refusal::Format)?;
        if at.and_utc() < now {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    fn param(&self, name: &str) -> Option<String> {
        self.params.get(name).map(Text::get)
    }

    /// Header names have no case.
    fn header(&self, name: &str) -> Option<String> {
        self.headers
            .iter()
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.get().trim().to_owned())
    }

    fn amz_date(&self) -> Option<String> {
        self.header("X-Amz-Date")
            .or_else(|| self.param("X-Amz-Date"))
    }

    fn sign(&self, secret: &str, host: &str) -> Result<String, Refusal> {
        let authorization = self
            .header("Authorization")
            .filter(|text| text.starts_with(V4));
        let by_query = self.param("X-Amz-Algorithm").as_deref() == Some(V4);
        if authorization.is_some() || by_query {
            return self.sign_v4(secret, authorization.as_deref());
        }
        if self.param("SignatureVersion").as_deref() == Some("2") {
            return Ok(self.sign_v2(secret, host));
        }
        Err(Refusal::Format)
    }

    fn sign_v2(&self, secret: &str, host: &str) -> String {
        // The method is ours to say, not the request's: HMAC-SHA-1 is not accepted.
        let mut params: BTreeMap<String, String> = self
            .params
            .iter()
            .filter(|(name, _)| *name != "Signature")
            .map(|(name, value)| (name.clone(), value.get()))
            .collect();
        params.insert("SignatureMethod".to_owned(), "HmacSHA256".to_owned());
        let text = format!(
            "{}\n{host}\n{}\n{}",
            self.verb,
            self.path,
            canonical_query(&params)
        );
        STANDARD.encode(mac(secret.as_bytes(), &text))
    }

    fn sign_v4(&self, secret: &str, authorization: Option<&str>) -> Result<String, Refusal> {
        let part = |name: &str| match authorization {
            Some(text) => text
                .trim_start_matches(V4)
                .split(',')
                .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned),
            None => self.param(&format!("X-Amz-{name}")),
        };
        let signed_headers = part("SignedHeaders").ok_or(Refusal::Format)?;
        let credential = part("Credential").ok_or(Refusal::Format)?;
        let mut scope = credential.split('/');
        let access = scope.next();
        let [Some(day), Some(region), Some(service), Some(end), None] =
            std::array::from_fn(|_| scope.next())
        else {
            return Err(Refusal::Format);
        };
        let date = self.amz_date().ok_or(Refusal::Format)?;
        if day.is_empty() || !date.starts_with(day) || access != Some(self.access.as_str()) {
            return Err(Refusal::Format);
        }
        // A form's parameters are in the body, whose hash is signed.
        let query = if self.verb.eq_ignore_ascii_case("POST") && authorization.is_some() {
            String::new()
        } else {
            let params: BTreeMap<String, String> = self
                .params
                .iter()
                .filter(|(name, _)| *name != "X-Amz-Signature")
                .map(|(name, value)| (name.clone(), value.get()))
                .collect();
            canonical_query(&params)
        };
        let headers: String = signed_headers
            .split(';')
            .filter_map(|name| Some(format!("{name}:{}\n", self.header(name)?)))
            .collect();
        let request = format!(
            "{}\n{}\n{query}\n{headers}\n{signed_headers}\n{}",
            self.verb.to_uppercase(),
            self.path,
            self.body_hash
        );
        let text = format!(
            "{V4}\n{date}\n{day}/{region}/{service}/{end}\n{}",
            hex::encode(Sha256::digest(request.as_bytes()))
        );
        let key = [day, region, service, end]
            .into_iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
                mac(&key, part).to_vec()
            });
        Ok(hex::encode(mac(&key, &text)))
    }
}

fn same(expected: &str, given: &str) -> bool {
    bool::from(expected.as_bytes().ct_eq(given.as_bytes()))
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Sorted and percent-encoded, everything but letters, digits and `-._~`.
fn canonical_query(params: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = params
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SKEW: Duration = Duration::from_secs(900);

    fn at(text: &str) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S")
            .unwrap()
            .and_utc()
    }

    fn check(request: &Value, secret: &str, now: &str) -> Result<(), Refusal> {
        let request: SignedRequest = serde_json::from_value(request.clone()).unwrap();
        request.check(secret, at(now), SKEW)
    }

    /// The example of AWS's documentation of version 2 (`DescribeJobFlows`).
    fn v2() -> Value {
        json!({
            "access": "AKIAIOSFODNN7EXAMPLE", "signature": "i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf/Mj6vPxyYIs=",
            "host": "elasticmapreduce.amazonaws.com:443", "verb": "GET", "path": "/",
            "params": {"AWSAccessKeyId": "AKIAIOSFODNN7EXAMPLE", "Action": "DescribeJobFlows",
                "SignatureMethod": "HmacSHA256", "SignatureVersion": "2",
                "Timestamp": "2011-10-03T15:19:30", "Version": "2009-03-31"},
        })
    }

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn version_2_agrees_with_the_documentation() {
        assert_eq!(check(&v2(), SECRET, "2011-10-03T15:20:00"), Ok(()));
        assert_eq!(
            check(&v2(), SECRET, "2011-10-03T15:35:00"),
            Err(Refusal::Expired)
        );
        assert_eq!(
            check(&v2(), SECRET, "2011-10-03T15:00:00"),
            Err(Refusal::Expired)
        );
        for name in ["Action", "Version", "Timestamp"] {
            let mut changed = v2();
            changed["params"][name] = "other".into();
            let got = check(&changed, SECRET, "2011-10-03T15:20:00");
            assert_eq!(got, Err(Refusal::Wrong), "{name}");
        }
        assert_eq!(
            check(&v2(), "other", "2011-10-03T15:20:00"),
            Err(Refusal::Wrong)
        );
        let mut unsigned = v2();
        unsigned["signature"] = Value::Null;
        assert_eq!(
            check(&unsigned, SECRET, "2011-10-03T15:20:00"),
            Err(Refusal::NoSignature)
        );
        // Signed, but without a time.
        let mut timeless = v2();
        timeless["params"]
            .as_object_mut()
            .unwrap()
            .remove("Timestamp");
        let request: SignedRequest = serde_json::from_value(timeless.clone()).unwrap();
        timeless["signature"] = request
            .sign(SECRET, "elasticmapreduce.amazonaws.com")
            .unwrap()
            .into();
        let got = check(&timeless, SECRET, "2011-10-03T15:20:00");
        assert_eq!(got, Err(Refusal::Format));
        for (expires, expected) in [
            ("2011-10-03T15:30:00", Ok(())),
            ("2011-10-03T15:10:00", Err(Refusal::Expired)),
        ] {
            timeless["params"]["Expires"] = expires.into();
            let request: SignedRequest = serde_json::from_value(timeless.clone()).unwrap();
            timeless["signature"] = request
                .sign(SECRET, "elasticmapreduce.amazonaws.com")
                .unwrap()
                .into();
            assert_eq!(check(&timeless, SECRET, "2011-10-03T15:20:00"), expected);
        }
        for version in [json!("1"), json!(0), Value::String(String::new())] {
            let mut other = v2();
            other["params"]["SignatureVersion"] = version;
            let got = check(&other, SECRET, "2011-10-03T15:20:00");
            assert_eq!(got, Err(Refusal::Format));
        }
    }

    /// The example of AWS's documentation of version 4 (`ListUsers`).
    fn v4() -> Value {
        json!({
            "access": "AKIDEXAMPLE",
            "signature": "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            "host": "iam.amazonaws.com", "verb": "GET", "path": "/",
            "params": {"Action": "ListUsers", "Version": "2010-05-08"},
            "headers": {
                "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "Host": "iam.amazonaws.com", "X-Amz-Date": "20150830T123600Z"},
            "body_hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        })
    }

    const SECRET_V4: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    #[test]
    fn version_4_agrees_with_the_documentation() {
        assert_eq!(check(&v4(), SECRET_V4, "2015-08-30T12:40:00"), Ok(()));
        assert_eq!(
            check(&v4(), SECRET_V4, "2015-08-30T13:40:00"),
            Err(Refusal::Expired)
        );
        let mut body = v4();
        body["body_hash"] = "00".into();
        assert_eq!(
            check(&body, SECRET_V4, "2015-08-30T12:40:00"),
            Err(Refusal::Wrong)
        );
        // The date of the request and that of the key's scope must agree, and so must the access keys.
        let mut other_day = v4();
        other_day["headers"]["X-Amz-Date"] = "20150831T123600Z".into();
        assert_eq!(
            check(&other_day, SECRET_V4, "2015-08-31T12:40:00"),
            Err(Refusal::Format)
        );
        let mut other_key = v4();
        other_key["access"] = "SOMEBODY".into();
        assert_eq!(
            check(&other_key, SECRET_V4, "2015-08-30T12:40:00"),
            Err(Refusal::Format)
        );
        for broken in [
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/a/b, SignedHeaders=host",
        ] {
            let mut request = v4();
            request["headers"]["Authorization"] = broken.into();
            assert_eq!(
                check(&request, SECRET_V4, "2015-08-30T12:40:00"),
                Err(Refusal::Format)
            );
        }
    }
}
