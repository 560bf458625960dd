//! What a token's text holds: who, how, for which scope, until when.
//!
//! Only ids: roles and names are looked up at validation, so that changes take effect at once.
//! Binary and short, so that a token stays well below 255 characters.

/// The scope of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenScope {
    /// None.
    Unscoped,
    /// A project by id.
    Project(String),
    /// A domain by id.
    Domain(String),
    /// The system.
    System,
    /// What a trust delegates, by the trust's id.
    Trust(String),
}

/// A token's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Whose.
    pub user_id: String,
    /// Bits: 1 password, 2 token, 4 application credential, 8 EC2 credential, 16 one-time password.
    pub methods: u8,
    /// For what.
    pub scope: TokenScope,
    /// µs since 1970.
    pub issued_at: i64,
    /// µs since 1970.
    pub expires_at: i64,
    /// Its own audit id, then that of the first token of its chain.
    pub audit_ids: Vec<[u8; 16]>,
    /// Id of the application credential; empty without.
    pub application_credential: String,
}

const FORMAT: u8 = 1;

impl Payload {
    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, target) = match &self.scope {
            TokenScope::Unscoped => (0, ""),
            TokenScope::Project(id) => (1, id.as_str()),
            TokenScope::Domain(id) => (2, id.as_str()),
            TokenScope::System => (3, ""),
            TokenScope::Trust(id) => (4, id.as_str()),
        };
        let mut out = vec![FORMAT, self.methods, kind];
        put_id(&mut out, &self.user_id);
        put_id(&mut out, target);
        put_id(&mut out, &self.application_credential);
        out.extend_from_slice(&self.issued_at.to_be_bytes());
        out.extend_from_slice(&self.expires_at.to_be_bytes());
        for audit_id in &self.audit_ids {
            out.extend_from_slice(audit_id);
        }
        out
    }

    /// Reads it; nothing when it is not of this format.
    pub fn from_bytes(bytes: &[u8]) -> Option<Payload> {
        let [format, methods, kind, rest @ ..] = bytes else {
            return None;
        };
        if *format != FORMAT {
            return None;
        }
        let mut rest = rest;
        let user_id = take_id(&mut rest)?;
        let target = take_id(&mut rest)?;
        let application_credential = take_id(&mut rest)?;
        let issued_at = take_number(&mut rest)?;
        let expires_at = take_number(&mut rest)?;
        let (chunks, []) = rest.as_chunks::<16>() else {
            return None;
        };
        let scope = match kind {
            0 => TokenScope::Unscoped,
            1 => TokenScope::Project(target),
            2 => TokenScope::Domain(target),
            3 => TokenScope::System,
            4 => TokenScope::Trust(target),
            _ => return None,
        };
        Some(Payload {
            user_id,
            methods: *methods,
            scope,
            issued_at,
            expires_at,
            audit_ids: chunks.to_vec(),
            application_credential,
        })
    }
}

/// 32 hex digits as 16 bytes after a 255; anything else with its length before it.
fn put_id(out: &mut Vec<u8>, id: &str) {
    let mut short = [0; 16];
    if id.len() == 32 && hex::decode_to_slice(id, &mut short).is_ok() && hex::encode(short) == id {
        out.push(255);
        out.extend_from_slice(&short);
    } else {
        // Ids are at most 64 characters long.
        let bytes = &id.as_bytes()[..id.len().min(254)];
        out.push(bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
}

fn take_id(rest: &mut &[u8]) -> Option<String> {
    let (length, after) = rest.split_first()?;
    let size = if *length == 255 {
        16
    } else {
        usize::from(*length)
    };
    let (bytes, after) = after.split_at_checked(size)?;
    *rest = after;
    if *length == 255 {
        Some(hex::encode(bytes))
    } else {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

fn take_number(rest: &mut &[u8]) -> Option<i64> {
    let (bytes, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(i64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way_there_and_back() {
        let scopes = [
            TokenScope::Unscoped,
            TokenScope::Project("0123456789abcdef0123456789abcdef".into()),
            TokenScope::Domain("default".into()),
            TokenScope::System,
            TokenScope::Trust("fedcba9876543210fedcba9876543210".into()),
        ];
        for scope in scopes {
            let payload = Payload {
                user_id: "ABCDEF6789abcdef0123456789abcdef".into(),
                methods: 3,
                scope,
                issued_at: 1,
                expires_at: i64::MAX,
                audit_ids: vec![[1; 16], [2; 16]],
                application_credential: String::new(),
            };
            let bytes = payload.to_bytes();
            assert_eq!(Payload::from_bytes(&bytes), Some(payload));
            for cut in 0..bytes.len() {
                let _ = Payload::from_bytes(&bytes[..cut]);
            }
        }
    }
}
