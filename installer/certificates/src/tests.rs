//! What is renewed and when, and that a TLS library takes it.
use super::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn names(dns: &[&str], addresses: &[&str]) -> Names {
    Names {
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
    }
}

fn two_nodes() -> BTreeMap<String, Names> {
    BTreeMap::from([
        (
            "node-1".to_owned(),
            names(&["node-1", "localhost"], &["10.20.1.11", "::1"]),
        ),
        (
            "node-2".to_owned(),
            names(&["node-2", "localhost"], &["10.20.1.12", "::1"]),
        ),
    ])
}

#[test]
fn what_is_good_stays_to_the_byte() {
    let mut all = Certificates::new("lab", at("2026-03-01T10:00:00.5Z")).unwrap();
    let made = all
        .renew(&two_nodes(), at("2026-03-01T10:00:00.5Z"))
        .unwrap();
    assert_eq!(made, ["node-1", "node-2"]);
    let kept: Certificates = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
    assert_eq!(kept, all);
    // 397 days and the one before: due when 132 2/3 are left.
    let mut later = kept.clone();
    assert!(
        later
            .renew(&two_nodes(), at("2026-11-20T01:00:00Z"))
            .unwrap()
            .is_empty()
    );
    assert_eq!(later, kept);
}

#[test]
fn a_third_before_the_end_all_are_renewed() {
    let mut all = Certificates::new("lab", at("2026-03-01T10:00:00Z")).unwrap();
    all.renew(&two_nodes(), at("2026-03-01T10:00:00Z")).unwrap();
    let before = all.clone();
    assert_eq!(
        all.renew(&two_nodes(), at("2026-11-20T19:00:00Z")).unwrap(),
        ["node-1", "node-2"]
    );
    assert_eq!(all.authority(), before.authority());
    assert_ne!(
        all.node("node-1").unwrap().key,
        before.node("node-1").unwrap().key
    );
    assert_eq!(all.node("node-1").unwrap().ends, at("2027-12-22T19:00:00Z"));
}

#[test]
fn other_names_renew_one_node_and_a_node_that_left_is_forgotten() {
    let now = at("2026-03-01T10:00:00Z");
    let mut all = Certificates::new("lab", now).unwrap();
    all.renew(&two_nodes(), now).unwrap();
    let mut wanted = two_nodes();
    wanted
        .get_mut("node-2")
        .unwrap()
        .addresses
        .insert("10.20.2.12".parse().unwrap());
    assert_eq!(all.renew(&wanted, now).unwrap(), ["node-2"]);
    wanted.remove("node-1");
    assert!(all.renew(&wanted, now).unwrap().is_empty());
    assert!(all.node("node-1").is_none());
}

#[test]
fn no_certificate_outlives_the_authority() {
    let mut all = Certificates::new("lab", at("2026-03-01T10:00:00Z")).unwrap();
    all.renew(&two_nodes(), at("2036-01-01T00:00:00Z")).unwrap();
    assert_eq!(all.node("node-1").unwrap().ends, all.authority_ends());
    // And is not renewed at every deployment for that.
    assert!(
        all.renew(&two_nodes(), at("2036-01-02T00:00:00Z"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn keys_are_not_shown() {
    let now = at("2026-03-01T10:00:00Z");
    let mut all = Certificates::new("lab", now).unwrap();
    all.renew(&two_nodes(), now).unwrap();
    let shown = format!("{all:?}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

/// What a client that trusts `all` says of `name` at `now`, and the key fits the certificate.
fn judged(all: &Certificates, node: &str, name: &str, now: &str) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(all.authority().as_bytes()).unwrap())
        .unwrap();
    let pair = all.node(node).unwrap();
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        )
        .map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(at(now).timestamp() as u64));
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
    use rustls::client::danger::ServerCertVerifier;
    verifier
        .verify_server_cert(
            &certificate,
            &[],
            &ServerName::try_from(name).unwrap(),
            &[],
            now,
        )
        .map(drop)
        .map_err(|error| {
            format!("{error:?}")
                .split([' ', '{', '('])
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        })
}

#[test]
fn clients_take_the_names_and_nothing_else() {
    let now = "2026-03-01T10:00:00Z";
    let mut all = Certificates::new("lab", at(now)).unwrap();
    all.renew(&two_nodes(), at(now)).unwrap();
    for name in ["node-1", "localhost", "10.20.1.11", "::1"] {
        assert_eq!(judged(&all, "node-1", name, now), Ok(()), "{name}");
    }
    assert!(judged(&all, "node-1", "10.20.1.12", now).is_err());
    assert!(judged(&all, "node-1", "node-1", "2027-05-01T00:00:00Z").is_err());
    // A machine whose clock is some hours behind.
    assert_eq!(
        judged(&all, "node-1", "node-1", "2026-03-01T01:00:00Z"),
        Ok(())
    );
    let stranger = Certificates::new("lab", at(now)).unwrap();
    let mixed = Certificates {
        authority: stranger.authority.clone(),
        ..all
    };
    assert!(judged(&mixed, "node-1", "node-1", now).is_err());
}
