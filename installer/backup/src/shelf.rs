//! The folder of all backups of an environment. A backup is made under another name and renamed when it is whole and on
//! the disk, so what has its proper name was once whole.
use crate::manifest::{FILE, Manifest, SUMS};
use crate::{BackupError, pack};
use serde::Serialize;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Ending of the folder's name while a backup is made.
const UNFINISHED: &str = ".unfinished";
/// Longest manifest that is read: some thousands of tables.
const LONGEST: u64 = 16 << 20;

/// `backups/` in the environment's folder, mode 0700.
pub struct Shelf {
    root: PathBuf,
    environment: String,
}

/// A line of `wright backup list`.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub id: String,
    /// `whole`, `unfinished`, or what is wrong.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

impl Shelf {
    pub fn new(root: PathBuf, environment: &str) -> Self {
        Shelf {
            root,
            environment: environment.to_owned(),
        }
    }

    /// Begins a backup. What an earlier one that broke off has left is removed: the caller holds the lock, so nobody is
    /// writing there.
    pub fn begin(&self, id: &str) -> Result<Draft, BackupError> {
        let folder = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(BackupError::file(path))
        };
        folder(&self.root)?;
        for name in self
            .names()?
            .iter()
            .filter(|name| name.ends_with(UNFINISHED))
        {
            let path = self.root.join(name);
            fs::remove_dir_all(&path).map_err(BackupError::file(&path))?;
        }
        if self.root.join(id).exists() {
            return Err(BackupError::Refused(format!(
                "there is a backup `{id}` already; try again in a second"
            )));
        }
        let path = self.root.join(format!("{id}{UNFINISHED}"));
        folder(&path)?;
        Ok(Draft {
            path,
            whole: self.root.join(id),
            is_whole: false,
        })
    }

    /// All of them, the oldest first. Looks at names and sizes; sums are [`Shelf::check`]'s.
    pub fn list(&self) -> Result<Vec<Entry>, BackupError> {
        let entry = |name: String| match name.strip_suffix(UNFINISHED) {
            Some(id) => Entry {
                id: id.to_owned(),
                state: "unfinished".to_owned(),
                manifest: None,
            },
            None => match self
                .open(&name)
                .and_then(|manifest| self.sizes(&manifest).map(|()| manifest))
            {
                Ok(manifest) => Entry {
                    id: name,
                    state: "whole".to_owned(),
                    manifest: Some(manifest),
                },
                Err(error) => Entry {
                    id: name,
                    state: error.to_string(),
                    manifest: None,
                },
            },
        };
        Ok(self.names()?.into_iter().map(entry).collect())
    }

    /// The newest whole one.
    pub fn newest(&self) -> Result<String, BackupError> {
        let whole = self
            .list()?
            .into_iter()
            .rev()
            .find(|entry| entry.manifest.is_some());
        whole.map(|entry| entry.id).ok_or_else(|| {
            BackupError::Refused(
                "there is no whole backup yet: `wright backup create` makes one".to_owned(),
            )
        })
    }

    /// The manifest of a backup of this environment.
    ///
    /// # Errors
    /// There is none, it is unfinished, was altered, or is another environment's.
    pub fn open(&self, id: &str) -> Result<Manifest, BackupError> {
        let is_name = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let path = self.root.join(id);
        if !is_name || !path.is_dir() {
            return Err(
                match is_name && self.root.join(format!("{id}{UNFINISHED}")).exists() {
                    true => BackupError::Unfinished(id.to_owned()),
                    false => BackupError::Unknown(id.to_owned()),
                },
            );
        }
        let text = |name: &str| match read(&path.join(name)) {
            Err(BackupError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Err(BackupError::Damaged {
                    id: id.to_owned(),
                    reason: format!("`{name}` is missing"),
                })
            }
            other => other,
        };
        let manifest = Manifest::parse(id, &text(FILE)?, &text(SUMS)?)?;
        if manifest.environment != self.environment {
            return Err(BackupError::OtherEnvironment {
                id: id.to_owned(),
                found: manifest.environment,
                wanted: self.environment.clone(),
            });
        }
        Ok(manifest)
    }

    pub fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    fn sizes(&self, manifest: &Manifest) -> Result<(), BackupError> {
        for part in &manifest.parts {
            let path = self.folder(&manifest.id).join(&part.file);
            let found = fs::metadata(&path).map(|found| found.len());
            if found.ok() != Some(part.bytes) {
                return Err(BackupError::Damaged {
                    id: manifest.id.clone(),
                    reason: format!("`{}` is missing or of another size", part.file),
                });
            }
        }
        Ok(())
    }

    /// Reads every file and compares its sum.
    pub fn check(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let folder = self.folder(&manifest.id);
        manifest
            .parts
            .iter()
            .try_for_each(|part| pack::check(&manifest.id, &folder, part))
    }

    /// Removes all whole backups but the newest `keep`; the ids of those that were removed. What is not whole is left for
    /// people to look at.
    pub fn prune(&self, keep: usize) -> Result<Vec<String>, BackupError> {
        let whole = self
            .list()?
            .into_iter()
            .filter(|entry| entry.manifest.is_some());
        let mut ids: Vec<String> = whole.map(|entry| entry.id).collect();
        ids.truncate(ids.len().saturating_sub(keep));
        for id in &ids {
            // Renamed first: one that is removed by half must not look whole.
            let (path, dying) = (
                self.root.join(id),
                self.root.join(format!("{id}{UNFINISHED}")),
            );
            fs::rename(&path, &dying).map_err(BackupError::file(&path))?;
            fs::remove_dir_all(&dying).map_err(BackupError::file(&dying))?;
        }
        Ok(ids)
    }

    fn names(&self) -> Result<Vec<String>, BackupError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(BackupError::file(&self.root)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(BackupError::file(&self.root))?;
            if entry.path().is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

fn read(path: &Path) -> Result<String, BackupError> {
    let mut text = String::new();
    let file = File::open(path).map_err(BackupError::file(path))?;
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(BackupError::file(path))?;
    Ok(text)
}

/// A backup that is being made; removed again unless it is [`Draft::finish`]ed.
pub struct Draft {
    path: PathBuf,
    whole: PathBuf,
    is_whole: bool,
}

impl Draft {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the manifest and gives the backup its name.
    pub fn finish(mut self, manifest: &Manifest) -> Result<(), BackupError> {
        let (text, sums) = manifest.to_texts().map_err(|error| {
            BackupError::Refused(format!("the manifest cannot be written: {error}"))
        })?;
        for (name, text) in [(FILE, text), (SUMS, sums)] {
            let path = self.path.join(name);
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.sync_all())
            })
            .map_err(BackupError::file(&path))?;
        }
        let sync = |path: &Path| {
            File::open(path)
                .and_then(|folder| folder.sync_all())
                .map_err(BackupError::file(path))
        };
        sync(&self.path)?;
        fs::rename(&self.path, &self.whole).map_err(BackupError::file(&self.whole))?;
        self.is_whole = true;
        self.whole.parent().map_or(Ok(()), sync)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_whole {
            // What is left then has the name of an unfinished one, and the next backup removes it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::some;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().join("backups"), "lab");
        (folder, shelf)
    }

    fn make(shelf: &Shelf, id: &str) {
        let draft = shelf.begin(id).unwrap();
        let mut manifest = some(id);
        manifest.parts = vec![
            pack::pack(
                draft.path(),
                "a.zst",
                crate::manifest::Kind::Physical,
                &mut &b"data"[..],
            )
            .unwrap(),
        ];
        draft.finish(&manifest).unwrap();
    }

    #[test]
    fn backups_are_made_listed_and_pruned() {
        let (_kept, shelf) = shelf();
        assert!(shelf.list().unwrap().is_empty());
        for id in ["1", "2", "3"] {
            make(&shelf, id);
        }
        let manifest = shelf.open("2").unwrap();
        shelf.check(&manifest).unwrap();
        assert_eq!(shelf.prune(2).unwrap(), ["1"]);
        assert_eq!(shelf.prune(2).unwrap(), Vec::<String>::new());
        assert_eq!(shelf.newest().unwrap(), "3");
        assert!(shelf.begin("3").is_err());
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing_and_one_that_was_killed_is_no_backup() {
        let (_kept, shelf) = shelf();
        drop(shelf.begin("1").unwrap());
        assert!(shelf.list().unwrap().is_empty());
        std::mem::forget(shelf.begin("2").unwrap());
        assert_eq!(shelf.list().unwrap()[0].state, "unfinished");
        insta::assert_snapshot!(shelf.open("2").unwrap_err(), @"backup `2` is unfinished: it broke off while it was made. Take another one");
        make(&shelf, "3");
        assert_eq!(shelf.list().unwrap().len(), 1);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let (kept, shelf) = shelf();
        make(&shelf, "1");
        let other = Shelf::new(kept.path().join("backups"), "datacenter");
        insta::assert_snapshot!(other.open("1").unwrap_err(), @"backup `1` is of the environment `lab`, not of `datacenter`");
        insta::assert_snapshot!(shelf.open("../1").unwrap_err(), @"there is no backup `../1`; `wright backup list` shows all");
        fs::remove_file(shelf.folder("1").join(FILE)).unwrap();
        insta::assert_snapshot!(shelf.open("1").unwrap_err(), @"backup `1` is damaged or was altered: `manifest.json` is missing. Take another one");
    }
}
