//! Backups of a cloud's controllers: made, kept, proved, and brought back.
//!
//! | part | job |
//! |---|---|
//! | [`manifest`] | what a backup holds, and whether a folder is a whole one; pure |
//! | [`shelf`] | the folder of all backups: unfinished ones are told from whole ones by their name |
//! | [`pack`] | one stream into a file or out of it: compressed, counted, hashed, in little memory |
//! | [`nodes`] | commands on nodes, with a stream in or out |
//! | [`tables`] | rows and checksums of tables, and whether two lists of them agree |
//! | [`create`], [`restore`], [`verify`] | the three works, step by step |
//! | `scripts/` | what runs on a node |
//!
//! Works with threads and processes and blocks. It knows databases only by name, and nothing of the inventory, of how
//! nodes are reached, or of what people are asked and told.
pub mod create;
pub mod manifest;
pub mod nodes;
pub mod pack;
pub mod restore;
pub mod shelf;
pub mod tables;
pub mod verify;

pub use manifest::Manifest;
pub use nodes::Nodes;
pub use shelf::Shelf;
use std::path::{Path, PathBuf};

/// Why a backup could not be made, found or brought back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{node}: {doing}: {reason}")]
    Node {
        node: String,
        doing: &'static str,
        reason: String,
    },
    #[error("there is no backup `{0}`; `wright backup list` shows all")]
    Unknown(String),
    #[error("backup `{0}` is unfinished: it broke off while it was made. Take another one")]
    Unfinished(String),
    #[error("backup `{id}` is of the environment `{found}`, not of `{wanted}`")]
    OtherEnvironment {
        id: String,
        found: String,
        wanted: String,
    },
    #[error("backup `{id}` is damaged or was altered: {reason}. Take another one")]
    Damaged { id: String, reason: String },
    #[error("{0}")]
    Refused(String),
}

impl BackupError {
    /// For `map_err`: names the file that a system call was about.
    pub(crate) fn file(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::File { path, source }
    }
}

/// What is told while a work goes on.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);
