//! The conversation with the boot server, as `agent_protocol::enrol` describes it.
use std::io::Read;
use std::time::{Duration, Instant};

use agent_protocol::enrol::{Failure, Hardware, Installed, Orders, Progress};
use serde::Serialize;

use super::console::say;

/// A server that is being restarted comes back within this time; then the node starts over.
const TRIES_FOR: Duration = Duration::from_secs(600);
/// A node whose disk is ready waits as long as its token lives: whoever deploys may come back tomorrow, but
/// then everything is done anew.
const INSTALLED_TRIES_FOR: Duration = Duration::from_secs(2 * 3600);
const PAUSE: Duration = Duration::from_secs(2);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The image: no byte for so long means that the server is gone.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{call}: the boot server refused it: HTTP status {status}")]
    Refused { call: String, status: u16 },
    #[error("{call}: the boot server did not answer")]
    NoAnswer {
        call: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{call}: the boot server's answer is not what was expected")]
    Answer {
        call: String,
        #[source]
        source: serde_json::Error,
    },
}

/// One node's connection to the boot server. The token is sent as a header and printed nowhere.
#[derive(Clone)]
pub struct Server {
    base: String,
    authorization: String,
    calls: ureq::Agent,
    downloads: ureq::Agent,
}

impl Server {
    pub fn new(base: &str, token: &str) -> Self {
        let config = || {
            ureq::Agent::config_builder()
                .proxy(None)
                .http_status_as_error(false)
                .timeout_connect(Some(Duration::from_secs(10)))
        };
        Server {
            base: base.to_owned(),
            authorization: format!("Bearer {}", token.trim()),
            calls: config()
                .timeout_global(Some(CALL_TIMEOUT))
                .build()
                .new_agent(),
            downloads: config()
                .timeout_per_read(Some(STALL_TIMEOUT))
                .timeout_recv_response(Some(STALL_TIMEOUT))
                .build()
                .new_agent(),
        }
    }

    pub fn hardware(&self, hardware: &Hardware) -> Result<Orders, ServerError> {
        let call = "POST /agent/v1/hardware";
        let body = self.post("hardware", hardware, TRIES_FOR)?;
        serde_json::from_str(&body).map_err(|source| ServerError::Answer {
            call: call.to_owned(),
            source,
        })
    }

    /// Tried once: the next report is a second away.
    pub fn progress(&self, progress: &Progress) -> Result<(), ServerError> {
        self.post("progress", progress, Duration::ZERO).map(drop)
    }

    /// Returns once the server was there to hear that the disk is about to become bootable.
    pub fn begin_commit(&self) -> Result<(), ServerError> {
        let progress = Progress {
            stage: "commit".to_owned(),
            done: 0,
            total: 1,
        };
        self.post("progress", &progress, INSTALLED_TRIES_FOR)
            .map(drop)
    }

    pub fn installed(&self, installed: &Installed) -> Result<(), ServerError> {
        self.post("installed", installed, INSTALLED_TRIES_FOR)
            .map(drop)
    }

    /// Something that the operator should know of an installed node.
    pub fn warn(&self, failure: &Failure) -> Result<(), ServerError> {
        self.post("failed", failure, Duration::ZERO).map(drop)
    }

    pub fn failed(&self, failure: &Failure) -> Result<(), ServerError> {
        self.post("failed", failure, Duration::from_secs(60))
            .map(drop)
    }

    /// Opens the image for reading; waits for a server that is being restarted.
    pub fn image(&self, url: &str) -> Result<impl Read + use<>, ServerError> {
        let started = Instant::now();
        loop {
            match self.open(url) {
                Err(fault @ ServerError::NoAnswer { .. }) if started.elapsed() < TRIES_FOR => {
                    say("network", format_args!("{fault}, trying again"));
                    std::thread::sleep(PAUSE);
                }
                opened => return opened,
            }
        }
    }

    fn open(&self, url: &str) -> Result<impl Read + use<>, ServerError> {
        let call = format!("GET {url}");
        let no_answer = |source| ServerError::NoAnswer {
            call: call.clone(),
            source: Box::new(source),
        };
        let response = self
            .downloads
            .get(url)
            .header("Authorization", &self.authorization)
            .call()
            .map_err(no_answer)?;
        match response.status().as_u16() {
            200 => Ok(response.into_body().into_reader()),
            status => Err(ServerError::Refused { call, status }),
        }
    }

    /// Posts until the server accepts, refuses for good (4xx), or `patience` is over.
    fn post<T: Serialize>(
        &self,
        name: &str,
        message: &T,
        patience: Duration,
    ) -> Result<String, ServerError> {
        let call = format!("POST /agent/v1/{name}");
        let body = serde_json::to_vec(message).map_err(|source| ServerError::Answer {
            call: call.clone(),
            source,
        })?;
        let started = Instant::now();
        loop {
            let fault = match self.post_once(name, &call, &body) {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let for_good = matches!(
                fault,
                ServerError::Refused {
                    status: 400..=499,
                    ..
                }
            );
            if for_good || started.elapsed() >= patience {
                return Err(fault);
            }
            say("network", format_args!("{fault}, trying again"));
            std::thread::sleep(PAUSE);
        }
    }

    fn post_once(&self, name: &str, call: &str, body: &[u8]) -> Result<String, ServerError> {
        let no_answer = |source| ServerError::NoAnswer {
            call: call.to_owned(),
            source: Box::new(source),
        };
        let mut response = self
            .calls
            .post(format!("{}/agent/v1/{name}", self.base))
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/json")
            .send(body)
            .map_err(no_answer)?;
        match response.status().as_u16() {
            200..=299 => response
                .body_mut()
                .with_config()
                .limit(ANSWER_BYTES_MAX)
                .read_to_string()
                .map_err(no_answer),
            status => Err(ServerError::Refused {
                call: call.to_owned(),
                status,
            }),
        }
    }
}
