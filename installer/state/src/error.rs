//! Everything that can go wrong with an environment's state, with the file or row concerned.
use std::path::PathBuf;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("state database, {doing}: {source}")]
    Database {
        doing: &'static str,
        source: sea_orm::DbErr,
    },
    #[error(
        "{path} was written by a newer version (schema {found}, this one knows {known}); use that version, or restore a backup"
    )]
    NewerSchema {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("state of node {node}: {reason}")]
    BadRow { node: String, reason: String },
    #[error("node {0} is not known here")]
    UnknownNode(String),
    #[error("node {0} was changed by another process in the meantime")]
    Conflict(String),
    #[error(
        "the allocations were changed by another process in the meantime (version {found}, expected {expected})"
    )]
    AllocationsConflict { expected: i64, found: i64 },
    #[error("stored {what} is not understood: {source}")]
    Json {
        what: &'static str,
        source: serde_json::Error,
    },
    #[error("{path} can be read by others (mode {mode:o}); make it yours alone: chmod 600 {path}")]
    OpenToOthers { path: PathBuf, mode: u32 },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("{secrets} cannot be decrypted: its key {key} is missing; restore it from a backup")]
    KeyMissing { secrets: PathBuf, key: PathBuf },
    #[error("{secrets} cannot be decrypted with {key}: wrong key, or the file was altered")]
    WrongKey { secrets: PathBuf, key: PathBuf },
    #[error(
        "secret name '{0}' is not usable: lower-case letters, digits and '_' only, beginning with a letter"
    )]
    SecretName(String),
    #[error("the system's random number source failed: {0}")]
    Random(String),
    #[error("environment '{environment}' is in use by {holder}")]
    Locked { environment: String, holder: String },
}

impl StateError {
    /// For `map_err`: names the file that a system call was about.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// For `map_err`: names what the database was asked for.
    pub(crate) fn database(doing: &'static str) -> impl FnOnce(sea_orm::DbErr) -> Self {
        move |source| Self::Database { doing, source }
    }
}
