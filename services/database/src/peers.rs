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
    scheme: &'static str,
    secret: String,
}

impl Peers {
    /// With the secret that guards share; by TLS, and only to guards with a certificate of `[tls] ca_file` for their
    /// address, where that is set.
    pub fn new(config: &Config) -> Result<Self, String> {
        // Fails only if a provider is installed already, which would do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trusted = match &config.tls {
            None => Vec::new(),
            Some(tls) => {
                let unusable = |error: &dyn std::fmt::Display| {
                    format!("[tls] ca_file `{}`: {error}", tls.ca_file.display())
                };
                let pem = std::fs::read(&tls.ca_file).map_err(|error| unusable(&error))?;
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?
            }
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(trusted)
            .timeout(CALL)
            .connect_timeout(CALL)
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        Ok(Self {
            client,
            scheme: match config.tls {
                Some(_) => "https",
                None => "http",
            },
            secret: config.peer_secret.expose().to_owned(),
        })
    }

    /// A guard's state.
    pub async fn state(&self, guard: SocketAddr) -> Result<State, String> {
        let url = self.url(guard, "state");
        self.call(self.client.get(url)).await
    }

    /// Asks for the promise that nothing is begun there.
    pub async fn promise(&self, guard: SocketAddr, from: &str) -> Result<Promised, String> {
        #[derive(Serialize)]
        struct Ask<'a> {
            from: &'a str,
        }
        let request = self.client.post(self.url(guard, "promise"));
        self.call(request.json(&Ask { from })).await
    }

    /// The operator's decision, told to the guard of this node.
    pub async fn bootstrap(&self, guard: SocketAddr) -> Result<(), String> {
        let request = self.client.post(self.url(guard, "bootstrap"));
        self.call::<serde_json::Value>(request).await.map(drop)
    }

    fn url(&self, guard: SocketAddr, what: &str) -> String {
        format!("{}://{guard}/v1/{what}", self.scheme)
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
