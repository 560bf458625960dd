//! A folder as a store: for example one that every controller has mounted.

use super::{Data, Store, StoreFault};
use async_trait::async_trait;
use futures::StreamExt;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokio_util::io::ReaderStream;

/// Data as files in one folder.
pub struct Folder {
    folder: PathBuf,
}

impl Folder {
    /// Makes the folder.
    pub fn open(folder: PathBuf) -> Result<Folder, String> {
        fs::create_dir_all(&folder)
            .map_err(|error| format!("folder `{}`: {error}", folder.display()))?;
        Ok(Folder { folder })
    }
}

/// Copies aside and gives the name when the copy is durable.
fn copy(from: &Path, folder: &Path, name: &str) -> io::Result<()> {
    let aside = folder.join(format!("{name}.{}", uuid::Uuid::new_v4().simple()));
    let done = fs::copy(from, &aside)
        .and_then(|_| fs::File::open(&aside)?.sync_all())
        .and_then(|()| fs::rename(&aside, folder.join(name)))
        .and_then(|()| fs::File::open(folder)?.sync_all());
    if done.is_err() {
        let _ = fs::remove_file(&aside);
    }
    done
}

#[async_trait]
impl Store for Folder {
    async fn put(&self, name: &str, path: &Path) -> Result<(), StoreFault> {
        let (from, folder, name) = (path.to_owned(), self.folder.clone(), name.to_owned());
        let copied = tokio::task::spawn_blocking(move || copy(&from, &folder, &name)).await;
        copied
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| StoreFault::of("cannot write", error))
    }

    async fn get(&self, name: &str) -> Result<Option<Data>, StoreFault> {
        match tokio::fs::File::open(self.folder.join(name)).await {
            Ok(file) => Ok(Some(ReaderStream::with_capacity(file, 256 << 10).boxed())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreFault::of("cannot read", error)),
        }
    }

    async fn remove(&self, name: &str) -> Result<(), StoreFault> {
        match tokio::fs::remove_file(self.folder.join(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreFault::of("cannot remove", error))
            }
            _ => Ok(()),
        }
    }
}
