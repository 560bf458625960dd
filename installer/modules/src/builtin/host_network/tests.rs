//! A node whose `networkctl` cuts it off the deployment host when a file is bad.
use super::*;
use crate::builtin::testing::Bench;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// Writes down how it was called. As networkd would, it cuts the way to the deployment host when a file is bad, and
/// comes back when that has happened.
const PROGRAM: &str = r#"echo "$(basename $0) $*" >> $ROOT/calls.log
case "$*" in reload|restart\ systemd-networkd.service) ;; *) exit 0 ;; esac
if grep -qs BAD $ROOT/etc/systemd/network/*; then state=down; else state=up; fi
echo $state > $ROOT/wanted.log
while [ "$(cat $ROOT/is.log)" != $state ]; do sleep 0.01; done
"#;

/// A node with the programs, and a deployment host that can be cut off.
struct Node {
    bench: Arc<Bench>,
    port: u16,
    done: Arc<AtomicBool>,
    host: Option<JoinHandle<()>>,
}

impl Node {
    fn new() -> Self {
        let bench = Arc::new(Bench::new());
        bench.program("networkctl", PROGRAM);
        bench.program("systemctl", PROGRAM);
        bench.write("/wanted.log", "up");
        let mut listener = Some(TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.as_ref().unwrap().local_addr().unwrap().port();
        bench.write("/is.log", "up");
        let done = Arc::new(AtomicBool::new(false));
        let (folder, end) = (bench.clone(), done.clone());
        let host = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let wanted = folder.read("/wanted.log");
                match wanted.trim() {
                    "down" => listener = None,
                    "up" if listener.is_none() => {
                        listener = Some(TcpListener::bind(("127.0.0.1", port)).unwrap());
                    }
                    // In the middle of being written.
                    "" => continue,
                    _ => {}
                }
                folder.write("/is.log", wanted.trim());
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            bench,
            port,
            done,
            host: Some(host),
        }
    }

    fn args(&self, files: &[(&str, &str)]) -> Value {
        let files: Vec<Value> = files
            .iter()
            .map(|(name, content)| json!({"path": format!("{FOLDER}/{name}"), "content": format!("{OURS}\n{content}")}))
            .collect();
        json!({"files": files, "host": "127.0.0.1", "port": self.port, "timeout": 1, "sleep": 0})
    }

    fn calls(&self) -> String {
        let calls = fs::read_to_string(self.bench.path("/calls.log")).unwrap_or_default();
        self.bench.write("/calls.log", "");
        calls
    }

    fn files(&self) -> String {
        self.bench.context(|context| {
            let files = units(context).unwrap();
            files
                .into_iter()
                .map(|(name, content)| format!("{name}: {content:?}\n"))
                .collect()
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(host) = self.host.take() {
            let _ = host.join();
        }
    }
}

const CARD: (&str, &str) = ("20-eth0.network", "[Network]\nAddress=10.0.0.2/24\n");
const VLAN: (&str, &str) = ("15-eth0.5.netdev", "[NetDev]\nName=eth0.5\nKind=vlan\n");

#[test]
fn a_network_that_reaches_the_deployment_host_stays() {
    let node = Node::new();
    let foreign = format!("{FOLDER}/50-mine.network");
    node.bench.write(&foreign, "[Match]\nName=mine\n");
    let mut told = String::new();
    for files in [
        vec![CARD],
        vec![CARD, VLAN, ("10-eth0.link", "[Link]\nName=eth0\n")],
        // Another tag: networkd would leave the device as it is.
        vec![
            CARD,
            (VLAN.0, "[NetDev]\nName=eth0.5\nKind=vlan\n[VLAN]\nId=6\n"),
        ],
        vec![CARD],
    ] {
        let done = node.bench.converges("host_network", node.args(&files));
        told += &format!("── {}\n{}{}", done.msg, node.calls(), node.files());
        assert!(!node.bench.path(KEPT).exists());
    }
    insta::assert_snapshot!(told);
    assert_eq!(node.bench.read(&foreign), "[Match]\nName=mine\n");
}

#[test]
fn a_network_that_does_not_is_taken_back() {
    let node = Node::new();
    node.bench.run("host_network", node.args(&[CARD]));
    let before = node.files();
    node.calls();
    let bad = [("20-eth0.network", "BAD\n"), VLAN];
    let result = node.bench.run("host_network", node.args(&bad));
    assert!(result.failed && !result.changed);
    let msg = result.msg.replace(&node.port.to_string(), "PORT");
    insta::assert_snapshot!(format!("{msg}\n{}", node.calls()));
    assert_eq!(node.files(), before);
    assert!(!node.bench.path(KEPT).exists());
    // The way was closed before anything was done: no change can be judged.
    node.bench.write("/wanted.log", "down");
    while node.bench.read("/is.log") != "down" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let result = node.bench.run("host_network", node.args(&[VLAN]));
    assert!(
        result.msg.ends_with("nothing was changed"),
        "{}",
        result.msg
    );
    assert_eq!((node.calls(), node.files()), (String::new(), before));
}

#[test]
fn what_was_never_confirmed_is_put_back_first() {
    let node = Node::new();
    node.bench.run("host_network", node.args(&[CARD]));
    node.calls();
    // As it is left behind by an agent that was killed before it had proved anything.
    let (now, wished) = node.bench.context(|context| {
        let args = node.args(&[("20-eth0.network", "BAD\n"), VLAN]);
        let module = crate::find("host_network").unwrap();
        let args = module.check(args.as_object().unwrap()).unwrap();
        (units(context).unwrap(), super::wished(&args).unwrap())
    });
    let change = networkd::change(&now, &wished);
    let pending = Pending {
        before: change.before.clone(),
        devices: change.new_devices(),
    };
    node.bench.context(|context| {
        arm(context, &change, &pending, Duration::from_secs(90)).unwrap();
        put(context, &change.after).unwrap();
    });
    let old = node.bench.read(&format!("{KEPT}/old/20-eth0.network"));
    assert_eq!(old, now["20-eth0.network"]);
    let service = format!("/etc/systemd/system/{UNIT}.service");
    assert!(
        node.bench
            .read(&service)
            .contains("networkctl delete eth0.5")
    );
    node.calls();
    assert!(node.bench.check("host_network", node.args(&[CARD])).changed);
    let again = node.bench.run("host_network", node.args(&[CARD]));
    assert!(again.changed && !again.failed, "{again:?}");
    insta::assert_snapshot!(format!("{}\n{}{}", again.msg, node.calls(), node.files()));
    assert!(!node.bench.path(&service).exists());
    assert!(!node.bench.run("host_network", node.args(&[CARD])).changed);
    // A way back that cannot be understood, or that leads elsewhere, is not gone.
    for text in ["{", r#"{"before": {"../passwd": "x"}, "devices": []}"#] {
        node.bench.write(&format!("{KEPT}/pending.json"), text);
        let result = node.bench.run("host_network", node.args(&[CARD]));
        assert!(result.msg.contains("pending.json"), "{}", result.msg);
    }
}

#[test]
fn a_network_that_somebody_put_back_meanwhile_is_not_taken_for_proved() {
    let node = Node::new();
    node.bench.run("host_network", node.args(&[CARD]));
    // As the timer's service would.
    let back = format!(
        "[ \"$1\" = reload ] && rm -f $ROOT{FOLDER}/{} $ROOT{KEPT}/pending.json",
        VLAN.0
    );
    node.bench
        .program("networkctl", &format!("{back}\nexit 0\n"));
    let result = node.bench.run("host_network", node.args(&[CARD, VLAN]));
    assert!(
        result.failed && result.msg.contains("meanwhile"),
        "{result:?}"
    );
    assert!(!node.bench.path(KEPT).exists());
}

#[test]
fn a_cancel_takes_it_back() {
    let node = Node::new();
    node.bench.run("host_network", node.args(&[CARD]));
    let before = node.files();
    node.calls();
    let mut args = node.args(&[VLAN]);
    args["tries"] = 100.into();
    args["sleep"] = 1.into();
    args["timeout"] = 300.into();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let reloaded = || {
                fs::read_to_string(node.bench.path("/calls.log"))
                    .is_ok_and(|calls| calls.contains("reload\n"))
            };
            while !reloaded() {
                std::thread::sleep(Duration::from_millis(5));
            }
            node.bench.cancel.store(true, Ordering::Relaxed);
        });
        node.bench.run("host_network", args)
    });
    assert!(
        result.failed && result.msg.contains("cancelled"),
        "{result:?}"
    );
    assert_eq!(node.files(), before);
}

#[test]
fn files_and_goals_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    let good = json!({"path": format!("{FOLDER}/10-a.link"), "content": format!("{OURS}\n")});
    let mut told = String::new();
    for (files, host, port) in [
        (json!("text"), "127.0.0.1", 1),
        (json!([]), "127.0.0.1", 1),
        (
            json!([{"path": "/etc/passwd", "content": ""}, {"path": format!("{FOLDER}/../x.link"), "content": ""}, {"path": 5},
                {"path": format!("{FOLDER}/a.link"), "content": "[Link]\n"}, good, good]),
            "127.0.0.1",
            1,
        ),
        (json!([good]), "deploy.example.org", 1),
        (json!([good]), "127.0.0.1", 70000),
    ] {
        let result = bench.run(
            "host_network",
            json!({"files": files, "host": host, "port": port}),
        );
        assert!(result.failed);
        told += &format!("{}\n", result.msg);
    }
    insta::assert_snapshot!(told);
}
