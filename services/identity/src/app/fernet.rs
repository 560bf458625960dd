//! Fernet (<https://github.com/fernet/spec>): AES-128-CBC with HMAC-SHA-256, keys in a folder.
//!
//! The key with the highest number encrypts; all of them decrypt. Does not know what it encrypts.

use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use base64::{
    Engine,
    engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD},
};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};
use subtle::ConstantTimeEq;

const VERSION: u8 = 0x80;

#[derive(Clone)]
struct Key {
    signing: [u8; 16],
    encryption: [u8; 16],
}

impl Key {
    fn from_text(text: &str) -> Option<Key> {
        let bytes = URL_SAFE.decode(text.trim()).ok()?;
        Some(Key {
            signing: bytes.get(..16)?.try_into().ok()?,
            encryption: bytes.get(16..32)?.try_into().ok()?,
        })
    }
}

/// The keys at hand, newest first.
#[derive(Clone)]
pub struct Fernet {
    keys: Vec<Key>,
}

impl Fernet {
    /// Reads the keys of a folder (files `0`, `1`, ...); makes the first when there is none.
    pub fn open(folder: &Path) -> io::Result<Fernet> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        match Self::read(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        let text = URL_SAFE.encode(rand::random::<[u8; 32]>());
        // `create_new`: of two that start at once, one makes the key and the other reads it.
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("1"));
        match made {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Self::read(folder)
    }

    /// One key, derived from a secret; `purpose` keeps keys apart that come from the same secret (RFC 5869).
    pub fn derived(secret: &[u8], purpose: &str) -> Fernet {
        let mut signing = [0; 16];
        let mut encryption = [0; 16];
        let hkdf = Hkdf::<Sha256>::new(None, secret);
        for (part, out) in [("signing", &mut signing), ("encryption", &mut encryption)] {
            hkdf.expand_multi_info(&[purpose.as_bytes(), b"/", part.as_bytes()], out)
                .expect("HKDF gives up to 255 blocks");
        }
        Fernet {
            keys: vec![Key {
                signing,
                encryption,
            }],
        }
    }

    /// Reads the keys of a folder; where there is none, the error is `NotFound`.
    pub fn read(folder: &Path) -> io::Result<Fernet> {
        let mut numbered = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok())
            else {
                continue;
            };
            let key = Key::from_text(&fs::read_to_string(entry.path())?).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("`{}` is no Fernet key", entry.path().display()),
                )
            })?;
            numbered.push((number, key));
        }
        if numbered.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no Fernet key in `{}`", folder.display()),
            ));
        }
        numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Ok(Fernet {
            keys: numbered.into_iter().map(|(_, key)| key).collect(),
        })
    }

    /// Encrypts; the text has no padding signs, as Keystone's tokens.
    pub fn encrypt(&self, plain: &[u8], now: u64) -> String {
        let iv: [u8; 16] = rand::random();
        self.encrypt_with(plain, now, iv)
    }

    fn encrypt_with(&self, plain: &[u8], now: u64, iv: [u8; 16]) -> String {
        // `open` never gives an empty list.
        let Some(key) = self.keys.first() else {
            return String::new();
        };
        let mut token = Vec::with_capacity(73 + plain.len());
        token.push(VERSION);
        token.extend_from_slice(&now.to_be_bytes());
        token.extend_from_slice(&iv);
        let cipher = cbc::Encryptor::<aes::Aes128>::new(&key.encryption.into(), &iv.into());
        // PKCS #7 adds 1 to 16 bytes.
        let mut buffer = plain.to_vec();
        buffer.resize(plain.len() / 16 * 16 + 16, 0);
        let text = cipher.encrypt_padded::<Pkcs7>(&mut buffer, plain.len());
        token.extend_from_slice(text.expect("the buffer has room for the padding"));
        token.extend_from_slice(&sign(key, &token));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Decrypts what one of the keys has encrypted and nobody has changed.
    pub fn decrypt(&self, text: &str) -> Option<Vec<u8>> {
        let token = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        // Version, time, IV, at least one block, signature.
        if token.len() < 1 + 8 + 16 + 16 + 32 || token[0] != VERSION {
            return None;
        }
        let (signed, signature) = token.split_at(token.len() - 32);
        let iv: [u8; 16] = signed[9..25].try_into().ok()?;
        self.keys.iter().find_map(|key| {
            // The signature first: an unsigned text must not reach the padding check.
            if !bool::from(sign(key, signed).as_slice().ct_eq(signature)) {
                return None;
            }
            let cipher = cbc::Decryptor::<aes::Aes128>::new(&key.encryption.into(), &iv.into());
            let mut buffer = signed[25..].to_vec();
            cipher
                .decrypt_padded::<Pkcs7>(&mut buffer)
                .map(<[u8]>::to_vec)
                .ok()
        })
    }
}

fn sign(key: &Key, bytes: &[u8]) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&key.signing).expect("HMAC takes keys of any length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the specification (`generate.json`, `verify.json`).
    #[test]
    fn agrees_with_the_specification() {
        let key = Key::from_text("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=").unwrap();
        let fernet = Fernet { keys: vec![key] };
        let iv: [u8; 16] = std::array::from_fn(|i| i as u8);
        let token = fernet.encrypt_with(b"hello", 499_162_800, iv);
        assert_eq!(
            token,
            "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA"
        );
        assert_eq!(fernet.decrypt(&token).as_deref(), Some(&b"hello"[..]));
        assert_eq!(
            fernet.decrypt(&format!("{token}==")).as_deref(),
            Some(&b"hello"[..])
        );
    }

    #[test]
    fn a_derived_key_depends_on_secret_and_purpose() {
        let text = Fernet::derived(b"secret", "a").encrypt(b"payload", 1);
        let open = |secret: &[u8], purpose| Fernet::derived(secret, purpose).decrypt(&text);
        assert_eq!(open(b"secret", "a").as_deref(), Some(&b"payload"[..]));
        assert_eq!(open(b"secret", "b"), None);
        assert_eq!(open(b"Secret", "a"), None);
    }

    #[test]
    fn refuses_anything_changed() {
        let folder = tempfile::tempdir().unwrap();
        let fernet = Fernet::open(folder.path()).unwrap();
        let token = fernet.encrypt(b"payload", 1);
        for at in 0..token.len() - 1 {
            let mut changed: Vec<u8> = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                fernet.decrypt(&String::from_utf8(changed).unwrap()),
                None,
                "byte {at}"
            );
        }
        assert_eq!(
            Fernet::open(folder.path())
                .unwrap()
                .decrypt(&token)
                .as_deref(),
            Some(&b"payload"[..])
        );
    }
}
