//! Generated passwords and keys of an environment, encrypted at rest.
//!
//! `secrets.enc` holds all of them, AES-256-GCM under the key of `secrets.key` (32 bytes, mode 0600). The file is
//! sealed anew with a fresh nonce on every change; readers need the key only.
//!
//! Deliberately not here: what a secret is for. Values are never in `Debug`, and there is no `Display`.
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::{Flock, FlockArg};
use rand::distr::{Alphanumeric, SampleString};
use rand::{TryRngCore, rngs::OsRng};
use serde::{Deserialize, Serialize};

use crate::folder::replace_file;
use crate::{EnvironmentFolder, StateError};

/// Authenticated along with the content, so that another file cannot be taken for this one.
const FORMAT: &str = "wright-secrets/1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Letters and digits of a generated secret: 190 bits, and no character that any configuration file minds.
const SECRET_LENGTH: usize = 32;

/// A secret's value; shown as dots.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A new one of the kernel's randomness, which is not stored.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn generate() -> Result<Self, StateError> {
        let mut seed = [0; 32];
        random(&mut seed)?;
        let mut generator: rand::rngs::StdRng = rand::SeedableRng::from_seed(seed);
        Ok(Self(
            Alphanumeric.sample_string(&mut generator, SECRET_LENGTH),
        ))
    }

    /// The value itself, for the place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// The environment's secrets. Every call reads the file anew: several processes may share it.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: EnvironmentFolder,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    format: String,
    nonce: String,
    content: String,
}

impl Secrets {
    /// The secrets of an environment; makes the key if neither key nor secrets exist yet.
    ///
    /// # Errors
    /// When the key is missing, open to others, or does not fit the file.
    pub fn open(folder: &EnvironmentFolder) -> Result<Self, StateError> {
        let secrets = Self {
            folder: folder.clone(),
        };
        let key = folder.secrets_key();
        if !key.exists() && !folder.secrets().exists() {
            let mut fresh = [0; KEY_BYTES];
            random(&mut fresh)?;
            // `create_new`: of two processes that start at once, one makes the key and both use it.
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&key)
            {
                Ok(mut file) => {
                    file.write_all(&fresh)
                        .and_then(|()| file.sync_all())
                        .map_err(StateError::file(&key))?;
                    let root = folder.root();
                    File::open(root)
                        .and_then(|root| root.sync_all())
                        .map_err(StateError::file(root))?;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StateError::file(&key)(error)),
            }
        }
        secrets.read()?;
        Ok(secrets)
    }

    /// The names of all secrets, sorted.
    ///
    /// # Errors
    /// When the file cannot be read or decrypted.
    pub fn names(&self) -> Result<Vec<String>, StateError> {
        Ok(self.read()?.into_keys().collect())
    }

    /// All secrets by name.
    ///
    /// # Errors
    /// When the file cannot be read or decrypted.
    pub fn all(&self) -> Result<BTreeMap<String, Secret>, StateError> {
        self.read()
    }

    /// One secret, if it exists.
    ///
    /// # Errors
    /// When the file cannot be read or decrypted.
    pub fn get(&self, name: &str) -> Result<Option<Secret>, StateError> {
        Ok(self.read()?.remove(name))
    }

    /// The secret of that name, generated and stored durably if there is none.
    ///
    /// # Errors
    /// When the name is not usable or the file cannot be read or written.
    pub fn get_or_generate(&self, name: &str) -> Result<Secret, StateError> {
        usable(name)?;
        if let Some(known) = self.get(name)? {
            return Ok(known);
        }
        let _writer = self.writer()?;
        let mut all = self.read()?;
        if let Some(known) = all.get(name) {
            return Ok(known.clone());
        }
        let secret = Secret::generate()?;
        all.insert(name.to_owned(), secret.clone());
        self.write(&all)?;
        Ok(secret)
    }

    /// Stores a secret that was made elsewhere, durably, in place of one that had its name.
    ///
    /// # Errors
    /// When the name is not usable or the file cannot be read or written.
    pub fn put(&self, name: &str, value: &str) -> Result<(), StateError> {
        usable(name)?;
        let _writer = self.writer()?;
        let mut all = self.read()?;
        all.insert(name.to_owned(), Secret(value.to_owned()));
        self.write(&all)
    }

    /// One writer at a time: a lock on the key file, which is never replaced.
    fn writer(&self) -> Result<Flock<File>, StateError> {
        let path = self.folder.secrets_key();
        let file = File::open(&path).map_err(StateError::file(&path))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| StateError::file(path)(errno.into()))
    }

    fn key(&self) -> Result<Aes256Gcm, StateError> {
        let path = self.folder.secrets_key();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StateError::KeyMissing {
                    secrets: self.folder.secrets(),
                    key: path,
                });
            }
            Err(error) => return Err(StateError::file(&path)(error)),
        };
        closed_to_others(&file, &path)?;
        let mut key = Vec::with_capacity(KEY_BYTES);
        file.read_to_end(&mut key)
            .map_err(StateError::file(&path))?;
        Aes256Gcm::new_from_slice(&key).map_err(|_| StateError::Damaged {
            path,
            reason: format!("a key has {KEY_BYTES} bytes, this file {}", key.len()),
        })
    }

    fn read(&self) -> Result<BTreeMap<String, Secret>, StateError> {
        let key = self.key()?;
        let path = self.folder.secrets();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(StateError::file(&path)(error)),
        };
        let damaged = |reason: &str| StateError::Damaged {
            path: path.clone(),
            reason: reason.to_owned(),
        };
        let sealed: Sealed =
            serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        if sealed.format != FORMAT {
            return Err(damaged(&format!(
                "its format is '{}', expected '{FORMAT}'",
                sealed.format
            )));
        }
        let nonce = STANDARD
            .decode(&sealed.nonce)
            .map_err(|_| damaged("the nonce is not base64"))?;
        let nonce: [u8; NONCE_BYTES] = nonce
            .try_into()
            .map_err(|_| damaged("the nonce has a wrong length"))?;
        let content = STANDARD
            .decode(&sealed.content)
            .map_err(|_| damaged("the content is not base64"))?;
        let plain = key
            .decrypt(
                &Nonce::from(nonce),
                Payload {
                    msg: &content,
                    aad: FORMAT.as_bytes(),
                },
            )
            .map_err(|_| StateError::WrongKey {
                secrets: path.clone(),
                key: self.folder.secrets_key(),
            })?;
        serde_json::from_slice(&plain).map_err(|error| damaged(&error.to_string()))
    }

    fn write(&self, all: &BTreeMap<String, Secret>) -> Result<(), StateError> {
        let path = self.folder.secrets();
        let json = |source| StateError::Json {
            what: "secrets",
            source,
        };
        let plain = serde_json::to_vec(all).map_err(json)?;
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let content = self
            .key()?
            .encrypt(
                &Nonce::from(nonce),
                Payload {
                    msg: &plain,
                    aad: FORMAT.as_bytes(),
                },
            )
            .map_err(|_| StateError::Damaged {
                path: path.clone(),
                reason: "too much to encrypt".into(),
            })?;
        let sealed = Sealed {
            format: FORMAT.into(),
            nonce: STANDARD.encode(nonce),
            content: STANDARD.encode(content),
        };
        let text = serde_json::to_vec_pretty(&sealed).map_err(json)?;
        replace_file(&path, &text).map_err(StateError::file(&path))
    }
}

fn usable(name: &str) -> Result<(), StateError> {
    let usable = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match usable {
        true => Ok(()),
        false => Err(StateError::SecretName(name.to_owned())),
    }
}

fn closed_to_others(file: &File, path: &Path) -> Result<(), StateError> {
    let mode = file
        .metadata()
        .map_err(StateError::file(path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(StateError::OpenToOthers {
            path: path.to_owned(),
            mode,
        })
    }
}

fn random(bytes: &mut [u8]) -> Result<(), StateError> {
    OsRng
        .try_fill_bytes(bytes)
        .map_err(|error| StateError::Random(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(scratch: &Path) -> EnvironmentFolder {
        EnvironmentFolder::create(scratch.join("lab"), "lab").unwrap()
    }

    #[test]
    fn secrets_are_generated_once_and_not_readable_on_disk() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = environment(scratch.path());
        let root = Secrets::open(&folder)
            .unwrap()
            .get_or_generate("mariadb_root")
            .unwrap();
        assert_eq!(root.expose().len(), 32);
        let again = Secrets::open(&folder).unwrap();
        assert_eq!(again.get_or_generate("mariadb_root").unwrap(), root);
        assert_ne!(again.get_or_generate("identity_admin").unwrap(), root);
        assert_eq!(again.names().unwrap(), ["identity_admin", "mariadb_root"]);
        let stored = fs::read_to_string(folder.secrets()).unwrap();
        assert!(!stored.contains(root.expose()) && !stored.contains("mariadb_root"));
        assert!(!format!("{:?} {:?}", again.all().unwrap(), again).contains(root.expose()));
        for file in [folder.secrets(), folder.secrets_key()] {
            assert_eq!(
                fs::metadata(&file).unwrap().permissions().mode() & 0o777,
                0o600,
                "{file:?}"
            );
        }
    }

    #[test]
    fn wrong_missing_and_open_keys_and_altered_files_are_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = environment(scratch.path());
        Secrets::open(&folder)
            .unwrap()
            .get_or_generate("one")
            .unwrap();
        let key = fs::read(folder.secrets_key()).unwrap();

        fs::set_permissions(folder.secrets_key(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Secrets::open(&folder),
            Err(StateError::OpenToOthers { mode: 0o644, .. })
        ));
        fs::set_permissions(folder.secrets_key(), fs::Permissions::from_mode(0o600)).unwrap();

        fs::write(folder.secrets_key(), [7; KEY_BYTES]).unwrap();
        assert!(matches!(
            Secrets::open(&folder),
            Err(StateError::WrongKey { .. })
        ));
        fs::write(folder.secrets_key(), [7; 5]).unwrap();
        assert!(matches!(
            Secrets::open(&folder),
            Err(StateError::Damaged { .. })
        ));
        fs::remove_file(folder.secrets_key()).unwrap();
        assert!(matches!(
            Secrets::open(&folder),
            Err(StateError::KeyMissing { .. })
        ));

        fs::write(folder.secrets_key(), &key).unwrap();
        fs::set_permissions(folder.secrets_key(), fs::Permissions::from_mode(0o600)).unwrap();
        Secrets::open(&folder).unwrap();
        fs::write(folder.secrets(), "{}").unwrap();
        assert!(matches!(
            Secrets::open(&folder),
            Err(StateError::Damaged { .. })
        ));
    }

    #[test]
    fn one_made_elsewhere_is_kept_and_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&environment(scratch.path())).unwrap();
        let other = secrets.get_or_generate("other").unwrap();
        secrets.put("made", "first").unwrap();
        secrets.put("made", "second").unwrap();
        let kept = secrets.get("made").unwrap().unwrap();
        assert_eq!(kept.expose(), "second");
        assert_eq!(secrets.get("other").unwrap(), Some(other));
        assert!(secrets.put("Made", "x").is_err());
    }

    #[test]
    fn names_are_restricted() {
        let scratch = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&environment(scratch.path())).unwrap();
        for name in ["", "Root", "a-b", "1a", "a b", "../x"] {
            assert!(
                matches!(
                    secrets.get_or_generate(name),
                    Err(StateError::SecretName(_))
                ),
                "{name}"
            );
        }
    }
}
