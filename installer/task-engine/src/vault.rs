//! Ansible Vault: opening files and `!vault` texts (formats 1.1 and 1.2, AES256), and remembering what came out, so
//! that it is shown nowhere.
//!
//! Nothing is sealed here: new secrets belong into the product's own store.
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use aes::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value as Json;
use sha2::Sha256;

/// What stands at the beginning of everything sealed.
pub const MARK: &str = "$ANSIBLE_VAULT";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("this is not of the form of Ansible Vault: {0}")]
    Form(String),
    #[error("the vault format `{0}` is not supported, only 1.1 and 1.2 with AES256")]
    Version(String),
    #[error(
        "it is sealed by Ansible Vault, and no password was given (`--vault-password-file FILE`)"
    )]
    NoPassword,
    #[error("no vault password fits{}", .id.as_ref().map(|id| format!(" (it was sealed for the id `{id}`)")).unwrap_or_default())]
    WrongPassword { id: Option<String> },
}

/// Passwords, and the secrets that they opened.
#[derive(Default)]
pub struct Vault {
    /// Vault id (empty: any) and password.
    passwords: Vec<(String, String)>,
    opened: RwLock<BTreeSet<String>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({} passwords)", self.passwords.len())
    }
}

impl Vault {
    pub fn new(passwords: Vec<(String, String)>) -> Self {
        Vault {
            passwords,
            opened: RwLock::default(),
        }
    }

    /// Opens a whole text. What is in it is not remembered as a secret: the values of a sealed file are, when they are
    /// read from it (see [`Vault::keep`]).
    ///
    /// # Errors
    /// It is not sealed in a way that is known, or no password fits.
    pub fn open(&self, sealed: &str) -> Result<String, VaultError> {
        let (head, body) = sealed.trim_start().split_once('\n').unwrap_or((sealed, ""));
        let words: Vec<&str> = head.trim().split(';').collect();
        let id = match words[..] {
            [MARK, "1.1", "AES256"] => None,
            [MARK, "1.2", "AES256", id] => Some(id.to_owned()),
            [MARK, version, cipher, ..] => {
                return Err(VaultError::Version(format!("{version} {cipher}")));
            }
            _ => return Err(VaultError::Form("the first line is another".to_owned())),
        };
        if self.passwords.is_empty() {
            return Err(VaultError::NoPassword);
        }
        let envelope = Envelope::parse(body)?;
        // As Ansible: those of the same id first, then all others.
        let same = |(of, _): &&(String, String)| Some(of) == id.as_ref();
        let order = self
            .passwords
            .iter()
            .filter(same)
            .chain(self.passwords.iter().filter(|password| !same(password)));
        for (_, password) in order {
            if let Some(bytes) = envelope.open(password) {
                return String::from_utf8(bytes)
                    .map_err(|_| VaultError::Form("it holds no text".to_owned()));
            }
        }
        Err(VaultError::WrongPassword { id })
    }

    /// Opens a `!vault` value and remembers it as a secret.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_value(&self, sealed: &str) -> Result<String, VaultError> {
        let text = self.open(sealed)?;
        self.keep_text(&text);
        Ok(text)
    }

    /// Remembers every text in a value that came out of a sealed file.
    pub fn keep(&self, value: &Json) {
        match value {
            Json::String(text) => self.keep_text(text),
            Json::Number(number) => self.keep_text(&number.to_string()),
            Json::Array(items) => items.iter().for_each(|item| self.keep(item)),
            Json::Object(map) => map.values().for_each(|item| self.keep(item)),
            _ => {}
        }
    }

    pub fn keep_text(&self, text: &str) {
        let text = text.trim();
        // A template is no secret; what it renders to is made of secrets that are kept themselves.
        if text.chars().count() < crate::hidden::SHORTEST || crate::template::has_template(text) {
            return;
        }
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.insert(text.to_owned());
        // The same as it stands inside JSON and other quoted texts.
        let quoted = Json::from(text).to_string();
        let inner = &quoted[1..quoted.len() - 1];
        if inner != text {
            opened.insert(inner.to_owned());
        }
    }

    /// The secrets that were opened so far, for [`crate::hidden::Hidden`].
    pub fn opened(&self) -> BTreeSet<String> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.clone()
    }

    /// Replaces sealed values anywhere in data read from YAML (`{"!vault": text}`), and makes `!unsafe` texts what they
    /// are: texts in which no template is rendered. The error is about the value that cannot be opened.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_all(&self, value: &mut Json) -> Result<(), VaultError> {
        match value {
            Json::Array(items) => items.iter_mut().try_for_each(|item| self.open_all(item)),
            Json::Object(map) => {
                if map.len() == 1
                    && let Some((tag, inner)) = map.iter().next()
                {
                    match (tag.as_str(), inner) {
                        ("!vault" | "!vault-encrypted", Json::String(sealed)) => {
                            *value = Json::from(self.open_value(sealed)?);
                            return Ok(());
                        }
                        ("!unsafe", inner) => {
                            let mut inner = inner.clone();
                            make_unsafe(&mut inner);
                            *value = inner;
                            return Ok(());
                        }
                        _ => {}
                    }
                }
                map.values_mut().try_for_each(|item| self.open_all(item))
            }
            _ => Ok(()),
        }
    }
}

/// A text that looks like a template and is none.
fn make_unsafe(value: &mut Json) {
    match value {
        Json::String(text) if crate::template::has_template(text) => {
            let whole = text.replace("{% endraw %}", "{% endraw %}{{ '{% endraw %}' }}{% raw %}");
            *text = format!("{{% raw %}}{whole}{{% endraw %}}");
        }
        Json::Array(items) => items.iter_mut().for_each(make_unsafe),
        Json::Object(map) => map.values_mut().for_each(make_unsafe),
        _ => {}
    }
}

struct Envelope {
    salt: Vec<u8>,
    mac: Vec<u8>,
    sealed: Vec<u8>,
}

impl Envelope {
    /// Hexadecimal of three lines (salt, MAC, sealed bytes), each hexadecimal again.
    fn parse(body: &str) -> Result<Self, VaultError> {
        let form = |what: &str| VaultError::Form(what.to_owned());
        let packed: String = body.split_whitespace().collect();
        let inner = hex::decode(packed).map_err(|_| form("its body is not hexadecimal"))?;
        let inner = String::from_utf8(inner).map_err(|_| form("its body is no text"))?;
        let parts: Vec<Vec<u8>> = inner
            .split('\n')
            .map(hex::decode)
            .collect::<Result<_, _>>()
            .map_err(|_| form("its parts are not hexadecimal"))?;
        match <[Vec<u8>; 3]>::try_from(parts) {
            Ok([salt, mac, sealed]) => Ok(Envelope { salt, mac, sealed }),
            Err(_) => Err(form("it has not three parts")),
        }
    }

    /// The bytes, if the password is the right one.
    fn open(&self, password: &str) -> Option<Vec<u8>> {
        const ROUNDS: u32 = 10_000;
        let mut keys = [0u8; 80];
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &self.salt, ROUNDS, &mut keys);
        let mut mac = Hmac::<Sha256>::new_from_slice(&keys[32..64]).ok()?;
        mac.update(&self.sealed);
        mac.verify_slice(&self.mac).ok()?;
        let mut cipher =
            ctr::Ctr128BE::<aes::Aes256>::new_from_slices(&keys[..32], &keys[64..]).ok()?;
        let mut bytes = self.sealed.clone();
        cipher.apply_keystream(&mut bytes);
        // PKCS #7: as many bytes as are missing to a whole block, each that number.
        let padding = usize::from(*bytes.last()?);
        if !(1..=16).contains(&padding) || padding > bytes.len() {
            return None;
        }
        bytes.truncate(bytes.len() - padding);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hidden::Hidden;
    use proptest::prelude::*;
    use serde_json::json;

    // Sealed by ansible-core 2.19 with the password `correct horse`.
    const SEALED: &str = include_str!("../tests/golden/vault-1.1.txt");
    const SEALED_ID: &str = include_str!("../tests/golden/vault-1.2.txt");

    fn vault() -> Vault {
        let words = |id: &str, password: &str| (id.to_owned(), password.to_owned());
        Vault::new(vec![words("", "wrong"), words("prod", "correct horse")])
    }

    #[test]
    fn what_ansible_sealed_is_opened() {
        assert_eq!(
            vault().open(SEALED).unwrap(),
            "database: s3cret-word\nport: 4711\n"
        );
        assert_eq!(vault().open(SEALED_ID).unwrap(), "s3cret-value");
        assert_eq!(
            Vault::new(vec![(String::new(), "no".to_owned())]).open(SEALED_ID),
            Err(VaultError::WrongPassword {
                id: Some("prod".to_owned())
            })
        );
        assert_eq!(Vault::default().open(SEALED), Err(VaultError::NoPassword));
    }

    #[test]
    fn opened_values_are_hidden_wherever_they_stand() {
        let vault = vault();
        let mut value = json!({"a": [{"!vault": SEALED_ID}], "b": {"!unsafe": "{{ x }}"}});
        vault.open_all(&mut value).unwrap();
        assert_eq!(value["a"], json!(["s3cret-value"]));
        assert_eq!(value["b"], json!("{% raw %}{{ x }}{% endraw %}"));
        vault.keep(&json!({"quoted": "a\"bcd\"e"}));
        let hidden = Hidden::new(vault.opened());
        assert_eq!(hidden.text("mysql -ps3cret-value x"), "mysql -p******** x");
        assert_eq!(hidden.text("s3cret"), "s3cret");
        assert_eq!(hidden.text(r#"{"x": "a\"bcd\"e"}"#), r#"{"x": "********"}"#);
    }

    proptest! {
        #[test]
        fn strangers_texts_never_panic(text in ".{0,200}", hex in "[0-9a-f\n]{0,200}") {
            let vault = vault();
            let _ = vault.open(&text);
            let _ = vault.open(&format!("$ANSIBLE_VAULT;1.1;AES256\n{hex}"));
            let inner = hex::encode(&hex);
            let _ = vault.open(&format!("$ANSIBLE_VAULT;1.1;AES256\n{inner}"));
        }
    }
}
