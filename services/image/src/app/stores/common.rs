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
/// How often a request is tried.
const TRIES: u32 = 4;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a server may say nothing; to put parts together takes its time.
const IDLE: Duration = Duration::from_secs(120);

/// What is in a file, without the end of its line.
pub fn secret(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A client that trusts only the authority in a file, if one is named.
pub fn client(ca: Option<&Path>) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder();
    if let Some(path) = ca {
        let pem = secret(path)?;
        let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        builder = builder.tls_certs_only(trusted.map_err(|error| format!("ca_file: {error}"))?);
    }
    builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(IDLE)
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

/// What is told of an answer's text.
pub type Brief = fn(&str) -> String;

/// Its beginning.
pub fn beginning(told: &str) -> String {
    told.chars().take(200).collect()
}

/// Sends a request, and again where the fault may be gone the next time.
pub async fn again<F>(
    brief: Brief,
    mut send: impl FnMut() -> F,
) -> Result<reqwest::Response, StoreFault>
where
    F: Future<Output = Result<reqwest::Response, StoreFault>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let fault = match send().await {
            Ok(answer) if !may_pass(answer.status()) => return Ok(answer),
            Ok(answer) => said(brief, answer).await,
            Err(fault) => fault,
        };
        if tries == TRIES {
            return Err(fault);
        }
        tokio::time::sleep(Duration::from_millis(250 << tries)).await;
    }
}

/// The answer, if it is a good one.
pub async fn expect(
    brief: Brief,
    answer: reqwest::Response,
) -> Result<reqwest::Response, StoreFault> {
    if answer.status().is_success() {
        Ok(answer)
    } else {
        Err(said(brief, answer).await)
    }
}

/// Whether the same request may be answered in another way later.
fn may_pass(status: StatusCode) -> bool {
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

/// A bad answer as a fault.
async fn said(brief: Brief, answer: reqwest::Response) -> StoreFault {
    let status = answer.status();
    let told = text(answer).await.unwrap_or_default();
    StoreFault(format!("it answered {status}: {}", brief(&told)))
}
