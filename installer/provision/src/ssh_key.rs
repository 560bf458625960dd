//! The environment's SSH key pair, made once: nodes get the public part, the deployment host keeps the private.
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use rand::TryRngCore;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey, load_secret_key};
use state::EnvironmentFolder;
use state::folder::replace_file;

/// Why there is no key pair.
#[derive(Debug, thiserror::Error)]
pub enum SshKeyError {
    #[error("SSH key {path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("SSH key {path}: {reason}")]
    Key { path: PathBuf, reason: String },
}

/// A node's host key as it is kept, from the line that the node reports: through the parser, so that neither a comment nor
/// a second line can come into a known-hosts file. `None`: it is no key.
#[must_use]
pub fn host_key(reported: &str) -> Option<String> {
    let mut key = PublicKey::from_openssh(reported.trim()).ok()?;
    key.set_comment("");
    key.to_openssh().ok()
}

/// The public key, one OpenSSH line; makes the pair in `ssh/` of the environment's folder if there is none.
///
/// # Errors
/// When a key cannot be read, made or written.
pub fn ensure(folder: &EnvironmentFolder) -> Result<String, SshKeyError> {
    let path = folder.ssh_key();
    let key = |reason: String| SshKeyError::Key {
        path: path.clone(),
        reason,
    };
    let file = |source| SshKeyError::File {
        path: path.clone(),
        source,
    };
    let private = match fs::metadata(&path) {
        Ok(_) => load_secret_key(&path, None).map_err(|error| key(error.to_string()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut seed = [0; 32];
            rand::rngs::OsRng
                .try_fill_bytes(&mut seed)
                .map_err(|error| key(error.to_string()))?;
            let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
            let comment = format!("wright-{}", folder.environment());
            let private = PrivateKey::new(pair, comment).map_err(|error| key(error.to_string()))?;
            let text = private
                .to_openssh(LineEnding::LF)
                .map_err(|error| key(error.to_string()))?;
            replace_file(&path, text.as_bytes()).map_err(file)?;
            private
        }
        Err(error) => return Err(file(error)),
    };
    let public = private
        .public_key()
        .to_openssh()
        .map_err(|error| key(error.to_string()))?;
    let beside = path.with_extension("pub");
    replace_file(&beside, format!("{public}\n").as_bytes()).map_err(|source| {
        SshKeyError::File {
            path: beside,
            source,
        }
    })?;
    Ok(public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_for_good() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
        let public = ensure(&folder).unwrap();
        assert!(
            public.starts_with("ssh-ed25519 AAAA") && public.ends_with(" wright-lab"),
            "{public}"
        );
        assert_eq!(ensure(&folder).unwrap(), public);
        fs::write(folder.ssh_key(), "garbage").unwrap();
        assert!(ensure(&folder).is_err());
    }
}
