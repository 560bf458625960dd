//! The folder of built things. Each is made in a partial folder and renamed when it is whole, under a lock
//! that a dead process does not hold; so a killed build leaves nothing that is ever used.
use std::{
    fs::{self, File, FileTimes, OpenOptions},
    path::{Path, PathBuf},
    time::SystemTime,
};

use nix::fcntl::{Flock, FlockArg};

use super::error::{At, ImageError};

/// How many versions of one thing are kept; older ones are removed when a new one was built. Environments share
/// the cache, and each may have its own.
const VERSIONS_KEPT: usize = 3;

/// A cache folder, for example `/var/cache/wright`.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        fs::create_dir_all(root.join("logs")).at("make", root)?;
        Ok(Self {
            root: fs::canonicalize(root).at("open", root)?,
        })
    }

    /// The log that programs run for `name` write to.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Holds the cache against other builders until the guard is dropped; `waiting` is called when
    /// another one has it.
    ///
    /// # Errors
    /// When the lock file cannot be opened or locked.
    pub fn lock(&self, waiting: impl FnOnce()) -> Result<Flock<File>, ImageError> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at("open", &path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(guard) => Ok(guard),
            Err((file, _)) => {
                waiting();
                Flock::lock(file, FlockArg::LockExclusive)
                    .map_err(|(_, e)| e.into())
                    .at("lock", &path)
            }
        }
    }

    /// The folder of version `key` of `name`, if it was built.
    pub fn find(&self, name: &str, key: &str) -> Option<PathBuf> {
        let folder = self.root.join(format!("{name}-{key}"));
        folder.is_dir().then(|| {
            // The time of last use decides which versions are kept; failing to note it does no harm.
            let now = FileTimes::new().set_modified(SystemTime::now());
            let _ = File::open(&folder).and_then(|f| f.set_times(now));
            folder
        })
    }

    /// Gives the folder of version `key` of `name`; `make` fills it when it is not there. The caller holds the lock.
    ///
    /// # Errors
    /// What `make` fails with; then nothing is left behind.
    pub fn produce(
        &self,
        name: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<(), ImageError>,
    ) -> Result<PathBuf, ImageError> {
        if let Some(folder) = self.find(name, key) {
            return Ok(folder);
        }
        let partial = self.root.join(format!(".partial-{name}"));
        remove(&partial)?;
        fs::create_dir_all(&partial).at("make", &partial)?;
        if let Err(error) = make(&partial) {
            remove(&partial)?;
            return Err(error);
        }
        let folder = self.root.join(format!("{name}-{key}"));
        fs::rename(&partial, &folder).at("rename", &partial)?;
        self.prune(name)?;
        Ok(folder)
    }

    fn prune(&self, name: &str) -> Result<(), ImageError> {
        let mut versions = Vec::new();
        for entry in fs::read_dir(&self.root).at("read", &self.root)?.flatten() {
            let file = entry.file_name();
            let key = file
                .to_str()
                .and_then(|f| f.strip_prefix(name))
                .and_then(|f| f.strip_prefix('-'));
            if key.is_some_and(|key| key.len() == super::recipe::KEY_DIGITS && !key.contains('-')) {
                let used = entry
                    .metadata()
                    .and_then(|m| m.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                versions.push((used, entry.path()));
            }
        }
        versions.sort();
        let surplus = versions.len().saturating_sub(VERSIONS_KEPT);
        versions
            .into_iter()
            .take(surplus)
            .try_for_each(|(_, folder)| remove(&folder))
    }
}

fn remove(folder: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("remove", folder)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> String {
        format!("{n:016x}")
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let made = cache
            .produce("base", &key(1), |p| {
                fs::write(p.join("x"), "1").at("write", p)
            })
            .unwrap();
        let again = cache
            .produce("base", &key(1), |_| panic!("made twice"))
            .unwrap();
        assert_eq!(
            (made.clone(), "1".to_string()),
            (again, fs::read_to_string(made.join("x")).unwrap())
        );
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let failed = cache.produce("base", &key(1), |_| Err(ImageError::NotRoot));
        assert!(failed.is_err() && cache.find("base", &key(1)).is_none());
        assert!(!folder.path().join(".partial-base").exists());
    }

    #[test]
    fn old_versions_go_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.produce("base-x", &key(9), |_| Ok(())).unwrap();
        for n in 1..=4 {
            cache.produce("base", &key(n), |_| Ok(())).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let left: Vec<bool> = (1..=4)
            .map(|n| cache.find("base", &key(n)).is_some())
            .collect();
        assert_eq!(left, [false, true, true, true]);
        assert!(cache.find("base-x", &key(9)).is_some());
    }
}
