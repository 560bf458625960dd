//! What stores over HTTP share: their client, pieces of files, and answers.

use super::StoreFault;
use futures::StreamExt;
use http::StatusCode;
use sha2::Digest;
use std::{
    fs, io,
    io::{Read, Seek},
    path::Path,
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Longest answer that is not data.
const LONGEST: usize = 4 << 20;

/// What is in a file, without the end of its line.
pub fn secret(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A client that trusts only the authority in a file, if one is named.
pub fn client(
    ca: Option<&Path>,
    connect: Duration,
    idle: Duration,
) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder();
    if let Some(path) = ca {
        let pem = secret(path)?;
        let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        builder = builder.tls_certs_only(trusted.map_err(|error| format!("ca_file: {error}"))?);
    }
    builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .read_timeout(idle)
        .build()
        .map_err(|error| error.to_string())
}

/// The digest of a piece of a file, hex.
pub async fn digest<D: Digest>(path: &Path, from: u64, length: u64) -> Result<String, StoreFault> {
    let path = path.to_owned();
    let digest = move || -> io::Result<String> {
        let mut file = fs::File::open(path)?;
        file.seek(io::SeekFrom::Start(from))?;
        let mut left = file.take(length);
        let mut digest = D::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match left.read(&mut buffer)? {
                0 => return Ok(hex::encode(digest.finalize())),
                read => digest.update(&buffer[..read]),
            }
        }
    };
    let digest = tokio::task::spawn_blocking(digest).await;
    digest
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| StoreFault::of("cannot read", error))
}

/// A piece of a file as a request's body.
pub async fn piece_body(path: &Path, from: u64, length: u64) -> Result<reqwest::Body, StoreFault> {
    let read = |error| StoreFault::of("cannot read", error);
    let mut file = tokio::fs::File::open(path).await.map_err(read)?;
    file.seek(io::SeekFrom::Start(from)).await.map_err(read)?;
    let stream = ReaderStream::with_capacity(file.take(length), 256 << 10);
    Ok(reqwest::Body::wrap_stream(stream))
}

/// Whether the same request may be answered in another way later.
pub fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// An answer's text.
pub async fn text(answer: reqwest::Response) -> Result<String, StoreFault> {
    let mut data = answer.bytes_stream();
    let mut all = Vec::new();
    while let Some(piece) = data.next().await {
        let piece = piece.map_err(|error| StoreFault::of("the answer broke off", error))?;
        if all.len() + piece.len() > LONGEST {
            return Err(StoreFault(format!(
                "the answer is longer than {LONGEST} bytes"
            )));
        }
        all.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// A bad answer as a fault, with the beginning of what it says.
pub async fn said(answer: reqwest::Response) -> StoreFault {
    let status = answer.status();
    let told = text(answer).await.unwrap_or_default();
    let told: String = told.chars().take(200).collect();
    StoreFault(format!("it answered {status}: {told}"))
}
