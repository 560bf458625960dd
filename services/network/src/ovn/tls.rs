//! TLS to a database of OVN: both sides show a certificate of the same authority. The files are read for each connection,
//! so that a certificate that was replaced is used from the next one on. Does not know what is said over it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_rustls::{TlsConnector, rustls};

/// `[ovn.tls]`: PEM files, needed with `ssl:` remotes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The authority that signed the databases' certificates.
    pub ca_file: PathBuf,
    /// What this service shows.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Connects to `HOST:PORT`, whose certificate must be for that host.
pub async fn connect(address: &str, files: &TlsFiles) -> io::Result<TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(settings(files)?));
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    connector.connect(name, stream).await
}

fn settings(files: &TlsFiles) -> io::Result<ClientConfig> {
    let unreadable = |path: &PathBuf, error: rustls::pki_types::pem::Error| {
        io::Error::other(format!("`{}`: {error}", path.display()))
    };
    let certificates = |path: &PathBuf| {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unreadable(path, error))
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.ca_file)? {
        roots.add(root).map_err(io::Error::other)?;
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, error))?;
    let shown = certificates(&files.certificate)?;
    ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots))
        .and_then(|builder| builder.with_client_auth_cert(shown, key))
        .map_err(io::Error::other)
}
