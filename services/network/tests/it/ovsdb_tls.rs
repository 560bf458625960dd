//! A real ovsdb-server that speaks TLS only, on loopback: it is read by who shows a certificate of its authority, and trusts
//! nobody else. Needs Debian's ovn-central; without it the test says so and does nothing.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use network::ovn::ovsdb::{Database, DatabaseSpec};
use network::ovn::tls::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(60);

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// An authority and a certificate for loopback that it has signed, in files whose names begin with `name`.
fn certificate(folder: &Path, name: &str) -> TlsFiles {
    let write = |end: &str, text: String| {
        let path = folder.join(format!("{name}-{end}"));
        std::fs::write(&path, text).unwrap();
        path
    };
    // Two names: a certificate that bears its issuer's is taken for a self-signed one.
    let named = |common_name: &str, addresses: Vec<String>| {
        let mut params = CertificateParams::new(addresses).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params
    };
    let mut params = named("authority", Vec::new());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let own = named("own", vec!["127.0.0.1".to_owned()]);
    let own = own.signed_by(&key, &issuer).unwrap();
    TlsFiles {
        ca_file: write("ca.pem", authority.pem()),
        certificate: write("own.pem", own.pem()),
        key: write("own.key", key.serialize_pem()),
    }
}

fn start(folder: &Path, port: u16, files: &TlsFiles) -> Result<Server, String> {
    let made = Command::new("ovsdb-tool")
        .arg("create")
        .arg(folder.join("nb"))
        .arg("/usr/share/ovn/ovn-nb.ovsschema")
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return Err("ovsdb-tool or OVN's schema is missing; install ovn-central".to_owned());
    }
    let server = Command::new("ovsdb-server")
        .arg(format!("--remote=pssl:{port}:127.0.0.1"))
        .arg(format!("--unixctl={}", folder.join("ctl").display()))
        .arg(format!("--ca-cert={}", files.ca_file.display()))
        .arg(format!("--certificate={}", files.certificate.display()))
        .arg(format!("--private-key={}", files.key.display()))
        .arg(folder.join("nb"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    Ok(Server(server))
}

#[tokio::test]
async fn a_database_is_read_by_who_has_a_certificate_of_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "good");
    let stranger = certificate(folder.path(), "stranger");
    // Given back at once, for the server to take.
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let _server = match start(folder.path(), port, &files) {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let open = |tls| {
        let spec = DatabaseSpec {
            name: "OVN_Northbound",
            remote: format!("ssl:127.0.0.1:{port}"),
            tls,
            monitored: &[("NB_Global", &["name"])],
        };
        Database::open(spec, &tasks, shutdown.clone())
    };
    let Err(error) = open(None) else {
        panic!("it has no certificate to show");
    };
    assert!(error.to_string().ends_with("see [ovn.tls]"), "{error}");
    let untrusting = open(Some(stranger.clone())).unwrap();
    // Trusts the server, but shows what the server does not trust.
    let untrusted = open(Some(TlsFiles {
        ca_file: files.ca_file.clone(),
        ..stranger
    }))
    .unwrap();
    let good = open(Some(files)).unwrap();
    let begun = Instant::now();
    while good.read(|_, _| ()).is_err() {
        assert!(begun.elapsed() < PATIENCE, "no connection");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // They began before the good one, and have tried as often.
    assert!(untrusting.read(|_, _| ()).is_err());
    assert!(untrusted.read(|_, _| ()).is_err());
    shutdown.cancel();
}
