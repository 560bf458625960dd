//! The module `apt` over the real apt and dpkg, on a root folder and a repository of the test's own.
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::node::Node;

#[test]
fn packages_are_installed_upgraded_and_removed() {
    if !nix::unistd::getuid().is_root() {
        return eprintln!("skipped: dpkg gives files to root, which needs root");
    }
    let Ok(_) = Command::new("dpkg-deb").arg("--version").output() else {
        return eprintln!("skipped: `dpkg-deb` is not installed");
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let node = node(root);
    let there =
        |package: &str| fs::read_to_string(root.join("usr/share/stackwright").join(package)).ok();

    offer(root, &[("tool", "1.0", "library"), ("library", "1.0", "")]);
    node.settles("apt", json!({"name": "tool", "update_cache": true}));
    assert_eq!(
        (there("tool").as_deref(), there("library").as_deref()),
        (Some("1.0"), Some("1.0"))
    );
    // A newer one is there: only who wants the latest gets it.
    offer(
        root,
        &[
            ("tool", "1.0", "library"),
            ("tool", "2.0", "library"),
            ("library", "1.0", ""),
        ],
    );
    let fresh = node.run("apt", json!({"update_cache": true}));
    assert!(!fresh.failed, "{fresh:?}");
    assert!(!node.run("apt", json!({"name": ["tool"]})).changed);
    node.settles("apt", json!({"name": "tool", "state": "latest"}));
    assert_eq!(there("tool").as_deref(), Some("2.0"));
    let older = json!({"name": "tool=1.0", "allow_downgrade": true});
    node.settles("apt", older);
    assert_eq!(there("tool").as_deref(), Some("1.0"));
    let said = node.refuses("apt", json!({"name": "no-such-package"}));
    assert!(said.contains("no-such-package"), "{said}");
    node.settles(
        "apt",
        json!({"name": "tool", "state": "absent", "purge": true, "autoremove": true}),
    );
    assert_eq!((there("tool"), there("library")), (None, None));
    node.settles("apt", json!({"deb": "/repository/library_1.0_all.deb"}));
    assert_eq!(there("library").as_deref(), Some("1.0"));
}

/// A node whose apt and dpkg know nothing but `root`.
fn node(root: &Path) -> Node {
    for path in [
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/trusted.gpg.d",
        "repository",
        "tmp",
        "usr/sbin",
        "var/cache/apt/archives/partial",
        "var/lib/apt/lists/partial",
        "var/lib/dpkg/info",
        "var/lib/dpkg/triggers",
        "var/lib/dpkg/updates",
        "var/log/apt",
    ] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let at = root.display();
    fs::write(
        root.join("etc/apt/sources.list"),
        format!("deb [trusted=yes] file:{at}/repository ./\n"),
    )
    .unwrap();
    let conf = root.join("apt.conf");
    fs::write(
        &conf,
        format!(
            "Dir \"{at}\";\nDir::State::status \"{at}/var/lib/dpkg/status\";\nDir::Bin::methods \"/usr/lib/apt/methods\";\n\
             Dir::Bin::dpkg \"/usr/bin/dpkg\";\nDPkg::Options {{ \"--root={at}\"; \"--log={at}/var/log/dpkg.log\"; }};\n\
             APT::Sandbox::User \"\";\n"
        ),
    )
    .unwrap();
    let mut node = Node::new(root);
    node.environment.extend([
        ("APT_CONFIG".to_owned(), conf.display().to_string()),
        ("DPKG_ROOT".to_owned(), root.display().to_string()),
        (
            "PATH".to_owned(),
            "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
    ]);
    node
}

/// Makes the packages (name, version, what it depends on) and the repository's list of them.
fn offer(root: &Path, packages: &[(&str, &str, &str)]) {
    let repository = root.join("repository");
    let mut list = String::new();
    for (name, version, depends) in packages {
        let tree = tempfile::tempdir().unwrap();
        let share = tree.path().join("usr/share/stackwright");
        fs::create_dir_all(&share).unwrap();
        fs::create_dir(tree.path().join("DEBIAN")).unwrap();
        fs::write(share.join(name), version).unwrap();
        let mut control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: test <test@example.org>\nDescription: for a test\n"
        );
        if !depends.is_empty() {
            let _ = writeln!(control, "Depends: {depends}");
        }
        fs::write(tree.path().join("DEBIAN/control"), &control).unwrap();
        let file = format!("{name}_{version}_all.deb");
        let deb = repository.join(&file);
        let built = Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Znone"])
            .args([tree.path(), &deb])
            .output()
            .unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let bytes = fs::read(&deb).unwrap();
        let _ = writeln!(
            list,
            "{control}Filename: ./{file}\nSize: {}\nSHA256: {}\n",
            bytes.len(),
            hex::encode(Sha256::digest(&bytes))
        );
    }
    fs::write(repository.join("Packages"), list).unwrap();
}
