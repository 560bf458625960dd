//! A real OVN: two chassis in network namespaces, guests that get their addresses by DHCP from ports that the service
//! made, traffic between chassis, a floating IP from outside. Needs root and Debian's ovn-central, ovn-host, busybox
//! and ethtool; without them it says so and does nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::support::{Cloud, config, id};

/// Generous: a slow machine under load is no fault.
const PATIENCE: Duration = Duration::from_secs(90);

const DHCP_SCRIPT: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip link set "$interface" mtu "${mtu:-1500}"
set -- $staticroutes
while [ $# -ge 2 ]; do
    if [ "$2" = 0.0.0.0 ]; then ip route add "$1" dev "$interface"; else ip route add "$1" via "$2"; fi
    shift 2
done
echo "$ip/$mask mtu=$mtu dns=$dns routes=$staticroutes" > "$LEASE"
"#;

/// The namespaces and daemons; gone when dropped.
struct Lab {
    prefix: String,
    folder: tempfile::TempDir,
}

impl Lab {
    fn script(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/ovn-lab.sh");
        let output = Command::new("sh")
            .arg(script)
            .args(arguments)
            .env("L", &self.prefix)
            .env("D", self.folder.path())
            .output();
        output.expect("sh runs")
    }

    fn set_up(&self, arguments: &[&str]) {
        let output = self.script(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn in_namespace(&self, name: &str, command: &[&str]) -> Output {
        let namespace = format!("{}-{name}", self.prefix);
        let output = Command::new("ip")
            .args(["netns", "exec", &namespace])
            .args(command)
            .env("LEASE", self.path(&format!("lease-{name}")))
            .output();
        output.expect("ip runs")
    }

    /// What the guest got by DHCP.
    fn lease(&self, guest: &str) -> String {
        let script = self.path("udhcpc.sh");
        let script = script.to_str().unwrap();
        let (lease, started) = (self.path(&format!("lease-{guest}")), Instant::now());
        while started.elapsed() < PATIENCE {
            self.in_namespace(
                guest,
                &[
                    "busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "1",
                    "-s", script,
                ],
            );
            if let Ok(text) = std::fs::read_to_string(&lease) {
                return text;
            }
        }
        panic!("{guest} got no address\n{}", self.logs());
    }

    fn pings(&self, from: &str, to: &str) -> bool {
        self.in_namespace(from, &["ping", "-c1", "-W1", to])
            .status
            .success()
    }

    fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(
                started.elapsed() < PATIENCE,
                "{what} did not come about\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn nbctl(&self, arguments: &[&str]) -> String {
        let output = Command::new("ovn-nbctl")
            .arg(format!("--db=unix:{}", self.path("nb.sock").display()))
            .arg("--timeout=30")
            .args(arguments)
            .output();
        String::from_utf8_lossy(&output.expect("ovn-nbctl runs").stdout).into_owned()
    }

    fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!(
                "== {name}\n{}\n",
                lines[lines.len().saturating_sub(15)..].join("\n")
            )
        };
        self.nbctl(&["show"])
            + &[
                "northd.log",
                "node-1/controller.log",
                "node-2/controller.log",
            ]
            .map(tail)
            .concat()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.script(&["down"]);
    }
}

/// The lab, or why there is none.
fn lab() -> Result<Lab, String> {
    let uid = Command::new("id")
        .arg("-u")
        .output()
        .map_err(|error| error.to_string())?;
    if uid.stdout != b"0\n" {
        return Err("namespaces need root".into());
    }
    for (program, package) in [
        ("ovn-northd", "ovn-central"),
        ("ovn-controller", "ovn-host"),
        ("ovs-vsctl", "openvswitch-switch"),
        ("busybox", "busybox"),
        ("ethtool", "ethtool"),
        ("ping", "iputils-ping"),
    ] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(program).exists());
        if !found && !Path::new("/usr/sbin").join(program).exists() {
            return Err(format!("{program} is missing; install {package}"));
        }
    }
    let folder = tempfile::Builder::new()
        .prefix("ovn")
        .tempdir_in("/tmp")
        .map_err(|error| error.to_string())?;
    let lab = Lab {
        prefix: format!("wn{}", std::process::id()),
        folder,
    };
    let probe = Command::new("ip")
        .args(["netns", "add", &format!("{}-probe", lab.prefix)])
        .output();
    match probe {
        Ok(output) if output.status.success() => Ok(lab),
        _ => Err("network namespaces cannot be made here".into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_reach_each_other_and_the_outside() {
    let lab = match lab() {
        Ok(lab) => lab,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    std::fs::write(lab.path("udhcpc.sh"), DHCP_SCRIPT).unwrap();
    Command::new("chmod")
        .arg("+x")
        .arg(lab.path("udhcpc.sh"))
        .output()
        .unwrap();
    lab.set_up(&["central"]);
    lab.set_up(&["chassis", "node-1", "10.50.0.1", "gateway"]);
    lab.set_up(&["chassis", "node-2", "10.50.0.2"]);
    lab.set_up(&["outside", "node-1"]);

    let remote = |name: &str| format!("unix:{}", lab.path(name).display());
    let cloud = Cloud::start(
        None,
        config(json!({
            "ovn": {"northbound": remote("nb.sock"), "southbound": remote("sb.sock")},
            "physical_networks": [{"name": "physnet-app"}],
            "network": {"dns_servers": ["10.50.0.53"], "resync_seconds": 2},
        })),
    )
    .await;

    // By the API, as a user would.
    let external = json!({"name": "public", "router:external": true, "provider:network_type": "flat", "provider:physical_network": "physnet-app"});
    let external = cloud
        .create("admin", "/v2.0/networks", "network", external)
        .await;
    let outside = json!({"network_id": id(&external), "cidr": "172.31.0.0/24", "enable_dhcp": false, "gateway_ip": "172.31.0.254"});
    cloud
        .create("admin", "/v2.0/subnets", "subnet", outside)
        .await;
    let private = cloud
        .create(
            "member",
            "/v2.0/networks",
            "network",
            json!({"name": "private"}),
        )
        .await;
    let subnet = cloud
        .create(
            "member",
            "/v2.0/subnets",
            "subnet",
            json!({"network_id": id(&private), "cidr": "10.1.0.0/24"}),
        )
        .await;
    let router = json!({"name": "r1", "external_gateway_info": {"network_id": id(&external)}});
    let router = cloud
        .create("member", "/v2.0/routers", "router", router)
        .await;
    let leg = json!({"subnet_id": id(&subnet)});
    cloud
        .put(
            "member",
            &format!("/v2.0/routers/{}/add_router_interface", id(&router)),
            leg.clone(),
        )
        .await;
    let groups = cloud.get("member", "/v2.0/security-groups").await;
    let ping = json!({"security_group_id": groups["security_groups"][0]["id"], "direction": "ingress", "protocol": "icmp"});
    let ping = cloud
        .create(
            "member",
            "/v2.0/security-group-rules",
            "security_group_rule",
            ping,
        )
        .await;
    let mut ports = Vec::new();
    for (guest, host) in [("g1", "node-1"), ("g2", "node-2")] {
        let port = json!({"network_id": id(&private), "name": guest, "dns_name": guest, "device_owner": "compute:nova", "binding:host_id": format!("{host}.domain.tld")});
        let port = cloud.create("service", "/v2.0/ports", "port", port).await;
        lab.set_up(&[
            "port",
            host,
            id(&port),
            port["mac_address"].as_str().unwrap(),
            guest,
        ]);
        ports.push(port);
    }
    let floating = json!({"floating_network_id": id(&external), "port_id": id(&ports[1])});
    let floating = cloud
        .create("member", "/v2.0/floatingips", "floatingip", floating)
        .await;
    for port in &ports {
        cloud.wait_for_port(id(port), "ACTIVE").await;
    }

    // DHCP gives what the API said.
    let address = |port: &Value| {
        port["fixed_ips"][0]["ip_address"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (guest, port) in ["g1", "g2"].into_iter().zip(&ports) {
        let lease = lab.lease(guest);
        assert!(lease.starts_with(&format!("{}/", address(port))), "{lease}");
        for part in [
            "mtu=1442",
            "dns=10.50.0.53",
            "169.254.169.254/32 ",
            "0.0.0.0/0 10.1.0.1",
        ] {
            assert!(lease.contains(part), "{part} is not in {lease}");
        }
    }
    let floating_address = floating["floating_ip_address"].as_str().unwrap();
    lab.wait("ping between chassis", || {
        lab.pings("g1", &address(&ports[1]))
    });
    lab.wait("ping through the floating IP", || {
        lab.pings("out", floating_address)
    });
    lab.wait("ping to the outside by SNAT", || {
        lab.pings("g1", "172.31.0.254")
    });

    // A rule that is gone lets nothing in; what was allowed to go out still gets its answers.
    cloud
        .delete(
            "member",
            &format!("/v2.0/security-group-rules/{}", id(&ping)),
        )
        .await;
    lab.wait("the floating IP's silence", || {
        !lab.pings("out", floating_address)
    });
    assert!(lab.pings("g1", "172.31.0.254"));
    let again = json!({"security_group_id": groups["security_groups"][0]["id"], "direction": "ingress", "protocol": "icmp"});
    cloud
        .create(
            "member",
            "/v2.0/security-group-rules",
            "security_group_rule",
            again,
        )
        .await;
    lab.wait("ping through the floating IP", || {
        lab.pings("out", floating_address)
    });

    // Whatever is lost in OVN comes back; whatever is not ours stays.
    lab.nbctl(&["ls-add", "somebody-elses"]);
    lab.nbctl(&["lsp-del", id(&ports[1])]);
    lab.nbctl(&["lr-nat-del", &format!("neutron-{}", id(&router))]);
    lab.wait("the repair", || {
        lab.nbctl(&["lr-nat-list", &format!("neutron-{}", id(&router))])
            .contains(floating_address)
    });
    lab.wait("ping through the floating IP", || {
        lab.pings("out", floating_address)
    });

    let agents = cloud.get("admin", "/v2.0/agents?sort_key=host").await;
    let agents: Vec<String> = agents["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| {
            format!(
                "{} {} {}",
                agent["host"], agent["agent_type"], agent["alive"]
            )
        })
        .collect();
    assert_eq!(
        agents,
        [
            r#""node-1.domain.tld" "OVN Controller Gateway agent" true"#,
            r#""node-2.domain.tld" "OVN Controller agent" true"#,
        ]
    );

    // All of it goes.
    cloud
        .delete("member", &format!("/v2.0/floatingips/{}", id(&floating)))
        .await;
    for port in &ports {
        cloud
            .delete("service", &format!("/v2.0/ports/{}", id(port)))
            .await;
    }
    cloud
        .put(
            "member",
            &format!("/v2.0/routers/{}/remove_router_interface", id(&router)),
            leg,
        )
        .await;
    cloud
        .delete("member", &format!("/v2.0/routers/{}", id(&router)))
        .await;
    cloud
        .delete("member", &format!("/v2.0/networks/{}", id(&private)))
        .await;
    cloud
        .delete("admin", &format!("/v2.0/networks/{}", id(&external)))
        .await;
    lab.wait("the end of all switches", || {
        lab.nbctl(&["--bare", "--columns=name", "list", "Logical_Switch"])
            .trim()
            == "somebody-elses"
    });
    let (status, _) = cloud
        .call("admin", Method::GET, "/v2.0/networks", Value::Null)
        .await;
    assert_eq!(status, 200);
}
