//! The keys that tokens are made with: read from their folder, and again when they were replaced there, so that a rotation
//! restarts nothing. Who rotates them: `wright secrets rotate identity`. Does not know what is encrypted.

use super::fernet::Fernet;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

/// The files of the folder: name, time of the last change, length.
type Seen = Vec<(std::ffi::OsString, Option<SystemTime>, u64)>;

/// All keys at hand now.
pub struct TokenKeys {
    folder: PathBuf,
    current: RwLock<(Option<Seen>, Arc<Fernet>)>,
}

impl TokenKeys {
    /// Reads the keys of a folder; makes the first when there is none.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let fernet = Fernet::open(folder)?;
        Ok(TokenKeys {
            folder: folder.to_owned(),
            // What came after the keys were read is found at the next look.
            current: RwLock::new((None, Arc::new(fernet))),
        })
    }

    /// Takes what is new in the folder; on an error the keys stay as they are.
    pub fn look_again(&self) -> io::Result<()> {
        let seen = look(&self.folder)?;
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if Some(&seen) == known.0.as_ref() {
            return Ok(());
        }
        drop(known);
        // Never one of its own: the other controllers would not know it.
        let fernet = Arc::new(Fernet::read(&self.folder)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (Some(seen), fernet);
        Ok(())
    }

    /// As [`Fernet::encrypt`], with the newest key.
    pub fn encrypt(&self, plain: &[u8], now: u64) -> String {
        self.newest().encrypt(plain, now)
    }

    /// As [`Fernet::decrypt`], with any key.
    pub fn decrypt(&self, text: &str) -> Option<Vec<u8>> {
        self.newest().decrypt(text)
    }

    fn newest(&self) -> Arc<Fernet> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.1)
    }
}

fn look(folder: &Path) -> io::Result<Seen> {
    let mut seen = Seen::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that is gone again is seen at the next look.
        if let Ok(metadata) = entry.metadata() {
            seen.push((entry.file_name(), metadata.modified().ok(), metadata.len()));
        }
    }
    seen.sort();
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const STAGED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEXT: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

    #[test]
    fn no_token_is_lost_while_controllers_take_new_keys_one_after_the_other() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let write = |folder: &Path, files: &[(&str, &str)]| {
            for (name, key) in files {
                fs::write(folder.join(name), key).unwrap();
            }
        };
        for folder in &folders {
            write(folder.path(), &[("1", OLD), ("0", STAGED)]);
        }
        let [first, second] = [0, 1].map(|n| TokenKeys::open(folders[n].path()).unwrap());
        let before = first.encrypt(b"before", 1);
        // The staged key becomes the newest on one controller, and the other has it as the staged one.
        write(folders[0].path(), &[("2", STAGED), ("0", NEXT)]);
        first.look_again().unwrap();
        let between = first.encrypt(b"between", 2);
        assert_eq!(second.decrypt(&between).as_deref(), Some(&b"between"[..]));
        write(folders[1].path(), &[("2", STAGED), ("0", NEXT)]);
        second.look_again().unwrap();
        for keys in [&first, &second] {
            assert_eq!(keys.decrypt(&before).as_deref(), Some(&b"before"[..]));
        }
        // A key that is taken away opens nothing any more.
        fs::remove_file(folders[0].path().join("1")).unwrap();
        first.look_again().unwrap();
        assert_eq!(first.decrypt(&before), None);
        assert_eq!(second.decrypt(&before).as_deref(), Some(&b"before"[..]));
    }

    #[test]
    fn what_is_no_key_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keys = TokenKeys::open(folder.path()).unwrap();
        let token = keys.encrypt(b"payload", 1);
        fs::write(folder.path().join("2"), "half a k").unwrap();
        assert!(keys.look_again().is_err());
        assert_eq!(keys.decrypt(&token).as_deref(), Some(&b"payload"[..]));
        for name in ["1", "2"] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        assert!(keys.look_again().is_err());
        assert_eq!(keys.decrypt(&token).as_deref(), Some(&b"payload"[..]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
