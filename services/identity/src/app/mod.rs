//! Identity's logic: tokens, roles, catalogue, bootstrap. Knows no HTTP beyond the faults it gives.

pub mod access_rules;
pub mod accounts;
pub mod bootstrap;
pub mod catalog;
pub mod credentials;
pub mod ec2;
pub mod endpoint_filter;
pub mod fernet;
pub mod inheritance;
pub mod keys;
pub mod memory;
pub mod password_rules;
pub mod passwords;
pub mod payload;
pub mod proofs;
pub mod roles;
pub mod tags;
pub mod tokens;
pub mod totp;
pub mod trusts;

use fernet::Fernet;
use keys::TokenKeys;
use sea_orm::DatabaseConnection;
use service_kit::ApiError;
use std::time::Duration;

/// What every handler works with.
pub struct App {
    /// Identity's database.
    pub db: DatabaseConnection,
    /// Makes and reads tokens.
    pub keys: TokenKeys,
    /// Seals what credentials hold.
    pub credential_keys: Fernet,
    /// What passwords must be like.
    pub password_rules: password_rules::PasswordRules,
    /// So many one-time passwords before the current one are accepted.
    pub totp_previous_windows: u64,
    /// How far a signed request's time may be from ours.
    pub ec2_skew: Duration,
    /// Whether a project that no endpoint is associated with sees all of them.
    pub all_endpoints_without_filter: bool,
    /// How long a token lives.
    pub token_life: Duration,
    /// What is known of valid tokens.
    pub memory: memory::Memory,
    /// `http://HOST:5000`, for links when a request names no host.
    pub public_url: String,
}

/// A new id: 32 hex digits.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// µs since 1970.
pub fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// Keystone's 404.
pub fn not_found(what: &str, id: &str) -> ApiError {
    ApiError::not_found("NotFound", format!("Could not find {what}: {id}."))
}

/// An insert that met a unique index is Keystone's 409, anything else our fault.
pub fn duplicate(what: &'static str, name: &str) -> impl FnOnce(sea_orm::DbErr) -> ApiError {
    let message = format!(
        "Conflict occurred attempting to store {what} - Duplicate entry found with name {name}."
    );
    move |error| {
        if service_kit::store::is_duplicate(&error) {
            ApiError::conflict("Conflict", message)
        } else {
            error.into()
        }
    }
}
