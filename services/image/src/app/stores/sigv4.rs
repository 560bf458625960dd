//! Signatures of requests to S3: AWS Signature Version 4. Pure: a request's parts in, its `Authorization` out.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The digest of a request without a body.
pub const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Who signs, and for which region.
pub struct Signer {
    /// The key's name.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// `us-east-1`.
    pub region: String,
}

/// What is signed.
pub struct Request<'a> {
    /// `GET`
    pub method: &'a str,
    /// With its port, as it is sent.
    pub host: &'a str,
    /// Encoded by [`encode`].
    pub path: &'a str,
    /// Not encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body, hex.
    pub sha256: &'a str,
    /// `20130524T000000Z`
    pub date: &'a str,
}

/// Everything but unreserved letters as `%XX`; slashes stay where the text is a path.
pub fn encode(text: &str, path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            b'/' if path => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The query as it is sent and signed: encoded and sorted.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // Keys of any length fit: longer ones are hashed first.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

impl Signer {
    /// The header `Authorization`; `host`, `x-amz-content-sha256` and `x-amz-date` must be sent as signed.
    pub fn authorization(&self, request: &Request) -> String {
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{}\n{}\n{}\nhost:{}\nx-amz-content-sha256:{}\nx-amz-date:{}\n\n{signed}\n{}",
            request.method,
            request.path,
            query(request.query),
            request.host,
            request.sha256,
            request.date,
            request.sha256,
        );
        let day = request.date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            request.date,
            hex::encode(Sha256::digest(canonical.as_bytes()))
        );
        let key = hmac(format!("AWS4{}", self.secret_key).as_bytes(), day);
        let key = hmac(&hmac(&hmac(&key, &self.region), "s3"), "aws4_request");
        let signature = hex::encode(hmac(&key, &to_sign));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={signed},Signature={signature}",
            self.access_key
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Amazon's documentation.
    #[test]
    fn signs_as_amazon_says() {
        let signer = Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            region: "us-east-1".to_owned(),
        };
        for (query, signature) in [
            (
                &[("lifecycle", "")][..],
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                &[("prefix", "J"), ("max-keys", "2")][..],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let header = signer.authorization(&Request {
                method: "GET",
                host: "examplebucket.s3.amazonaws.com",
                path: "/",
                query,
                sha256: EMPTY,
                date: "20130524T000000Z",
            });
            assert!(header.ends_with(signature), "{header}");
        }
        assert_eq!(encode("a b/ü", true), "a%20b/%C3%BC");
        assert_eq!(encode("a/b", false), "a%2Fb");
    }
}
