//! The service's logic: names, providers, claims, candidates. Knows no HTTP.

pub mod candidates;
pub mod claims;
pub mod names;
pub mod providers;

use sea_orm::{DatabaseConnection, DbErr};
use service_kit::ApiError;
use service_kit::store::Conflict;

/// What every part of the service works with.
pub struct App {
    /// The database.
    pub db: DatabaseConnection,
}

/// Why a change or a question was refused.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// 404
    #[error("{0}")]
    NotFound(String),
    /// 400
    #[error("{0}")]
    Bad(String),
    /// 409, with no code of its own.
    #[error("{0}")]
    Refused(String),
    /// 409: somebody else changed a provider or consumer since the caller read its generation.
    #[error("{0}")]
    Generation(String),
    /// A provider was changed while we were changing it: tried again from the start.
    #[error("resource provider {0} was changed by somebody else")]
    Raced(String),
    /// The database's own answer.
    #[error("database: {0}")]
    Database(#[from] DbErr),
}

impl Conflict for PlacementError {
    fn is_conflict(&self) -> bool {
        match self {
            PlacementError::Raced(_) => true,
            PlacementError::Database(error) => error.is_conflict(),
            _ => false,
        }
    }
}

impl From<PlacementError> for ApiError {
    fn from(error: PlacementError) -> Self {
        const UNDEFINED: &str = "placement.undefined_code";
        let message = error.to_string();
        match error {
            PlacementError::NotFound(_) => ApiError::not_found(UNDEFINED, message),
            PlacementError::Bad(_) => ApiError::bad_request(UNDEFINED, message),
            PlacementError::Refused(_) => ApiError::conflict(UNDEFINED, message),
            PlacementError::Generation(_) | PlacementError::Raced(_) => {
                ApiError::conflict("placement.concurrent_update", message)
            }
            PlacementError::Database(error) => ApiError::internal(error),
        }
    }
}
