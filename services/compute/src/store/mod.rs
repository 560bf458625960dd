//! Records and all SQL of the service. One file a resource; knows no HTTP and no other service.

pub mod answers;
pub mod entities;
pub mod flavors;
pub mod hosts;
pub mod migrations;
pub mod servers;

use sea_orm::DbErr;
use service_kit::store::Conflict;

/// A record that was asked for by id, or could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the record in between, more often than we tried.
    #[error("{what} {id} was changed by somebody else")]
    Changed {
        /// Kind of record.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A record that is not (any more) there.
    #[error("{what} {id} could not be found")]
    Missing {
        /// Kind of record.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A record that this version cannot read.
    #[error("{what} {id} cannot be read: {source}")]
    Unreadable {
        /// Kind of record.
        what: &'static str,
        /// Its id.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The database's own answer.
    #[error("database: {0}")]
    Database(#[from] DbErr),
}

impl Conflict for StoreError {
    fn is_conflict(&self) -> bool {
        match self {
            StoreError::Changed { .. } => true,
            StoreError::Database(error) => error.is_conflict(),
            _ => false,
        }
    }
}

impl From<StoreError> for service_kit::ApiError {
    fn from(error: StoreError) -> Self {
        service_kit::ApiError::internal(error)
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
