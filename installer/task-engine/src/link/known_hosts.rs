//! SSH host keys of machines that this product did not install: from files in the form of OpenSSH's `known_hosts`, and
//! from a person who compared a fingerprint. Never from first use.
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client;
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};

/// All keys that these files know for the host, as OpenSSH lines, one a line; empty if there is none.
pub fn keys_of(host: &str, port: u16, files: &[PathBuf]) -> String {
    let found = files
        .iter()
        // A file that cannot be read knows nothing, and nothing is trusted then.
        .filter_map(|path| russh::keys::known_hosts::known_host_keys_path(host, port, path).ok())
        .flatten()
        .filter_map(|(_, key)| key.to_openssh().ok());
    let mut lines: Vec<String> = found.collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("{host}:{port} does not answer: {reason}")]
    Unreachable {
        host: String,
        port: u16,
        reason: String,
    },
    #[error("{host}:{port} shows the fingerprints {}, none of which is the one given", .shown.join(", "))]
    Other {
        host: String,
        port: u16,
        shown: Vec<String>,
    },
    #[error("`{path}` cannot be written: {reason}")]
    File { path: String, reason: String },
}

/// Fetches the host's keys and writes the one that has this fingerprint (`SHA256:...`) into `file`.
///
/// # Errors
/// The host does not answer, shows other keys only, or the file cannot be written; nothing is trusted then.
pub async fn trust(
    host: &str,
    port: u16,
    fingerprint: &str,
    file: &Path,
    patience: Duration,
) -> Result<String, TrustError> {
    let mut shown = Vec::new();
    let mut last = String::new();
    for kind in [
        Algorithm::Ed25519,
        Algorithm::Ecdsa {
            curve: russh::keys::EcdsaCurve::NistP256,
        },
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        },
    ] {
        let key = match key_of_kind(host, port, kind, patience).await {
            Ok(key) => key,
            Err(reason) => {
                last = reason;
                continue;
            }
        };
        let print = key.fingerprint(HashAlg::Sha256).to_string();
        if print.trim_end_matches('=') == fingerprint.trim().trim_end_matches('=') {
            let line = key.to_openssh().map_err(|error| TrustError::File {
                path: file.display().to_string(),
                reason: error.to_string(),
            })?;
            note(host, port, &line, file)?;
            return Ok(line);
        }
        shown.push(print);
    }
    let host = host.to_owned();
    match shown.is_empty() {
        true => Err(TrustError::Unreachable {
            host,
            port,
            reason: last,
        }),
        false => Err(TrustError::Other { host, port, shown }),
    }
}

fn note(host: &str, port: u16, key: &str, file: &Path) -> Result<(), TrustError> {
    let failed = |error: std::io::Error| TrustError::File {
        path: file.display().to_string(),
        reason: error.to_string(),
    };
    let known = keys_of(host, port, &[file.to_path_buf()]);
    let words = |line: &str| {
        line.split(' ')
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    if known.lines().any(|line| words(line) == words(key)) {
        return Ok(());
    }
    let name = match port {
        22 => host.to_owned(),
        port => format!("[{host}]:{port}"),
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut out = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)
        .map_err(failed)?;
    writeln!(out, "{name} {}", words(key).join(" ")).map_err(failed)
}

/// The key of this kind that the server shows; the connection ends before anything else is said.
async fn key_of_kind(
    host: &str,
    port: u16,
    kind: Algorithm,
    patience: Duration,
) -> Result<PublicKey, String> {
    struct Look(Arc<Mutex<Option<PublicKey>>>);
    impl client::Handler for Look {
        type Error = russh::Error;
        async fn check_server_key(
            &mut self,
            shown: &PublicKeyOrCertificate,
        ) -> Result<bool, Self::Error> {
            if let PublicKeyOrCertificate::PublicKey { key, .. } = shown {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
            }
            Ok(false)
        }
    }
    let mut config = client::Config::default();
    config.preferred.key = vec![kind].into();
    let found = Arc::new(Mutex::new(None));
    let looking = client::connect(Arc::new(config), (host, port), Look(found.clone()));
    let ended = tokio::time::timeout(patience, looking).await;
    let key = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (key, ended) {
        (Some(key), _) => Ok(key),
        (None, Err(_)) => Err(format!("no answer within {} seconds", patience.as_secs())),
        (None, Ok(Err(error))) => Err(error.to_string()),
        (None, Ok(Ok(_))) => Err("it showed no host key".to_owned()),
    }
}
