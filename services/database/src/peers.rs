//! Calls to other guards, and to the own one from the command line. Short in time and size; knows no decision.

use crate::config::Config;
use crate::state::{Promised, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest for one call: shorter than a report stays fresh.
pub const CALL: Duration = Duration::from_millis(1500);
/// Longest answer that is read.
const LONGEST: usize = 64 * 1024;

/// A client for guards.
#[derive(Clone)]
pub struct Peers {
    client: reqwest::Client,
    secret: String,
}

impl Peers {
    /// With the secret that guards share.
    pub fn new(config: &Config) -> Result<Self, String> {
        // Fails only if a provider is installed already, which would do as well. No TLS is spoken here, but the
        // client wants to be able to.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(Vec::<reqwest::Certificate>::new())
            .timeout(CALL)
            .connect_timeout(CALL)
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        Ok(Self {
            client,
            secret: config.peer_secret.expose().to_owned(),
        })
    }

    /// A guard's state.
    pub async fn state(&self, guard: SocketAddr) -> Result<State, String> {
        self.call(self.client.get(format!("http://{guard}/v1/state")))
            .await
    }

    /// Asks for the promise that nothing is begun there.
    pub async fn promise(&self, guard: SocketAddr, from: &str) -> Result<Promised, String> {
        #[derive(Serialize)]
        struct Ask<'a> {
            from: &'a str,
        }
        let request = self.client.post(format!("http://{guard}/v1/promise"));
        self.call(request.json(&Ask { from })).await
    }

    /// The operator's decision, told to the guard of this node.
    pub async fn bootstrap(&self, guard: SocketAddr) -> Result<(), String> {
        let request = self.client.post(format!("http://{guard}/v1/bootstrap"));
        self.call::<serde_json::Value>(request).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, String> {
        let mut answer = request
            .bearer_auth(&self.secret)
            .send()
            .await
            .map_err(|error| words(&error))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| words(&error))? {
            if body.len() + chunk.len() > LONGEST {
                return Err("the answer is too long".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            let line: String = text
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(400)
                .collect();
            return Err(format!("{}: {line}", status.as_u16()));
        }
        serde_json::from_slice(&body).map_err(|error| format!("not a guard's answer: {error}"))
    }
}

/// The cause, which `reqwest` keeps below its own words.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} ms", CALL.as_millis());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
