//! The world that a plan is made in, as hashes: another inventory or another role is another world.
use crate::error::CommandError;
use crate::settings::Settings;
use anyhow::Context;
use sha2::{Digest, Sha256};
use state::Store;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use task_engine::parse::Playbook;
use task_engine::plan_file::World;

/// The world as it is now.
pub async fn now(
    settings: &Settings,
    store: &Store,
    playbook: &Playbook,
) -> Result<World, CommandError> {
    let mut inventory = BTreeSet::new();
    files_below(&settings.inventory_dir, &mut inventory)
        .with_context(|| format!("cannot read `{}`", settings.inventory_dir.display()))?;
    Ok(World {
        inventory_sha256: hash(&settings.inventory_dir, &inventory)?,
        roles_sha256: roles(playbook)?,
        state_generation: store.generation().await.map_err(anyhow::Error::from)?,
    })
}

/// Of the playbooks, of everything in their roles, and of what lies beside for tasks of plays.
fn roles(playbook: &Playbook) -> anyhow::Result<String> {
    let mut files = BTreeSet::new();
    let read = |path: &Path| format!("cannot read `{}`", path.display());
    for role in playbook.roles.values() {
        files_below(&role.path, &mut files).with_context(|| read(&role.path))?;
    }
    for beside in ["templates", "files", "tasks", "vars"] {
        let path = playbook.folder.join(beside);
        if path.is_dir() {
            files_below(&path, &mut files).with_context(|| read(&path))?;
        }
    }
    files.extend(playbook.files.keys().cloned());
    let folder = match playbook.folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => &playbook.folder,
    };
    for entry in folder.read_dir().with_context(|| read(folder))? {
        let path = entry?.path();
        if path.is_file()
            && path
                .extension()
                .is_some_and(|end| end == "yml" || end == "yaml")
        {
            files.insert(path);
        }
    }
    hash(&playbook.folder, &files)
}

fn files_below(folder: &Path, out: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, out)?;
        } else {
            out.insert(path);
        }
    }
    Ok(())
}

/// Of names, below `root` where they are, and contents.
fn hash(root: &Path, files: &BTreeSet<PathBuf>) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    for path in files {
        let content =
            std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(path);
        digest.update(name.as_os_str().as_encoded_bytes());
        digest.update((content.len() as u64).to_be_bytes());
        digest.update([0]);
        digest.update(content);
    }
    Ok(hex::encode(digest.finalize()))
}
