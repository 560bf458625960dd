//! What credentials hold: sealed before it reaches the database, and checked before it is sealed. Knows no HTTP requests,
//! and not who may see which.
//!
//! Reference: Identity API v3, `/v3/credentials` and the OS-EC2 extension.

use crate::{
    app::{App, fernet::Fernet, new_id, now_micros},
    config::CredentialConfig,
    store::credentials::Model,
};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, StartError};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The type of EC2 credentials.
pub const EC2: &str = "ec2";
/// Sealed and in Base64 it must still fit MySQL's `TEXT`.
const LONGEST: usize = 32 * 1024;
/// What binds an EC2 credential to the token that made it. Nobody may write them: they would lend rights.
const BONDS: [&str; 2] = ["trust_id", "app_cred_id"];

/// The keys: derived from the configured secret, else from their folder.
pub fn keys(config: &CredentialConfig, data_dir: &Path) -> Result<Fernet, StartError> {
    if config.secret.is_some() || config.secret_file.is_some() {
        let secret = service_kit::config::secret(
            config.secret.as_ref(),
            config.secret_file.as_deref(),
            "secret",
        )
        .map_err(|reason| StartError::Config(format!("[credential] {reason}")))?;
        // A short one could be guessed by whoever has a copy of the database.
        if secret.expose().len() < 16 {
            return Err(StartError::Config(
                "[credential] secret: at least 16 characters are needed, at random".to_owned(),
            ));
        }
        return Ok(Fernet::derived(
            secret.expose().as_bytes(),
            "identity credentials",
        ));
    }
    let folder = config
        .key_dir
        .clone()
        .unwrap_or_else(|| data_dir.join("credential-keys"));
    Fernet::open(&folder).map_err(|source| StartError::Io {
        what: format!("keys of credentials in `{}`", folder.display()),
        source,
    })
}

/// The token by which a credential is made lends it no more than itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bond {
    /// The trust of the token.
    pub trust: Option<String>,
    /// The application credential of the token.
    pub application_credential: Option<String>,
}

/// An EC2 credential's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Blob {
    /// The public half.
    pub access: String,
    /// The half that signs.
    pub secret: String,
    /// What its tokens are limited to.
    pub bond: Bond,
}

impl Ec2Blob {
    /// A new pair of keys.
    pub fn generate(bond: Bond) -> Self {
        Ec2Blob {
            access: new_id(),
            secret: hex::encode(rand::random::<[u8; 16]>()),
            bond,
        }
    }

    /// Reads it; nothing where a part is missing.
    pub fn parse(blob: &str) -> Option<Self> {
        let blob: Map<String, Value> = serde_json::from_str(blob).ok()?;
        let text = |name: &str| blob.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Ec2Blob {
            access: text("access")?,
            secret: text("secret")?,
            bond: Bond {
                trust: text("trust_id"),
                application_credential: text("app_cred_id"),
            },
        })
    }

    /// As it is stored.
    pub fn to_text(&self) -> String {
        let mut blob =
            json!({"access": self.access, "secret": self.secret, "trust_id": self.bond.trust});
        if let Some(id) = &self.bond.application_credential {
            blob["app_cred_id"] = id.as_str().into();
        }
        blob.to_string()
    }
}

/// The id of an EC2 credential: so that it is found by its access key.
pub fn ec2_id(access: &str) -> String {
    hex::encode(Sha256::digest(access.as_bytes()))
}

fn invalid(message: &str) -> ApiError {
    ApiError::bad_request("BadRequest", message)
}

fn check_length(blob: &str) -> Result<(), ApiError> {
    if blob.len() > LONGEST {
        return Err(invalid(&format!(
            "Invalid input for field 'blob': at most {LONGEST} bytes are kept."
        )));
    }
    Ok(())
}

/// The object in an EC2 credential's blob.
fn ec2_object(blob: &str) -> Result<Map<String, Value>, ApiError> {
    let object: Value =
        serde_json::from_str(blob).map_err(|_| invalid("Invalid blob in credential"))?;
    match object {
        Value::Object(object) if object.get("access").is_some_and(Value::is_string) => Ok(object),
        _ => Err(invalid(
            "Expecting to find access in credential. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.",
        )),
    }
}

/// Id and blob of a credential that somebody wants to make.
pub fn prepare(kind: &str, blob: String, bond: &Bond) -> Result<(String, String), ApiError> {
    check_length(&blob)?;
    if !kind.eq_ignore_ascii_case(EC2) {
        return Ok((new_id(), blob));
    }
    let mut object = ec2_object(&blob)?;
    let id = ec2_id(
        object
            .get("access")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    );
    let bonds = [&bond.trust, &bond.application_credential];
    for (name, value) in BONDS.into_iter().zip(bonds) {
        // What the request says about it is worth nothing.
        object.remove(name);
        if let Some(value) = value {
            object.insert(name.to_owned(), value.as_str().into());
        }
    }
    Ok((id, Value::Object(object).to_string()))
}

/// Checks a changed credential: type and blob, before and after.
pub fn check_change(old: (&str, &str), new: (&str, &str)) -> Result<(), ApiError> {
    check_length(new.1)?;
    let is_ec2 = |kind: &str| kind.eq_ignore_ascii_case(EC2);
    let bonds = |(kind, blob): (&str, &str)| -> [Option<Value>; 2] {
        // Of another type a blob may say what it likes: it binds nothing.
        let object: Map<String, Value> = if is_ec2(kind) {
            serde_json::from_str(blob).unwrap_or_default()
        } else {
            Map::new()
        };
        BONDS.map(|name| object.get(name).filter(|value| !value.is_null()).cloned())
    };
    if is_ec2(new.0) {
        ec2_object(new.1)?;
    }
    // By way of another type it could be set free, and changed back.
    for (name, (old, new)) in BONDS
        .into_iter()
        .zip(bonds(old).into_iter().zip(bonds(new)))
    {
        if old != new {
            return Err(invalid(&format!(
                "{name} can not be updated for credential"
            )));
        }
    }
    Ok(())
}

impl App {
    /// Encrypts a blob.
    pub fn seal(&self, blob: &str) -> String {
        let seconds = u64::try_from(now_micros() / 1_000_000).unwrap_or(0);
        self.credential_keys.encrypt(blob.as_bytes(), seconds)
    }

    /// Decrypts a row's blob.
    pub fn unseal(&self, row: &Model) -> Result<String, ApiError> {
        self.credential_keys
            .decrypt(&row.sealed)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| {
                ApiError::internal(format!(
                    "credential {} was sealed with another key: is `[credential]` the same on every controller?",
                    row.id
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bond() -> Bond {
        Bond {
            trust: Some("t".into()),
            application_credential: None,
        }
    }

    #[test]
    fn an_ec2_credential_is_bound_to_the_token_that_made_it() {
        let blob = json!({"access": "a", "secret": "s", "trust_id": "forged", "app_cred_id": "x"});
        let (id, blob) = prepare("EC2", blob.to_string(), &bond()).unwrap();
        assert_eq!(id, ec2_id("a"));
        let blob = Ec2Blob::parse(&blob).unwrap();
        assert_eq!((blob.secret.as_str(), blob.bond), ("s", bond()));
        // Of other types nothing is known.
        let (id, same) = prepare("cert", "any text".into(), &bond()).unwrap();
        assert_eq!((id.len(), same.as_str()), (32, "any text"));
    }

    #[test]
    fn an_ec2_blob_must_have_an_access_key() {
        for blob in [
            "no json",
            "[]",
            "{}",
            r#"{"access": null}"#,
            r#"{"access": 7}"#,
        ] {
            let error = prepare("ec2", blob.into(), &Bond::default()).unwrap_err();
            assert_eq!(error.status, 400, "{blob}");
        }
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(
            prepare("cert", long, &Bond::default()).unwrap_err().status,
            400
        );
    }

    #[test]
    fn a_bond_stays_as_it_is() {
        let old = Ec2Blob::generate(bond()).to_text();
        let free = Ec2Blob::generate(Bond::default()).to_text();
        let (old, free) = (old.as_str(), free.as_str());
        assert!(check_change((EC2, old), (EC2, old)).is_ok());
        assert!(check_change((EC2, free), ("cert", "text")).is_ok());
        assert!(check_change(("cert", "text"), ("EC2", free)).is_ok());
        for (old, new) in [
            ((EC2, old), (EC2, free)),
            ((EC2, free), (EC2, old)),
            ((EC2, free), (EC2, "text")),
            // The way around.
            ((EC2, old), ("cert", old)),
            (("cert", old), (EC2, old)),
        ] {
            assert_eq!(check_change(old, new).unwrap_err().status, 400);
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = CredentialConfig {
            secret: Some(service_kit::Secret::new("short")),
            ..CredentialConfig::default()
        };
        assert!(keys(&config, folder.path()).is_err());
        config.secret = Some(service_kit::Secret::new("0123456789abcdef"));
        let text = keys(&config, folder.path()).unwrap().encrypt(b"x", 1);
        // The same on every controller, and no file.
        let again = keys(&config, folder.path()).unwrap();
        assert_eq!(again.decrypt(&text).as_deref(), Some(&b"x"[..]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
