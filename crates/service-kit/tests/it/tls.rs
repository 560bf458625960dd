//! A database server that lets nobody in without TLS.

use service_kit::{store, testing::databases};
use std::time::Duration;

#[tokio::test]
async fn the_database_is_reached_by_who_trusts_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let certificate = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (server, stranger) = (certificate(), certificate());
    let authority = write("ca.pem", &server.cert.pem());
    let key = write("node.key", &server.signing_key.serialize_pem());
    let arguments = [
        "--require-secure-transport=ON".to_owned(),
        format!("--ssl-cert={}", authority.display()),
        format!("--ssl-key={}", key.display()),
    ];
    let database = match databases::mariadb_with(&arguments) {
        Ok(database) => database,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let db = store::connect_trusting(&database.url, Some(&authority)).await;
    db.unwrap().ping().await.unwrap();
    // It would try for a minute.
    let other = write("other.pem", &stranger.cert.pem());
    let refused = store::connect_trusting(&database.url, Some(&other));
    let refused = tokio::time::timeout(Duration::from_secs(5), refused).await;
    assert!(!matches!(refused, Ok(Ok(_))));
}
