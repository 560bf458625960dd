//! OpenStack's Swift: objects in a container; a large one as segments in a second container, with a manifest that names them.
//!
//! The password buys a token, which is kept until the server does not know it any more. Every piece goes with its MD5, which
//! the server checks. Segments are named after the object, so that those of an attempt that was broken off are found again.

use super::{Data, Store, StoreFault, common, words};
use async_trait::async_trait;
use futures::StreamExt;
use http::{Method, StatusCode, header};
use md5::Md5;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::sync::{Mutex, OnceCell};

/// Servers take no larger object, and no manifest of more segments.
const LARGEST: u64 = 5 << 30;
const MOST_SEGMENTS: u64 = 1000;
/// Names on a page of a list.
const PAGE: usize = 1000;

/// `[stores.NAME]` of type `swift`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwiftConfig {
    /// Identity's URL with `/v3`; or a Swift's own, with `/v1.0`.
    pub auth_url: String,
    /// Whose objects they are.
    pub user: String,
    /// File with the password.
    pub password_file: PathBuf,
    /// For identity.
    #[serde(default = "service")]
    pub project: String,
    /// For identity.
    #[serde(default = "default_domain")]
    pub user_domain: String,
    /// For identity.
    #[serde(default = "default_domain")]
    pub project_domain: String,
    /// Of the catalogue; without, the first.
    pub region: Option<String>,
    /// Of the catalogue: `public`, `internal`, `admin`.
    #[serde(default = "public")]
    pub interface: String,
    /// It is made when it is not there, and so is the one of this name with `_segments`.
    pub container: String,
    /// PEM file with the only certificate authority that is trusted.
    pub ca_file: Option<PathBuf>,
    /// Bytes of a segment.
    #[serde(default = "segment")]
    pub segment_bytes: u64,
}

fn service() -> String {
    "service".to_owned()
}

fn default_domain() -> String {
    "Default".to_owned()
}

fn public() -> String {
    "public".to_owned()
}

fn segment() -> u64 {
    1 << 30
}

/// A container.
pub struct Swift {
    client: reqwest::Client,
    config: SwiftConfig,
    password: String,
    session: Mutex<Option<Session>>,
    containers: OnceCell<()>,
}

/// What a password bought.
#[derive(Clone)]
struct Session {
    token: String,
    /// The account's URL, without a slash at its end.
    url: String,
}

/// A request's body.
enum Payload<'a> {
    Nothing,
    Text(String),
    /// Of the file, from, how many bytes, their MD5.
    Piece(&'a Path, u64, u64, String),
}

impl Swift {
    /// Opens nothing: the first request does.
    pub fn open(config: SwiftConfig) -> Result<Swift, String> {
        if config.container.is_empty() || config.container.contains('/') {
            return Err("container: a name without slashes is needed".to_owned());
        }
        if !(1..=LARGEST).contains(&config.segment_bytes) {
            return Err(format!("segment_bytes: 1 to {LARGEST} are possible"));
        }
        Ok(Swift {
            client: common::client(config.ca_file.as_deref())?,
            password: common::secret(&config.password_file)?,
            config,
            session: Mutex::default(),
            containers: OnceCell::new(),
        })
    }

    async fn session(&self) -> Result<Session, StoreFault> {
        let mut kept = self.session.lock().await;
        if let Some(session) = &*kept {
            return Ok(session.clone());
        }
        let url = self.config.auth_url.trim_end_matches('/');
        let session = if url.ends_with("/v3") {
            self.ask_identity(url).await?
        } else {
            self.ask_swift(url).await?
        };
        *kept = Some(session.clone());
        Ok(session)
    }

    async fn ask_identity(&self, url: &str) -> Result<Session, StoreFault> {
        let of = &self.config;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": of.user, "password": self.password, "domain": {"name": of.user_domain}}}},
            "scope": {"project": {"name": of.project, "domain": {"name": of.project_domain}}},
        }});
        let answer = self
            .client
            .post(format!("{url}/auth/tokens"))
            .json(&body)
            .send()
            .await;
        let answer = expect(answer.map_err(|error| unreachable("identity", &error))?).await?;
        let token = answer.headers().get("x-subject-token");
        let token = token
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let token = token.ok_or_else(|| StoreFault("identity gives no token".to_owned()))?;
        let told: Value = serde_json::from_str(&common::text(answer).await?)
            .map_err(|error| StoreFault::of("identity's answer", error))?;
        let catalog = told["token"]["catalog"].as_array();
        let mut endpoints = catalog
            .into_iter()
            .flatten()
            .filter(|service| service["type"] == "object-store")
            .flat_map(|service| service["endpoints"].as_array().into_iter().flatten());
        let endpoint = endpoints.find(|endpoint| {
            let here = |region: &String| {
                endpoint["region_id"] == region.as_str() || endpoint["region"] == region.as_str()
            };
            endpoint["interface"] == of.interface.as_str() && of.region.as_ref().is_none_or(here)
        });
        let url = endpoint.and_then(|endpoint| endpoint["url"].as_str());
        let url = url.ok_or_else(|| {
            StoreFault(format!(
                "the catalogue has no {} URL of an object store",
                of.interface
            ))
        })?;
        Ok(Session {
            token,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    async fn ask_swift(&self, url: &str) -> Result<Session, StoreFault> {
        let answer = self
            .client
            .get(url)
            .header("x-auth-user", &self.config.user)
            .header("x-auth-key", &self.password)
            .send()
            .await;
        let answer = expect(answer.map_err(|error| unreachable(url, &error))?).await?;
        let word = |name: &str| {
            let value = answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        match (word("x-auth-token"), word("x-storage-url")) {
            (Some(token), Some(url)) => Ok(Session {
                token,
                url: url.trim_end_matches('/').to_owned(),
            }),
            _ => Err(StoreFault("no token is given".to_owned())),
        }
    }

    /// One request below the account, again where the fault may be gone the next time.
    async fn send(
        &self,
        method: Method,
        path: &str,
        payload: Payload<'_>,
    ) -> Result<reqwest::Response, StoreFault> {
        let session = self.session().await?;
        let send = || self.send_once(&session, &method, path, &payload);
        let answer = common::again(common::beginning, send).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        // Its time is over: whoever asks next buys a new one.
        let mut kept = self.session.lock().await;
        if kept.as_ref().is_some_and(|now| now.token == session.token) {
            *kept = None;
        }
        drop(kept);
        let session = self.session().await?;
        let send = || self.send_once(&session, &method, path, &payload);
        common::again(common::beginning, send).await
    }

    async fn send_once(
        &self,
        session: &Session,
        method: &Method,
        path: &str,
        payload: &Payload<'_>,
    ) -> Result<reqwest::Response, StoreFault> {
        let url = format!("{}/{path}", session.url);
        let request = self.client.request(method.clone(), url);
        let mut request = request.header("x-auth-token", &session.token);
        match payload {
            Payload::Nothing if *method == Method::PUT => {
                request = request.header(header::CONTENT_LENGTH, 0);
            }
            Payload::Nothing => {}
            Payload::Text(text) => request = request.body(text.clone()),
            Payload::Piece(path, from, length, md5) => {
                request = request
                    .header(header::ETAG, md5)
                    .header(header::CONTENT_LENGTH, *length)
                    .body(common::piece_body(path, *from, *length).await?);
            }
        }
        let sent = request.send().await;
        sent.map_err(|error| StoreFault::of("no answer", words(&error)))
    }

    fn object(&self, name: &str) -> String {
        let of = |text: &str| super::sigv4::encode(text, false);
        format!("{}/{}", of(&self.config.container), of(name))
    }

    fn segments(&self) -> String {
        super::sigv4::encode(&format!("{}_segments", self.config.container), false)
    }

    /// Makes both containers, once.
    async fn containers(&self) -> Result<(), StoreFault> {
        let make = async || {
            let own = super::sigv4::encode(&self.config.container, false);
            for path in [own, self.segments()] {
                expect(self.send(Method::PUT, &path, Payload::Nothing).await?).await?;
            }
            Ok(())
        };
        self.containers.get_or_try_init(make).await.map(drop)
    }

    async fn put_segments(&self, name: &str, path: &Path, size: u64) -> Result<(), StoreFault> {
        let length_of = self
            .config
            .segment_bytes
            .max(size.div_ceil(MOST_SEGMENTS))
            .min(LARGEST);
        let mut manifest = Vec::new();
        let mut from = 0;
        while from < size {
            let length = length_of.min(size - from);
            let md5 = common::digest::<Md5>(path, from, length).await?;
            let segment = format!("{name}/{:08}", manifest.len());
            let place = format!(
                "{}/{}",
                self.segments(),
                super::sigv4::encode(&segment, true)
            );
            let piece = Payload::Piece(path, from, length, md5.clone());
            expect(self.send(Method::PUT, &place, piece).await?).await?;
            manifest.push(json!({
                "path": format!("/{}_segments/{segment}", self.config.container),
                "etag": md5,
                "size_bytes": length,
            }));
            from += length;
        }
        let path = format!("{}?multipart-manifest=put", self.object(name));
        let manifest = Value::from(manifest).to_string();
        let answer = self
            .send(Method::PUT, &path, Payload::Text(manifest))
            .await?;
        expect(answer).await.map(drop)
    }

    /// Removes the segments of an object, whether a manifest names them or not.
    async fn remove_segments(&self, name: &str) -> Result<(), StoreFault> {
        loop {
            let prefix = super::sigv4::encode(&format!("{name}/"), false);
            let path = format!(
                "{}?prefix={prefix}&limit={PAGE}&format=json",
                self.segments()
            );
            let answer = self.send(Method::GET, &path, Payload::Nothing).await?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(());
            }
            let told = common::text(expect(answer).await?).await?;
            let found: Vec<Value> = serde_json::from_str(&told).unwrap_or_default();
            let names = found.iter().filter_map(|one| one["name"].as_str());
            let mut removed = 0;
            for segment in names {
                let segment = super::sigv4::encode(segment, true);
                let path = format!("{}/{segment}", self.segments());
                let answer = self.send(Method::DELETE, &path, Payload::Nothing).await?;
                if answer.status() != StatusCode::NOT_FOUND {
                    expect(answer).await?;
                    removed += 1;
                }
            }
            // A list may still tell for a while what is gone.
            if removed == 0 {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl Store for Swift {
    async fn put(&self, name: &str, path: &Path) -> Result<(), StoreFault> {
        self.containers().await?;
        let size = tokio::fs::metadata(path).await;
        let size = size
            .map_err(|error| StoreFault::of("cannot read", error))?
            .len();
        if size <= self.config.segment_bytes {
            let md5 = common::digest::<Md5>(path, 0, size).await?;
            let piece = Payload::Piece(path, 0, size, md5);
            let answer = self.send(Method::PUT, &self.object(name), piece).await?;
            return expect(answer).await.map(drop);
        }
        let put = self.put_segments(name, path, size).await;
        if put.is_err()
            && let Err(fault) = self.remove_segments(name).await
        {
            tracing::warn!(name, %fault, "segments of an object are left behind");
        }
        put
    }

    async fn get(&self, name: &str) -> Result<Option<Data>, StoreFault> {
        let answer = self
            .send(Method::GET, &self.object(name), Payload::Nothing)
            .await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let data = expect(answer).await?.bytes_stream();
        Ok(Some(
            data.map(|piece| piece.map_err(io::Error::other)).boxed(),
        ))
    }

    async fn remove(&self, name: &str) -> Result<(), StoreFault> {
        // The manifest first: without its segments it would be an object that cannot be read.
        let answer = self
            .send(Method::DELETE, &self.object(name), Payload::Nothing)
            .await?;
        if answer.status() != StatusCode::NOT_FOUND {
            expect(answer).await?;
        }
        self.remove_segments(name).await
    }
}

fn unreachable(what: &str, error: &reqwest::Error) -> StoreFault {
    StoreFault::of(&format!("{what} does not answer"), words(error))
}

/// The answer, if it is a good one.
async fn expect(answer: reqwest::Response) -> Result<reqwest::Response, StoreFault> {
    common::expect(common::beginning, answer).await
}
