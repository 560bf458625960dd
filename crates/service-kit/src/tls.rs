//! TLS on a service's socket: certificate and key from files, read again when they are replaced; handshakes beside each
//! other and bounded in number and time, so that a caller who says nothing keeps nobody waiting.
//!
//! Does not know HTTP, nor who signs certificates.

use crate::{config::TlsConfig, context::StartError};
use axum::serve::Listener;
use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

/// How long a caller may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at the same time; who comes then waits in the kernel's queue.
const HANDSHAKES: usize = 256;
/// How often is looked whether the files were replaced.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a service shows callers, and where it was read.
pub struct Identity {
    files: TlsConfig,
    /// When the files were last written, as far as known.
    written: [Option<SystemTime>; 2],
    acceptor: TlsAcceptor,
}

impl Identity {
    /// Reads certificate and key.
    pub fn read(files: &TlsConfig) -> Result<Self, StartError> {
        Ok(Identity {
            // First: what is written after this look is read at the next one.
            written: written(files),
            acceptor: acceptor(files)?,
            files: files.clone(),
        })
    }

    /// Takes what is new. Of files that do not fit each other one is not there yet: the next look finds it.
    fn look_again(&mut self) {
        if written(&self.files) == self.written {
            return;
        }
        match Identity::read(&self.files) {
            Ok(new) => {
                tracing::info!(certificate = %self.files.certificate.display(), "a new certificate");
                *self = new;
            }
            Err(error) => tracing::warn!(%error, "the old certificate is kept"),
        }
    }
}

fn written(files: &TlsConfig) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|path| fs::metadata(path).and_then(|m| m.modified()).ok())
}

/// A socket that gives connections whose handshake is done.
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Speaks TLS on `listener`.
    pub fn new(listener: TcpListener, identity: Identity) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(1);
        Ok(TlsListener {
            address,
            ready,
            accepting: tokio::spawn(accept_all(listener, identity, sender)),
        })
    }
}

impl Drop for TlsListener {
    /// The socket closes at once.
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // Only after the accepting task was aborted: nobody comes any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn accept_all(
    mut listener: TcpListener,
    mut identity: Identity,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    let mut look = tokio::time::interval(LOOK_EVERY);
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let (stream, peer) = tokio::select! {
            connection = Listener::accept(&mut listener) => connection,
            _ = look.tick() => {
                identity.look_again();
                continue;
            }
        };
        let (acceptor, sender) = (identity.acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let _ = stream.set_nodelay(true);
            let why = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let _ = sender.send((stream, peer)).await;
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("nothing within {HANDSHAKE:?}"),
            };
            metrics::counter!("tls_handshakes_failed").increment(1);
            tracing::debug!(%peer, why, "a handshake failed");
        });
    }
}

fn acceptor(files: &TlsConfig) -> Result<TlsAcceptor, StartError> {
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("certificate", &files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable("key", &files.key, &error))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut settings = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, key))
        .map_err(|error| {
            StartError::Config(format!(
                "[service.tls] certificate `{}` with key `{}`: {error}",
                files.certificate.display(),
                files.key.display()
            ))
        })?;
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(settings)))
}

fn unreadable(what: &str, path: &Path, error: &dyn std::fmt::Display) -> StartError {
    StartError::Config(format!(
        "[service.tls] {what} `{}`: {error}; expected a PEM file that this service may read",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server;
    use axum::{Router, routing::get};
    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsConnector, rustls};
    use tokio_util::sync::CancellationToken;

    /// A self-signed certificate for loopback in the folder; its PEM.
    fn write(files: &TlsConfig) -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::write(&files.certificate, &pem).unwrap();
        pem
    }

    fn files(folder: &Path) -> TlsConfig {
        TlsConfig {
            certificate: folder.join("node.pem"),
            key: folder.join("node.key"),
        }
    }

    async fn ask(address: SocketAddr, trusted: &str) -> io::Result<String> {
        let mut roots = rustls::RootCertStore::empty();
        let trusted = CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap();
        roots.add(trusted).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = address.ip().into();
        let mut stream = TlsConnector::from(Arc::new(settings))
            .connect(name, stream)
            .await?;
        let request = b"GET /slow HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn serves_who_trusts_it_beside_a_silent_caller_and_stops_when_it_has_answered() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let trusted = write(&files);
        let plain = server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let listener = TlsListener::new(plain, Identity::read(&files).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let slow = get(async move || {
            asked.cancel();
            tokio::time::sleep(Duration::from_millis(200)).await;
            "done"
        });
        let router = Router::new().route("/slow", slow);
        let serving = tokio::spawn(server::serve(listener, router, stop));

        let silent = TcpStream::connect(address).await.unwrap();
        let other = files_of_a_stranger();
        assert!(ask(address, &other).await.is_err());
        let answer = ask(address, &trusted).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
        serving.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
        drop(silent);
    }

    fn files_of_a_stranger() -> String {
        let folder = tempfile::tempdir().unwrap();
        write(&files(folder.path()))
    }

    #[test]
    fn a_new_certificate_is_taken_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        write(&files);
        let mut identity = Identity::read(&files).unwrap();
        let first = Arc::as_ptr(identity.acceptor.config());
        identity.look_again();
        assert_eq!(Arc::as_ptr(identity.acceptor.config()), first);

        let newer = |path: &Path, seconds| {
            let time = SystemTime::now() + Duration::from_secs(seconds);
            fs::File::options()
                .append(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        let old_key = fs::read(&files.key).unwrap();
        write(&files);
        let new_key = fs::read(&files.key).unwrap();
        // The certificate is there, its key not yet.
        fs::write(&files.key, old_key).unwrap();
        newer(&files.certificate, 5);
        identity.look_again();
        assert_eq!(Arc::as_ptr(identity.acceptor.config()), first);
        fs::write(&files.key, new_key).unwrap();
        newer(&files.key, 9);
        identity.look_again();
        assert_ne!(Arc::as_ptr(identity.acceptor.config()), first);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let files = files(Path::new("/nowhere"));
        let error = Identity::read(&files).err().unwrap().to_string();
        assert!(
            error.contains("[service.tls] certificate `/nowhere/node.pem`"),
            "{error}"
        );
    }
}
