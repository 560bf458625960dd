//! Validation of the tokens that callers send.
//!
//! Services ask identity over HTTP and remember the answer for at most five seconds, so
//! that a revoked token is refused soon. Does not know how tokens are made.

use async_trait::async_trait;
use http::StatusCode;
use openstack_client::{Client, ClientError};
use openstack_types::{Token, TokenEnvelope};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an answer is good for.
const KEEP: Duration = Duration::from_secs(5);
/// How many answers are kept; when full, the old ones go.
const CAPACITY: usize = 10_000;

/// Why a token was not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// Unknown, expired or revoked.
    #[error("the token is not valid")]
    Invalid,
    /// Identity could not be asked.
    #[error("cannot ask identity: {0}")]
    Unavailable(String),
}

/// Tells whose a token is.
#[async_trait]
pub trait TokenValidator: Send + Sync {
    /// The token's body.
    async fn validate(&self, token: &str) -> Result<Arc<Token>, TokenError>;
}

type Digest256 = [u8; 32];

/// Asks identity with the service's own credentials.
pub struct IdentityTokens {
    client: Client,
    /// By digest: the tokens themselves are not kept.
    cache: Mutex<HashMap<Digest256, (Instant, Arc<Token>)>>,
}

impl IdentityTokens {
    /// The client must have a role that may validate tokens (`service` or `admin`).
    pub fn new(client: Client) -> Self {
        IdentityTokens {
            client,
            cache: Mutex::default(),
        }
    }

    fn cached(&self, key: &Digest256) -> Option<Arc<Token>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(key)
            .filter(|(at, _)| at.elapsed() < KEEP)
            .map(|(_, token)| Arc::clone(token))
    }
}

#[async_trait]
impl TokenValidator for IdentityTokens {
    async fn validate(&self, token: &str) -> Result<Arc<Token>, TokenError> {
        let key: Digest256 = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.cached(&key) {
            return Ok(known);
        }
        let answer: Result<TokenEnvelope, ClientError> = self
            .client
            .request(http::Method::GET, "identity", "/auth/tokens")
            .header("x-subject-token", token)
            // Without it, identity says nothing of tokens with access rules: `routes.rs` holds them.
            .header("openstack-identity-access-rules", "1.0")
            .timeout(Duration::from_secs(20))
            .fetch()
            .await;
        match answer {
            Ok(envelope) => {
                let known = Arc::new(envelope.token);
                let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                if cache.len() >= CAPACITY {
                    cache.retain(|_, (at, _)| at.elapsed() < KEEP);
                }
                if cache.len() < CAPACITY {
                    cache.insert(key, (Instant::now(), Arc::clone(&known)));
                }
                Ok(known)
            }
            Err(ClientError::BadRequest(_)) => Err(TokenError::Invalid),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Err(TokenError::Invalid),
            Err(error) => Err(TokenError::Unavailable(error.to_string())),
        }
    }
}
