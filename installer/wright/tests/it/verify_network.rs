//! `wright verify network` against nodes with real SSH servers and the real agent, in network namespaces of their own.
//!
//! Needs root, OpenSSH, and the static agent (`cargo xtask` builds it; `WRIGHT_AGENT` names another one).

use crate::run::Place;
use state::{EnvironmentFolder, Store};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HOSTS: &str = "
all:
  vars: {nics: {eth0: [pxe], eth1: [mgmt, storage, app]}}
controller:
  hosts:
    node-1: {macs: {eth0: '52:54:00:77:01:00', eth1: '52:54:00:77:01:01'}}
    node-2: {macs: {eth0: '52:54:00:77:02:00', eth1: '52:54:00:77:02:01'}}
    node-3: {macs: {eth0: '52:54:00:77:03:00', eth1: '52:54:00:77:03:01'}}
compute:
  hosts:
    node-4: {macs: {eth0: '52:54:00:77:04:00', eth1: '52:54:00:77:04:01'}}
";

const NETWORKS: &str = "
pxe: {cidr: 10.77.0.0/24, gateway: 10.77.0.1, ranges: {nodes: 10.77.0.11-10.77.0.99}}
mgmt: {cidr: 10.77.1.0/24, vlan: 101, ranges: {nodes: 10.77.1.11-10.77.1.99}}
storage: {cidr: 10.77.2.0/24, vlan: 102, mtu: 3000, ranges: {nodes: 10.77.2.11-10.77.2.99}}
app: {cidr: 10.77.3.0/24, vlan: 103, ranges: {nodes: 10.77.3.11-10.77.3.99}}
";

/// Namespaces and SSH servers of three nodes; the fourth was never installed.
struct Nodes {
    prefix: String,
    servers: Vec<Child>,
}

impl Nodes {
    fn start(place: &Place) -> Self {
        let mut nodes = Nodes {
            prefix: format!("vw{}", std::process::id()),
            servers: Vec::new(),
        };
        let switch = nodes.namespace("sw");
        ip(&format!("netns add {switch}"));
        for words in [
            "link set lo up",
            "link add br0 type bridge",
            "link add br1 type bridge",
            "link set br0 mtu 3000 up",
            "link set br1 mtu 3000 up",
            "address add 10.77.0.1/24 dev br0",
        ] {
            ip(&format!("-n {switch} {words}"));
        }
        for number in 1..=3 {
            let name = nodes.namespace(&format!("n{number}"));
            ip(&format!("netns add {name}"));
            for card in 0..2 {
                ip(&format!(
                    "-n {switch} link add p{number}-{card} mtu 3000 type veth peer name eth{card} mtu 3000 netns {name}"
                ));
                ip(&format!(
                    "-n {switch} link set p{number}-{card} master br{card} up"
                ));
            }
            ip(&format!("-n {name} link set eth0 up"));
            ip(&format!(
                "-n {name} address add 10.77.0.{}/24 dev eth0",
                number + 10
            ));
            nodes.servers.push(server(place, &name));
        }
        nodes
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn switch(&self, words: &str) {
        ip(&format!("-n {} {words}", self.namespace("sw")));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for name in ["sw", "n1", "n2", "n3"] {
            let name = self.namespace(name);
            let _ = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// An SSH server in a namespace, in whose mounts the machine's own programs are out of reach of what is installed.
fn server(place: &Place, namespace: &str) -> Child {
    let folder = place.path().display();
    let script = format!(
        "mount --make-rprivate / && mount -t tmpfs none /usr/local/sbin && mkdir -p /run/sshd && \
         exec /usr/sbin/sshd -D -e -f /dev/null -h {folder}/host -o AuthorizedKeysFile={folder}/authorized \
         -o StrictModes=no -o UsePAM=no -o PidFile=none -o PermitRootLogin=prohibit-password"
    );
    Command::new("ip")
        .args([
            "netns", "exec", namespace, "unshare", "-m", "sh", "-c", &script,
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The static agent, if there is one that knows the probe.
fn agent() -> Option<PathBuf> {
    let named = std::env::var_os("WRIGHT_AGENT").map(PathBuf::from);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_wright"));
    let path = provision::agent_program::find(named, &program).ok()?;
    let said = Command::new(&path).output().ok()?;
    let knows = String::from_utf8_lossy(&said.stderr).contains("probe");
    knows.then_some(path)
}

/// What an installation leaves behind: keys, and nodes whose host keys are known.
fn install(place: &Place) {
    let folder = EnvironmentFolder::create(place.path().join("state"), "lab").unwrap();
    let public = provision::ssh_key::ensure(&folder).unwrap();
    fs::write(place.path().join("authorized"), public).unwrap();
    let host = place.path().join("host");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&host)
        .status()
        .unwrap();
    assert!(made.success());
    let key = fs::read_to_string(host.with_extension("pub")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(&folder).await.unwrap();
        for number in 1..=3 {
            let mut record = store
                .ensure_node(&format!("node-{number}"), "provisioned")
                .await
                .unwrap();
            record.ssh_host_key = Some(key.clone());
            store.update_node(&mut record).await.unwrap();
        }
        store.close().await.unwrap();
    });
}

#[test]
fn the_wires_of_installed_nodes_are_asked_after() {
    let Some(agent) = agent() else {
        println!("skipped: no static agent is built (`cargo xtask`), or `WRIGHT_AGENT` names none");
        return;
    };
    let has_sshd = PathBuf::from("/usr/sbin/sshd").exists();
    if !nix::unistd::geteuid().is_root() || !has_sshd {
        println!("skipped: network namespaces and SSH servers in them need root and OpenSSH");
        return;
    }
    let place = Place::new();
    place.write("inventories/lab/hosts.yml", HOSTS);
    place.write("inventories/lab/networks.yml", NETWORKS);
    let bare = place.wright(&["verify", "network"]);
    assert!(
        bare.contains("no node of `lab` is installed yet") && bare.contains("── status 1"),
        "{bare}"
    );

    install(&place);
    let nodes = Nodes::start(&place);
    let (agent, switch) = (agent.display().to_string(), nodes.namespace("sw"));
    let path = std::env::var("PATH").unwrap();
    let env = [
        ("WRIGHT_AGENT", agent.as_str()),
        ("WRIGHT_NETNS", &switch),
        ("PATH", &path),
    ];
    let verify = |args: &[&str]| {
        let began = Instant::now();
        let answer = place.wright_with(&[&["verify", "network"], args].concat(), &env);
        println!("{:.1} s\n{answer}", began.elapsed().as_secs_f64());
        answer
    };
    // Servers begin to listen.
    let since = Instant::now();
    let mut answer = verify(&[]);
    while answer.contains("Connection refused") && since.elapsed() < Duration::from_secs(60) {
        answer = verify(&[]);
    }
    let rows = [
        "node-1  ok   ok    ok       ok",
        "node-2  ok   ok    ok       ok",
        "node-3  ok   ok    ok       ok",
        "node-4  ?    ?     ?        ?",
    ];
    assert!(rows.iter().all(|row| answer.contains(row)), "{answer}");
    assert!(
        answer.contains("not asked: node-4: it is not installed yet"),
        "{answer}"
    );
    assert!(
        answer.contains("3 nodes: 1 not asked") && answer.contains("── status 1"),
        "{answer}"
    );

    nodes.switch("link set p3-1 mtu 1500");
    let answer = verify(&["--only", "storage", "--output", "json"]);
    let report = answer
        .split("── stdout\n")
        .nth(1)
        .and_then(|rest| rest.split("── stderr").next())
        .unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["networks"], serde_json::json!(["storage"]));
    assert_eq!(report["findings"][0]["kind"], "mtu");
    assert_eq!(
        report["findings"][0]["nodes"],
        serde_json::json!(["node-3"])
    );
    assert_eq!(report["findings"].as_array().unwrap().len(), 1);
}
