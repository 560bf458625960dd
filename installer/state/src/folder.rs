//! The folder of an environment: its paths and permissions, and writing a file so that a crash leaves the old
//! one or the new one, never a half.
//!
//! Deliberately not here: what stands in the files.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::StateError;

/// `/var/lib/wright/<env>` or its user's counterpart; mode 0700, as are the folders in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentFolder {
    root: PathBuf,
    environment: String,
}

impl EnvironmentFolder {
    /// Makes the folder and the ones in it where they are missing, and closes them to others.
    ///
    /// # Errors
    /// When a folder cannot be made or its permissions cannot be set.
    pub fn create(
        root: impl Into<PathBuf>,
        environment: impl Into<String>,
    ) -> Result<Self, StateError> {
        let folder = Self {
            root: root.into(),
            environment: environment.into(),
        };
        for path in [folder.root.clone(), folder.ssh(), folder.logs()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(StateError::file(&path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
                .map_err(StateError::file(&path))?;
        }
        Ok(folder)
    }

    /// The folder of an environment that exists already; `None` when nothing was ever done with it.
    #[must_use]
    pub fn existing(root: impl Into<PathBuf>, environment: impl Into<String>) -> Option<Self> {
        let root = root.into();
        root.is_dir().then(|| Self {
            root,
            environment: environment.into(),
        })
    }

    /// Where environments lie unless the user says otherwise: `/var/lib/wright/<env>` for root, else
    /// `$XDG_STATE_HOME/wright/<env>` or `~/.local/state/wright/<env>`.
    #[must_use]
    pub fn default_root(environment: &str) -> PathBuf {
        let base = if nix::unistd::geteuid().is_root() {
            PathBuf::from("/var/lib")
        } else {
            let absolute = |name: &str| {
                std::env::var_os(name)
                    .map(PathBuf::from)
                    .filter(|path| path.is_absolute())
            };
            absolute("XDG_STATE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
                .unwrap_or_else(|| PathBuf::from("/var/lib"))
        };
        base.join("wright").join(environment)
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The environment's name, for example `lab`.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets.enc")
    }

    #[must_use]
    pub fn secrets_key(&self) -> PathBuf {
        self.root.join("secrets.key")
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    #[must_use]
    pub fn openrc(&self) -> PathBuf {
        self.root.join("openrc")
    }

    /// The certificate of the environment's authority.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    #[must_use]
    pub fn ssh(&self) -> PathBuf {
        self.root.join("ssh")
    }

    /// The environment's private key; the public one lies beside it with `.pub`.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.ssh().join("id_ed25519")
    }

    #[must_use]
    pub(crate) fn lock(&self, purpose: &str) -> PathBuf {
        self.root.join(format!("{purpose}.lock"))
    }
}

/// Replaces a file by another of mode 0600: written beside it, synced, renamed over it, the folder synced.
///
/// # Errors
/// As the system calls; the old file then stands unchanged.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_closed_to_others_and_made_again_without_fuss() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("a/lab");
        for _ in 0..2 {
            let folder = EnvironmentFolder::create(&root, "lab").unwrap();
            for path in [folder.root(), &folder.ssh(), &folder.logs()] {
                assert_eq!(
                    fs::metadata(path).unwrap().permissions().mode() & 0o777,
                    0o700,
                    "{path:?}"
                );
            }
        }
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("openrc");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
