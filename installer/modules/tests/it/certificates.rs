//! Keys, requests and certificates, judged by the `openssl` command.
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::node::Node;

/// A folder, or why there is no test.
fn node() -> Result<(tempfile::TempDir, Node), String> {
    Command::new("openssl")
        .arg("version")
        .output()
        .map_err(|_| "`openssl` is not installed".to_owned())?;
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(folder.path());
    Ok((folder, node))
}

/// What `openssl` says, told or complained.
fn openssl(node: &Node, words: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(words)
        .current_dir(&node.root)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn with(base: &Value, more: Value) -> Value {
    let mut all = base.as_object().unwrap().clone();
    all.extend(more.as_object().unwrap().clone());
    all.into()
}

#[test]
fn keys_are_made_kept_and_made_anew() {
    let (_folder, node) = match node() {
        Ok(node) => node,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let key = |path: &str| std::fs::read_to_string(node.root.join(path)).unwrap();
    let rsa = json!({"path": "/rsa", "size": 2048});
    let done = node.converges("openssl_privatekey", rsa.clone());
    assert!(openssl(&node, &["pkey", "-in", "rsa", "-text", "-noout"]).contains("2048 bit"));
    assert_eq!(
        std::fs::metadata(node.root.join("rsa"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert!(
        key("rsa").contains("BEGIN RSA PRIVATE KEY")
            && !format!("{done:?}").contains("PRIVATE KEY")
    );
    // Mended in place, and not a new key.
    let before = key("rsa");
    std::fs::set_permissions(
        node.root.join("rsa"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert!(node.run("openssl_privatekey", rsa.clone()).changed);
    assert_eq!(
        (
            key("rsa"),
            std::fs::metadata(node.root.join("rsa"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        ),
        (before.clone(), 0o600)
    );
    let convert = with(
        &rsa,
        json!({"format": "pkcs8", "format_mismatch": "convert"}),
    );
    let converted = node.converges("openssl_privatekey", convert);
    assert_eq!(converted.data["fingerprint"], done.data["fingerprint"]);
    let larger = json!({"path": "/rsa", "size": 2056, "backup": true, "return_content": true});
    let done = node.converges("openssl_privatekey", larger.clone());
    assert_eq!(done.data["privatekey"], json!(key("rsa")));
    assert!(std::path::Path::new(done.data["backup_file"].as_str().unwrap()).exists());
    for (kind, said) in [("Ed25519", "ED25519"), ("X448", "X448"), ("Ed448", "ED448")] {
        node.converges(
            "openssl_privatekey",
            json!({"path": "/other", "type": kind}),
        );
        assert!(openssl(&node, &["pkey", "-in", "other", "-text", "-noout"]).contains(said));
    }
    let closed = json!({"path": "/ec", "type": "ECC", "curve": "secp256r1", "passphrase": "it's", "cipher": "auto"});
    node.converges("openssl_privatekey", closed.clone());
    assert!(key("ec").contains("ENCRYPTED"));
    assert!(
        openssl(
            &node,
            &["ec", "-in", "ec", "-passin", "pass:it's", "-noout", "-text"]
        )
        .contains("prime256v1")
    );
    let said = node.refuses(
        "openssl_privatekey",
        with(
            &closed,
            json!({"passphrase": "other", "regenerate": "partial_idempotence"}),
        ),
    );
    assert!(
        said.contains("cannot be read with this passphrase"),
        "{said}"
    );
    node.converges(
        "openssl_privatekey",
        with(&closed, json!({"passphrase": "other"})),
    );
    let public =
        json!({"path": "/ec.pub", "privatekey_path": "/ec", "privatekey_passphrase": "other"});
    node.converges("openssl_publickey", public.clone());
    assert_eq!(
        key("ec.pub"),
        openssl(
            &node,
            &["pkey", "-in", "ec", "-passin", "pass:other", "-pubout"]
        )
    );
    node.converges(
        "openssl_publickey",
        with(&public, json!({"format": "OpenSSH"})),
    );
    assert!(
        key("ec.pub").starts_with("ecdsa-sha2-nistp256 "),
        "{}",
        key("ec.pub")
    );
    node.converges("openssl_dhparam", json!({"path": "/dh", "size": 512}));
    assert!(openssl(&node, &["dhparam", "-in", "dh", "-check", "-noout"]).contains("ok"));
    node.converges(
        "openssl_privatekey",
        json!({"path": "/other", "state": "absent"}),
    );
    assert!(!node.root.join("other").exists());
}

#[test]
fn a_ca_of_ones_own_and_what_it_signs() {
    let (_folder, node) = match node() {
        Ok(node) => node,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let certificate = |path: &str| openssl(&node, &["x509", "-in", path, "-noout", "-text"]);
    // What is to be made later is foretold.
    let ca = json!({"path": "/ca.csr", "privatekey_path": "/ca.key", "common_name": "My \"CA\" $x # y", "O": "Größe",
        "basic_constraints": ["CA:TRUE", "pathlen:0"], "basic_constraints_critical": true, "key_usage": ["keyCertSign", "CRL Sign"],
        "name_constraints_permitted": ["DNS:.example", "IP:10.0.0.0/8"], "use_common_name_for_san": false});
    let sign = json!({"path": "/ca.pem", "provider": "selfsigned", "csr_path": "/ca.csr", "privatekey_path": "/ca.key", "selfsigned_not_after": "+52w"});
    assert!(
        node.check("openssl_csr", ca.clone()).changed
            && node.check("x509_certificate", sign.clone()).changed
    );
    assert!(node.refuses("openssl_csr", ca.clone()).contains("ca.key"));
    node.converges(
        "openssl_privatekey",
        json!({"path": "/ca.key", "type": "ECC", "curve": "secp384r1"}),
    );
    let done = node.converges("openssl_csr", ca.clone());
    assert_eq!(done.data["subject"][1], json!(["CN", "My \"CA\" $x # y"]));
    node.converges("x509_certificate", sign.clone());
    let text = certificate("ca.pem");
    assert!(
        text.contains("CA:TRUE, pathlen:0") && text.contains("Subject Key Identifier"),
        "{text}"
    );

    node.converges(
        "openssl_privatekey",
        json!({"path": "/web.key", "size": 2048, "passphrase": "geheim"}),
    );
    let web = json!({"path": "/web.csr", "privatekey_path": "/web.key", "privatekey_passphrase": "geheim", "common_name": "web.example",
        "subject_alt_name": ["DNS:web.example", "IP:10.1.2.3"], "extended_key_usage": "serverAuth,clientAuth", "key_usage": "digitalSignature",
        "ocsp_must_staple": true, "crl_distribution_points": [{"full_name": ["URI:http://ca.example/crl"], "reasons": ["key_compromise"]}]});
    node.converges("openssl_csr", web.clone());
    let issue = json!({"path": "/web.pem", "provider": "ownca", "csr_path": "/web.csr", "ownca_path": "/ca.pem", "ownca_privatekey_path": "/ca.key",
        "ownca_not_before": "-1d", "ownca_not_after": "20490101000000Z", "mode": "0640"});
    node.converges("x509_certificate", issue.clone());
    assert_eq!(
        openssl(&node, &["verify", "-CAfile", "ca.pem", "web.pem"]),
        "web.pem: OK\n"
    );
    let text = certificate("web.pem");
    assert!(
        text.contains("Not After : Jan  1 00:00:00 2049 GMT")
            && text.contains("Authority Key Identifier"),
        "{text}"
    );
    assert!(
        text.contains("DNS:web.example, IP Address:10.1.2.3"),
        "{text}"
    );

    // Another request, other dates, another issuer, another key of the issuer: each is a reason.
    node.converges(
        "openssl_csr",
        with(&web, json!({"subject_alt_name": "DNS:web.example"})),
    );
    assert!(
        node.converges("x509_certificate", issue.clone())
            .msg
            .contains("extensions")
    );
    let strict = with(
        &issue,
        json!({"ignore_timestamps": false, "ownca_not_before": "20200101000000Z"}),
    );
    assert!(
        node.converges("x509_certificate", strict)
            .msg
            .contains("dates")
    );
    let plain = with(
        &issue,
        json!({"ownca_create_authority_key_identifier": false, "ownca_create_subject_key_identifier": "never_create"}),
    );
    node.converges("x509_certificate", plain);
    assert!(!certificate("web.pem").contains("Key Identifier"));
    let past = with(
        &issue,
        json!({"force": true, "ownca_not_before": "-2d", "ownca_not_after": "-1d"}),
    );
    assert!(node.run("x509_certificate", past).changed);
    assert!(
        node.converges("x509_certificate", issue.clone())
            .msg
            .contains("has ended")
    );
    node.converges(
        "openssl_privatekey",
        json!({"path": "/ca.key", "type": "ECC", "curve": "secp521r1"}),
    );
    assert!(
        node.check("x509_certificate", sign.clone()).failed,
        "the request is of the old key"
    );
    node.converges("openssl_csr", ca);
    node.converges("x509_certificate", sign);
    node.converges("x509_certificate", issue);
    assert_eq!(
        openssl(&node, &["verify", "-CAfile", "ca.pem", "web.pem"]),
        "web.pem: OK\n"
    );
    // Without a request, and with the key as a text.
    let key = std::fs::read_to_string(node.root.join("ca.key")).unwrap();
    node.converges(
        "x509_certificate",
        json!({"path": "/bare.pem", "provider": "selfsigned", "privatekey_content": key}),
    );
    node.converges(
        "x509_certificate",
        json!({"path": "/bare.pem", "state": "absent"}),
    );
    let said = node.refuses(
        "x509_certificate",
        json!({"path": "/x", "provider": "acme"}),
    );
    assert!(said.contains("must be one of: selfsigned, ownca"), "{said}");
}
