//! The northbound database goes away and comes back, and several controllers write to it at once. Needs Debian's
//! ovn-central (ovsdb-server, ovn-nbctl); without it the test says so and does nothing. Listens on Unix sockets only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Cloud, config, id};

const PATIENCE: Duration = Duration::from_secs(90);

/// One ovsdb-server for both databases; killed when dropped.
struct Databases {
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Databases {
    fn new() -> Result<Databases, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        for name in ["nb", "sb"] {
            let schema = format!("/usr/share/ovn/ovn-{name}.ovsschema");
            let made = Command::new("ovsdb-tool")
                .arg("create")
                .arg(folder.path().join(name))
                .arg(&schema)
                .output();
            match made {
                Ok(output) if output.status.success() => {}
                _ => {
                    return Err(format!(
                        "ovsdb-tool or {schema} is missing; install ovn-central"
                    ));
                }
            }
        }
        let mut databases = Databases {
            folder,
            server: None,
        };
        databases.start();
        databases.nbctl(&["init"]);
        Ok(databases)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    fn start(&mut self) {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Command::new("ovsdb-server");
        command
            .arg(format!("--remote=punix:{}", self.socket().display()))
            .arg(format!("--unixctl={}", path("ctl").display()));
        command
            .args([path("nb"), path("sb")])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        // The tool gives up at once when nobody listens.
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(started.elapsed() < PATIENCE, "ovsdb-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        _ = std::fs::remove_file(self.socket());
    }

    fn nbctl(&self, arguments: &[&str]) -> String {
        let db = format!("--db=unix:{}", self.socket().display());
        let output = Command::new("ovn-nbctl")
            .args([db.as_str(), "--timeout=60"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn switches(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .nbctl(&["--bare", "--columns=name", "list", "Logical_Switch"])
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    async fn wait_for_switches(&self, expected: &BTreeSet<String>) {
        let started = Instant::now();
        loop {
            let switches = self.switches();
            if switches.iter().eq(expected.iter()) {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "there are {switches:?}, not {expected:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            _ = server.kill();
            _ = server.wait();
        }
    }
}

async fn controller(databases: &Databases, file: &Path) -> Cloud {
    let db = service_kit::store::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let remote = format!("unix:{}", databases.socket().display());
    let settings = json!({"ovn": {"northbound": remote, "southbound": remote}, "network": {"resync_seconds": 1}});
    Cloud::start(Some(db), config(settings)).await
}

async fn add_network(cloud: &Cloud, expected: &mut BTreeSet<String>) {
    let network = cloud
        .create("member", "/v2.0/networks", "network", json!({}))
        .await;
    expected.insert(format!("neutron-{}", id(&network)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_realised_in_the_end_and_once() {
    let mut databases = match Databases::new() {
        Ok(databases) => databases,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("network.db");
    let mut expected = BTreeSet::new();
    let one = controller(&databases, &file).await;
    add_network(&one, &mut expected).await;
    databases.wait_for_switches(&expected).await;

    // Without OVN the API goes on; what it accepts is realised when OVN is back.
    databases.kill();
    for _ in 0..3 {
        add_network(&one, &mut expected).await;
    }
    databases.start();
    databases.wait_for_switches(&expected).await;

    // Three controllers write at once, and each looks at everything: nothing comes twice.
    let (two, three) = (
        controller(&databases, &file).await,
        controller(&databases, &file).await,
    );
    for _ in 0..5 {
        for cloud in [&one, &two, &three] {
            add_network(cloud, &mut expected).await;
        }
    }
    databases.wait_for_switches(&expected).await;

    // A controller that starts anew finds everything done and writes nothing.
    drop((one, two, three));
    let generation = || {
        databases.nbctl(&[
            "get",
            "NB_Global",
            ".",
            "external_ids:\"stackwright:generation\"",
        ])
    };
    let before = generation();
    let again = controller(&databases, &file).await;
    let started = Instant::now();
    while again
        .call(
            "admin",
            http::Method::GET,
            "/v2.0/agents",
            serde_json::Value::Null,
        )
        .await
        .0
        != 200
    {
        assert!(started.elapsed() < PATIENCE, "no connection to OVN");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    add_network(&again, &mut expected).await;
    databases.wait_for_switches(&expected).await;
    let count = |text: &str| text.trim().trim_matches('"').parse::<u64>().unwrap();
    assert_eq!(
        count(&generation()),
        count(&before) + 1,
        "one network more is one write more"
    );
}
