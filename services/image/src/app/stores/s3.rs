//! Amazon's S3, and what speaks like it: Ceph's gateway, MinIO, Garage.
//!
//! A file goes as one object; a large one in parts, each read twice (for its digest, which the server checks, and to be sent),
//! so that no more than a piece of it is in memory. What an attempt that was broken off left of its parts, the next one removes.

use super::{
    Data, Store, StoreFault, common,
    sigv4::{self, EMPTY, Request, Signer},
};
use async_trait::async_trait;
use futures::StreamExt;
use http::{Method, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Parts are at least so large, and there are at most so many.
const PART: u64 = 64 << 20;
const MOST_PARTS: u64 = 10_000;

/// `[stores.NAME]` of type `s3`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// `https://s3.example.org:9000`
    pub endpoint: String,
    /// As the server calls it.
    #[serde(default = "region")]
    pub region: String,
    /// It must be there.
    pub bucket: String,
    /// What stands before objects' names: `images/`.
    #[serde(default)]
    pub prefix: String,
    /// The key's name.
    pub access_key: String,
    /// File with the key.
    pub secret_key_file: PathBuf,
    /// PEM file with the only certificate authority that is trusted.
    pub ca_file: Option<PathBuf>,
    /// Whether the bucket is in the path (most servers) or in the host's name (Amazon).
    #[serde(default = "yes")]
    pub path_style: bool,
    /// Bytes of a part, at least 5 MiB.
    #[serde(default = "part")]
    pub part_bytes: u64,
}

fn region() -> String {
    "us-east-1".to_owned()
}

fn yes() -> bool {
    true
}

fn part() -> u64 {
    PART
}

/// A bucket.
pub struct S3 {
    client: reqwest::Client,
    signer: Signer,
    url: Url,
    /// Path of the bucket, without a slash at its end.
    bucket: String,
    /// Before objects' names.
    prefix: String,
    part: u64,
}

/// An object: its name, and the path under which it is asked for.
struct Key {
    name: String,
    path: String,
}

/// A request's body.
enum Payload<'a> {
    Nothing,
    Text(String),
    Piece(&'a Path, Piece),
}

/// A piece of a file.
#[derive(Clone)]
struct Piece {
    from: u64,
    length: u64,
    sha256: String,
}

impl S3 {
    /// Opens nothing: the first request does.
    pub fn open(config: S3Config) -> Result<S3, String> {
        let secret = common::secret(&config.secret_key_file)?;
        let client = common::client(config.ca_file.as_deref())?;
        let endpoint = config.endpoint.trim_end_matches('/');
        let mut url = Url::parse(endpoint).map_err(|error| format!("endpoint: {error}"))?;
        let Some(host) = url.host_str().map(str::to_owned) else {
            return Err("endpoint: it has no host".to_owned());
        };
        if config.bucket.is_empty() || config.bucket.contains('/') {
            return Err("bucket: a name without slashes is needed".to_owned());
        }
        let mut bucket = url.path().trim_end_matches('/').to_owned();
        if config.path_style {
            bucket = format!("{bucket}/{}", sigv4::encode(&config.bucket, false));
        } else {
            let host = format!("{}.{host}", config.bucket);
            url.set_host(Some(&host))
                .map_err(|error| format!("bucket: {error}"))?;
        }
        if config.part_bytes < 5 << 20 {
            return Err("part_bytes: servers want at least 5242880".to_owned());
        }
        let signer = Signer {
            access_key: config.access_key,
            secret_key: secret,
            region: config.region,
        };
        Ok(S3 {
            client,
            signer,
            url,
            bucket,
            prefix: config.prefix,
            part: config.part_bytes,
        })
    }

    /// One request, again where the fault may be gone the next time.
    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<reqwest::Response, StoreFault> {
        common::again(brief, || self.send_once(&method, path, query, &payload)).await
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, &str)],
        payload: &Payload<'_>,
    ) -> Result<reqwest::Response, StoreFault> {
        let mut url = self.url.clone();
        url.set_path(path);
        let encoded = sigv4::query(query);
        url.set_query((!encoded.is_empty()).then_some(&encoded));
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(StoreFault("the endpoint has no host".to_owned())),
        };
        let sha256 = match payload {
            Payload::Nothing => EMPTY.to_owned(),
            Payload::Text(text) => hex::encode(Sha256::digest(text.as_bytes())),
            Payload::Piece(_, piece) => piece.sha256.clone(),
        };
        let date = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
        let authorization = self.signer.authorization(&Request {
            method: method.as_str(),
            host: &host,
            path,
            query,
            sha256: &sha256,
            date: &date,
        });
        let mut request = self
            .client
            .request(method.clone(), url)
            .header("x-amz-content-sha256", sha256)
            .header("x-amz-date", date)
            .header(header::AUTHORIZATION, authorization);
        match payload {
            Payload::Nothing => {
                if *method == Method::POST || *method == Method::PUT {
                    request = request.header(header::CONTENT_LENGTH, 0);
                }
            }
            Payload::Text(text) => request = request.body(text.clone()),
            Payload::Piece(path, piece) => {
                request = request
                    .header(header::CONTENT_LENGTH, piece.length)
                    .body(common::piece_body(path, piece.from, piece.length).await?);
            }
        }
        let sent = request.send().await;
        sent.map_err(|error| StoreFault::of("no answer", super::words(&error)))
    }

    fn key(&self, name: &str) -> Key {
        let name = format!("{}{name}", self.prefix);
        let path = format!("{}/{}", self.bucket, sigv4::encode(&name, true));
        Key { name, path }
    }

    /// Sends a file in parts, and lets the server put them together.
    async fn put_parts(&self, key: &Key, path: &Path, size: u64) -> Result<(), StoreFault> {
        let begun = self
            .send(
                Method::POST,
                &key.path,
                &[("uploads", "")],
                Payload::Nothing,
            )
            .await?;
        let begun = common::text(expect(begun).await?).await?;
        let id = between(&begun, "<UploadId>", "</UploadId>").next();
        let id = id.ok_or_else(|| {
            StoreFault("an upload in parts was answered without its id".to_owned())
        })?;
        let part = self.part.max(size.div_ceil(MOST_PARTS));
        let mut list = String::from("<CompleteMultipartUpload>");
        let mut from = 0;
        let mut number = 1u32;
        while from < size {
            let length = part.min(size - from);
            let piece = piece(path, from, length).await?;
            let at = number.to_string();
            let query = [("partNumber", at.as_str()), ("uploadId", id.as_str())];
            let answer = self
                .send(Method::PUT, &key.path, &query, Payload::Piece(path, piece))
                .await?;
            let answer = expect(answer).await?;
            let tag = answer.headers().get(header::ETAG);
            let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
            list.push_str(&format!(
                "<Part><PartNumber>{at}</PartNumber><ETag>{tag}</ETag></Part>"
            ));
            from += length;
            number += 1;
        }
        list.push_str("</CompleteMultipartUpload>");
        let query = [("uploadId", id.as_str())];
        let done = self
            .send(Method::POST, &key.path, &query, Payload::Text(list))
            .await?;
        // The answer begins before the parts are together, so that its status says little.
        let told = common::text(expect(done).await?).await?;
        if told.contains("<Error>") || !told.contains("CompleteMultipartUploadResult") {
            return Err(StoreFault(format!(
                "the parts could not be put together: {}",
                brief(&told)
            )));
        }
        Ok(())
    }

    /// Removes the parts of uploads of this object that were never put together.
    async fn abort_parts(&self, key: &Key) -> Result<(), StoreFault> {
        // The bucket is asked, for what begins like the object's name.
        let query = [("uploads", ""), ("prefix", key.name.as_str())];
        let bucket = format!("{}/", self.bucket);
        let answer = self
            .send(Method::GET, &bucket, &query, Payload::Nothing)
            .await?;
        if !answer.status().is_success() {
            // Not every server can tell; then a rule of its own must clear away.
            return Ok(());
        }
        let told = common::text(answer).await?;
        for upload in between(&told, "<Upload>", "</Upload>") {
            let id = between(&upload, "<UploadId>", "</UploadId>").next();
            let of = between(&upload, "<Key>", "</Key>").next();
            if let (Some(id), Some(of)) = (id, of)
                && of == key.name
            {
                let query = [("uploadId", id.as_str())];
                let answer = self
                    .send(Method::DELETE, &key.path, &query, Payload::Nothing)
                    .await?;
                if answer.status() != StatusCode::NOT_FOUND {
                    expect(answer).await?;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for S3 {
    async fn put(&self, name: &str, path: &Path) -> Result<(), StoreFault> {
        let key = self.key(name);
        let size = tokio::fs::metadata(path).await;
        let size = size
            .map_err(|error| StoreFault::of("cannot read", error))?
            .len();
        if size <= self.part {
            let piece = piece(path, 0, size).await?;
            let payload = Payload::Piece(path, piece);
            let answer = self.send(Method::PUT, &key.path, &[], payload).await?;
            expect(answer).await?;
            return Ok(());
        }
        self.abort_parts(&key).await?;
        let put = self.put_parts(&key, path, size).await;
        if put.is_err()
            && let Err(fault) = self.abort_parts(&key).await
        {
            tracing::warn!(name, %fault, "parts of an object are left behind");
        }
        put
    }

    async fn get(&self, name: &str) -> Result<Option<Data>, StoreFault> {
        let key = self.key(name);
        let answer = self
            .send(Method::GET, &key.path, &[], Payload::Nothing)
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
        let key = self.key(name);
        self.abort_parts(&key).await?;
        let answer = self
            .send(Method::DELETE, &key.path, &[], Payload::Nothing)
            .await?;
        if answer.status() != StatusCode::NOT_FOUND {
            expect(answer).await?;
        }
        Ok(())
    }
}

/// A piece of a file with its digest.
async fn piece(path: &Path, from: u64, length: u64) -> Result<Piece, StoreFault> {
    let sha256 = common::digest::<Sha256>(path, from, length).await?;
    Ok(Piece {
        from,
        length,
        sha256,
    })
}

/// The answer, if it is a good one.
async fn expect(answer: reqwest::Response) -> Result<reqwest::Response, StoreFault> {
    common::expect(brief, answer).await
}

/// What an error's document says, or its beginning.
fn brief(told: &str) -> String {
    let word = |name: &str| between(told, &format!("<{name}>"), &format!("</{name}>")).next();
    match (word("Code"), word("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => common::beginning(told),
    }
}

/// The texts between two marks, in the order in which they come; S3's documents are no deeper than that.
fn between(text: &str, start: &str, end: &str) -> impl Iterator<Item = String> {
    let pieces = text.split(start).skip(1);
    let inner = pieces.filter_map(|piece| piece.split_once(end).map(|(inner, _)| inner));
    let plain = inner.map(|inner| {
        inner
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&")
    });
    plain.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read() {
        let told = "<R><Upload><Key>a&amp;b</Key><UploadId>1</UploadId></Upload><Upload><Key>c</Key></Upload>";
        let uploads: Vec<String> = between(told, "<Upload>", "</Upload>").collect();
        assert_eq!(uploads.len(), 2);
        assert_eq!(
            between(&uploads[0], "<Key>", "</Key>").next().as_deref(),
            Some("a&b")
        );
        assert_eq!(between("<Key>cut", "<Key>", "</Key>").next(), None);
        let error = "<Error><Code>NoSuchBucket</Code><Message>gone</Message></Error>";
        assert_eq!(brief(error), "NoSuchBucket: gone");
    }
}
