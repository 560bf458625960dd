//! The official clients, unchanged, against the API on loopback. `OPENSTACK_CLIENTS` names the folder with `openstack`
//! and `neutron` (the `bin` of a virtual environment); without it the test says so and does nothing.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Cloud, config};

struct Clients {
    folder: PathBuf,
    url: String,
}

impl Clients {
    fn run(&self, program: &str, line: &str) -> Result<String, String> {
        let mut command = Command::new(self.folder.join(program));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent");
        // By environment: the old client takes these settings no other way.
        command
            .env("OS_AUTH_TYPE", "admin_token")
            .env("OS_ENDPOINT", &self.url)
            .env("OS_TOKEN", "admin");
        let output = command.args(line.split_whitespace()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    fn openstack(&self, line: &str) -> Value {
        let answer = self
            .run("openstack", &format!("{line} -f json"))
            .unwrap_or_else(|error| panic!("openstack {line}: {error}"));
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    fn quiet(&self, line: &str) {
        self.run("openstack", line)
            .unwrap_or_else(|error| panic!("openstack {line}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_the_official_clients() {
    let Some(folder) = std::env::var_os("OPENSTACK_CLIENTS")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    else {
        return eprintln!("skipped: OPENSTACK_CLIENTS names no folder with the official clients");
    };
    let cloud = Cloud::start(None, config(json!({"simulate": true}))).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clients = Clients {
        folder,
        url: format!("http://{}", listener.local_addr().unwrap()),
    };
    let router = cloud.router.clone();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    tokio::task::spawn_blocking(move || session(&clients))
        .await
        .unwrap();
    server.abort();
}

fn session(clients: &Clients) {
    let external = clients.openstack("network create --external --share --provider-network-type flat --provider-physical-network physnet-app public");
    assert_eq!(external["router:external"], true);
    clients.openstack("subnet create --network public --subnet-range 172.31.0.0/24 --gateway 172.31.0.254 --no-dhcp --allocation-pool start=172.31.0.50,end=172.31.0.99 public4");
    clients.openstack("network create private");
    let subnet = clients.openstack("subnet create --network private --subnet-range 10.1.0.0/24 --dns-nameserver 9.9.9.9 private4");
    assert_eq!(subnet["gateway_ip"], "10.1.0.1");
    clients.openstack("router create r1");
    clients.quiet("router set --external-gateway public r1");
    clients.quiet("router add subnet r1 private4");
    clients.openstack("security group create web");
    clients.openstack("security group rule create --protocol tcp --dst-port 80 web");
    clients.openstack("port create --network private --security-group web --host node-1 --device-owner compute:nova vm1");
    let floating = clients.openstack("floating ip create --port vm1 public");
    assert_eq!(floating["status"], "ACTIVE");
    assert_eq!(
        clients.openstack("port show vm1")["binding_vif_type"],
        "ovs"
    );
    assert_eq!(
        clients.openstack("network list").as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(
        clients
            .openstack("network agent list")
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let listed = clients
        .run("neutron", "net-list")
        .unwrap_or_else(|error| panic!("neutron net-list: {error}"));
    assert!(
        listed.contains("private") && listed.contains("10.1.0.0/24"),
        "{listed}"
    );
    clients
        .run("neutron", "router-port-list r1")
        .unwrap_or_else(|error| panic!("neutron router-port-list: {error}"));
    assert!(
        clients
            .run("openstack", "network delete private")
            .is_err_and(|error| error.contains("409") || error.contains("in use"))
    );
    let address = floating["floating_ip_address"].as_str().unwrap();
    clients.quiet(&format!("floating ip delete {address}"));
    clients.quiet("port delete vm1");
    clients.quiet("router remove subnet r1 private4");
    clients.quiet("router delete r1");
    clients.quiet("network delete private public");
    clients.quiet("security group delete web");
}
