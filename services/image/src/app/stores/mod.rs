//! Where the data of images are kept: the controllers' own files, and what an operator names beside or instead of them.
//!
//! Everything that comes is first written to the controllers' own files, with its digests; only whole data go to a store
//! elsewhere. Does not know the images' rows, nor who may see them.

mod common;
mod folder;
mod s3;
mod sigv4;
mod swift;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Letters of all stores' names, with a comma after each: an image names all that have it.
const LONGEST: usize = 1024;

/// Data on their way.
pub type Data = BoxStream<'static, io::Result<Bytes>>;

/// A store did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreFault(pub String);

impl StoreFault {
    /// With what was tried.
    pub fn of(what: &str, error: impl std::fmt::Display) -> Self {
        StoreFault(format!("{what}: {error}"))
    }
}

/// A place for data that is not the controllers' own files. Names are those of [`super::files::name`].
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps what is in the file at `path`, durably; what is there by that name is the same.
    async fn put(&self, name: &str, path: &Path) -> Result<(), StoreFault>;
    /// The data, if they are there.
    async fn get(&self, name: &str) -> Result<Option<Data>, StoreFault>;
    /// Removes the data; none is no fault.
    async fn remove(&self, name: &str) -> Result<(), StoreFault>;
}

/// `[stores.NAME]`
#[derive(Debug, Clone)]
pub struct StoreConfig {
    common: Common,
    kind: KindConfig,
}

impl<'de> Deserialize<'de> for StoreConfig {
    /// In two steps: a part that is read into the whole would take unknown keys for its own.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut own = toml::Table::deserialize(from)?;
        let mut common = toml::Table::new();
        for name in COMMON {
            common.extend(own.remove_entry(name));
        }
        Ok(StoreConfig {
            common: common.try_into().map_err(D::Error::custom)?,
            kind: own.try_into().map_err(D::Error::custom)?,
        })
    }
}

/// What is its kind's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum KindConfig {
    /// Files: those of the controllers, or another folder that every controller sees.
    File(FileConfig),
    /// Objects by Amazon's protocol.
    S3(s3::S3Config),
    /// Objects by OpenStack's protocol.
    Swift(swift::SwiftConfig),
}

/// `[stores.NAME]` of type `file`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Another folder; without, the controllers' own files as `[images]` says.
    pub folder: Option<PathBuf>,
}

/// The keys of [`Common`].
const COMMON: [&str; 3] = ["default", "description", "weight"];

/// What every kind of store has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Common {
    /// Whether data go here unless somebody says where.
    pub default: bool,
    /// For people.
    pub description: String,
    /// Data that several stores have are read from the one with the greatest weight.
    pub weight: i64,
}

/// A store with its name.
pub struct Named {
    /// As users say it.
    pub name: String,
    /// `file`, `s3`, `swift`.
    pub kind: &'static str,
    /// What every kind has.
    pub common: Common,
    /// None: the controllers' own files.
    pub store: Option<Arc<dyn Store>>,
}

/// All stores, at least one.
pub struct Stores {
    all: Vec<Named>,
    default: usize,
}

impl Stores {
    /// From `[stores]`; when it names none, the controllers' own files are the store `file`.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn open(config: BTreeMap<String, StoreConfig>) -> Result<Stores, String> {
        let mut all = Vec::new();
        for (name, store) in config {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                return Err(format!(
                    "[stores.{name}]: a store's name has at most 64 letters, digits, `-` and `_`"
                ));
            }
            let named = open(&name, store).map_err(|error| format!("[stores.{name}] {error}"))?;
            all.push(named);
        }
        if all.is_empty() {
            all.push(Named {
                name: "file".to_owned(),
                kind: "file",
                common: Common::default(),
                store: None,
            });
        }
        if all.iter().filter(|store| store.store.is_none()).count() > 1 {
            return Err(
                "[stores] only one store of type file can be without a folder of its own"
                    .to_owned(),
            );
        }
        if all.iter().map(|store| store.name.len() + 1).sum::<usize>() > LONGEST {
            return Err(format!(
                "[stores] all names together are longer than {LONGEST}"
            ));
        }
        let chosen: Vec<usize> = (0..all.len())
            .filter(|at| all[*at].common.default)
            .collect();
        let default = match chosen.as_slice() {
            [one] => *one,
            [] if all.len() == 1 => 0,
            _ => {
                return Err("[stores] exactly one of several needs `default = true`".to_owned());
            }
        };
        Ok(Stores { all, default })
    }

    /// In the order of their names.
    pub fn all(&self) -> &[Named] {
        &self.all
    }

    /// Where data go unless somebody says where.
    pub fn default(&self) -> &Named {
        &self.all[self.default]
    }

    /// By its name.
    pub fn get(&self, name: &str) -> Option<&Named> {
        self.all.iter().find(|store| store.name == name)
    }

    /// The name under which the controllers' own files are offered, if they are.
    pub fn own(&self) -> Option<&str> {
        let own = self.all.iter().find(|store| store.store.is_none());
        own.map(|store| store.name.as_str())
    }
}

/// A fault with its causes: the outermost of them says little.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        inner = cause.source();
    }
    text
}

fn open(name: &str, config: StoreConfig) -> Result<Named, String> {
    let (kind, store): (_, Option<Arc<dyn Store>>) = match config.kind {
        KindConfig::File(FileConfig { folder: None }) => ("file", None),
        KindConfig::File(FileConfig { folder: Some(at) }) => {
            ("file", Some(Arc::new(folder::Folder::open(at)?)))
        }
        KindConfig::S3(config) => ("s3", Some(Arc::new(s3::S3::open(config)?))),
        KindConfig::Swift(config) => ("swift", Some(Arc::new(swift::Swift::open(config)?))),
    };
    Ok(Named {
        name: name.to_owned(),
        kind,
        common: config.common,
        store,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(text: &str) -> Result<Stores, String> {
        Stores::open(toml::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn one_store_needs_no_words_and_several_need_a_default() {
        let none = stores("").unwrap();
        assert_eq!(
            (none.default().name.as_str(), none.own()),
            ("file", Some("file"))
        );
        let one = stores("[disk]\ntype = 'file'\n").unwrap();
        assert_eq!(
            (one.default().name.as_str(), one.own()),
            ("disk", Some("disk"))
        );
        for (wrong, told) in [
            (
                "[a]\ntype = 'file'\n[b]\ntype = 'file'\n",
                "without a folder",
            ),
            ("[a]\ntype = 'tape'\n", "tape"),
            ("['a b']\ntype = 'file'\n", "letters"),
            ("[a]\ntype = 'file'\ncolour = 'red'\n", "colour"),
            ("[a]\ntype = 'file'\nweight = 'much'\n", "weight"),
            ("[a]\nweight = 1\n", "type"),
        ] {
            let error = stores(wrong).err().unwrap_or_default();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
