//! Hashing of passwords, away from the async threads.
//!
//! bcrypt, as Keystone by default. It reads 72 bytes at most: longer passwords are refused
//! rather than cut short silently.

use service_kit::ApiError;

/// Rounds (2^n) for passwords that people choose.
pub const ROUNDS: u32 = 12;
/// Rounds for secrets of our own making: 32 random characters need no stretching, and services
/// log in often.
pub const ROUNDS_RANDOM: u32 = 4;
const LONGEST: usize = 72;

/// Hashes a password.
pub async fn hash(password: &str, rounds: u32) -> Result<String, ApiError> {
    if password.is_empty() || password.len() > LONGEST || password.contains('\0') {
        return Err(ApiError::bad_request(
            "BadRequest",
            format!("The password must have 1 to {LONGEST} bytes, none of them zero."),
        ));
    }
    let password = password.to_owned();
    tokio::task::spawn_blocking(move || bcrypt::hash(password, rounds))
        .await
        .map_err(ApiError::internal)?
        .map_err(ApiError::internal)
}

/// Whether a password fits a hash. An empty hash costs as much as a real one and never fits, so
/// that the time tells nobody which users exist.
pub async fn verify(password: &str, hash: &str) -> Result<bool, ApiError> {
    if password.len() > LONGEST {
        return Ok(false);
    }
    let (password, hash) = (password.to_owned(), hash.to_owned());
    tokio::task::spawn_blocking(move || {
        if hash.is_empty() {
            let _ = bcrypt::hash(&password, ROUNDS);
            return Ok(false);
        }
        bcrypt::verify(&password, &hash)
    })
    .await
    .map_err(ApiError::internal)?
    .map_err(ApiError::internal)
}
