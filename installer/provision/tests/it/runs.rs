//! Whole runs: nodes that come through, nodes that do not fit, stand still or loop, and a run that is killed.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::enrol::{Failure, NextBoot, Progress};
use provision::manifest::ImageManifest;
use provision::nodes::Outcome;
use provision::provisioner::all_installed;
use provision::{Event, NodeSpec, NodeState, Patience, ProvisionSpec, Provisioner};
use state::{EnvironmentFolder, Store};

use crate::machine::{HOST_KEY, Machine};

const LONG: Patience = Patience {
    wall: Duration::from_secs(3600),
    cpu: Duration::from_secs(3600),
};

/// Runs the test on a thread in a fresh network namespace whose loopback has all the lab's addresses.
fn in_namespace(test: impl FnOnce(&Path) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: network namespaces and port 67 need root");
        return;
    }
    if !Path::new("/usr/lib/ipxe/ipxe.efi").exists() {
        println!("skipped: the Debian package 'ipxe' is missing");
        return;
    }
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        for words in [
            "link set lo up",
            "address add 10.20.0.1/24 dev lo",
            "address add 10.20.0.11/24 dev lo",
            "address add 10.20.0.12/24 dev lo",
        ] {
            assert!(
                Command::new("ip")
                    .args(words.split(' '))
                    .status()
                    .unwrap()
                    .success(),
                "ip {words}"
            );
        }
        let scratch = tempfile::tempdir().unwrap();
        test(scratch.path());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn image(scratch: &Path) -> Arc<ImageManifest> {
    for name in ["disk.zst", "vmlinuz", "ramdisk"] {
        std::fs::write(scratch.join(name), name).unwrap();
    }
    Arc::new(ImageManifest {
        name: "base".into(),
        disk_image: scratch.join("disk.zst"),
        sha256: "ab".repeat(32),
        compressed_bytes: 8,
        disk_bytes: 1 << 30,
        root_partition: 2,
        kernel_release: "6.1.0-56-cloud-amd64".into(),
        kernel: scratch.join("vmlinuz"),
        ramdisk: scratch.join("ramdisk"),
    })
}

/// A run over the lab's two nodes; its runtime has one thread of its own, in the namespace.
struct Run {
    runtime: tokio::runtime::Runtime,
    provisioner: Option<Provisioner>,
    store: Store,
}

impl Run {
    fn start(scratch: &Path, patience: Patience) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let inventory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inventories/lab");
        let (inventory, faults) = inventory::load(&inventory);
        assert!(!faults.has_errors());
        let (plan, _) = network_plan::plan(&inventory, &Default::default()).unwrap();
        let image = image(scratch);
        let nodes = ["node-1", "node-2"]
            .iter()
            .map(|name| NodeSpec::from_plan(&plan, name, image.clone(), None).unwrap())
            .collect();
        let folder = EnvironmentFolder::create(scratch.join("state"), "lab").unwrap();
        let (provisioner, store) = runtime.block_on(async {
            let store = Store::open(&folder).await.unwrap();
            let spec = ProvisionSpec {
                folder,
                store: store.clone(),
                plan,
                nodes,
                strangers: None,
                files: BTreeMap::new(),
                authorized_keys: vec!["ssh-ed25519 AAAA operator".into()],
                kernel_arguments: Vec::new(),
                patience,
                meter: None,
            };
            (Provisioner::start(spec).await.unwrap(), store)
        });
        Self {
            runtime,
            provisioner: Some(provisioner),
            store,
        }
    }

    fn outcome(&self, node: &str) -> Outcome {
        let outcomes = self.provisioner.as_ref().unwrap().outcomes();
        outcomes
            .into_iter()
            .find(|outcome| outcome.node == node)
            .unwrap()
    }

    fn wait(&self) -> Vec<Outcome> {
        self.runtime
            .block_on(self.provisioner.as_ref().unwrap().wait())
            .unwrap()
    }

    fn stop(mut self) {
        self.runtime
            .block_on(self.provisioner.take().unwrap().stop());
    }
}

#[test]
fn two_nodes_are_installed_and_a_second_run_has_nothing_to_do() {
    in_namespace(|scratch| {
        let run = Run::start(scratch, LONG);
        let mut events = run.provisioner.as_ref().unwrap().events();
        let (mut one, mut two) = (Machine::new(1), Machine::new(2));

        // Nobody gets a token without the script, or another's, or twice.
        assert_eq!(one.fetch_token(), 403);
        one.boot();
        let first_token = one.token.clone();
        assert_eq!(one.fetch_token(), 403);
        assert_eq!(two.get(&format!("/boot/{}/token", one.macs[0])).0, 403);

        // A wrong token is 401 on every call, another machine's report is refused.
        two.token = "0".repeat(64);
        for call in ["hardware", "progress", "installed", "failed"] {
            assert_eq!(two.post(call, &two.hardware()).0, 401, "{call}");
        }
        let mut disguised = two.clone();
        disguised.token.clone_from(&one.token);
        assert_eq!(disguised.post("hardware", &disguised.hardware()).0, 403);
        assert_eq!(one.post("hardware", &"nonsense").0, 422);

        let orders = one.orders();
        assert_eq!(run.outcome("node-1").state, NodeState::Provisioning);
        assert_eq!(orders.image.url, "http://10.20.0.1:7080/images/base");
        assert_eq!(orders.next, NextBoot::SwitchRoot);
        assert_eq!(orders.fqdn, "node-1.domain.tld");
        assert_eq!(orders.machine_id.len(), 32);
        assert!(orders.authorized_keys[0].ends_with(" wright-lab"));
        assert_eq!(orders.authorized_keys[1], "ssh-ed25519 AAAA operator");
        assert!(
            orders
                .files
                .iter()
                .any(|file| file.path == "/etc/systemd/network/10-eth0.link")
        );
        // An agent whose answer was lost asks again and gets the same.
        assert_eq!(one.orders(), orders);
        assert_eq!(one.get("/images/base").1, b"disk.zst");
        let write = Progress {
            stage: "write".into(),
            done: 4,
            total: 8,
        };
        assert_eq!(one.post("progress", &write).0, 204);

        // It restarts half way: a new token, the old one is void.
        one.boot();
        assert_ne!(one.token, first_token);
        let stale = Machine {
            token: first_token,
            ..one.clone()
        };
        assert_eq!(stale.post("hardware", &stale.hardware()).0, 401);
        let orders = one.orders();
        assert_eq!(one.installed(&orders), 204);
        assert_eq!(one.installed(&orders), 204, "the answer was lost");
        let other_key = agent_protocol::enrol::Installed {
            ssh_host_key:
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF"
                    .into(),
            image_sha256: orders.image.sha256.clone(),
            seconds: 1,
        };
        assert_eq!(
            one.post("installed", &other_key).0,
            422,
            "a host key does not change"
        );
        assert!(one.script().contains("booting its disk"));
        assert_eq!(one.fetch_token(), 403);

        two.boot();
        let orders = two.orders();
        assert_eq!(two.installed(&orders), 204);
        let outcomes = run.wait();
        assert!(all_installed(&outcomes), "{outcomes:?}");
        let record = run
            .runtime
            .block_on(run.store.node("node-1"))
            .unwrap()
            .unwrap();
        assert_eq!(record.ssh_host_key.as_deref(), Some(HOST_KEY));
        assert_eq!(record.image_sha256, Some("ab".repeat(32)));
        assert_eq!(record.hardware.unwrap()["cpu_count"], 2);

        let mut told = String::new();
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Warning { text, .. } => told += &format!("warning: {text}\n"),
                Event::State { node, state, .. } => told += &format!("{node} {state}\n"),
                Event::Step {
                    node,
                    step,
                    done,
                    total,
                } => told += &format!("{node}   {step:?} {done}/{total}\n"),
                Event::UnknownMachine { .. } => {}
            }
        }
        insta::assert_snapshot!(told);
        run.stop();

        let again = Run::start(scratch, LONG);
        assert!(all_installed(&again.wait()));
        assert!(one.script().contains("booting its disk"));
        again.stop();
    });
}

#[test]
fn a_killed_run_goes_on() {
    in_namespace(|scratch| {
        let (mut one, mut two) = (Machine::new(1), Machine::new(2));
        let killed = Run::start(scratch, LONG);
        two.boot();
        let orders = two.orders();
        assert_eq!(two.installed(&orders), 204);
        one.boot();
        let orders = one.orders();
        // Dropped with its sockets and tasks, nothing is told to anyone.
        drop(killed);

        let next = Run::start(scratch, LONG);
        assert_eq!(next.outcome("node-1").state, NodeState::Provisioning);
        assert_eq!(next.outcome("node-2").state, NodeState::Provisioned);
        // The node was writing its disk all the while; its token still holds.
        assert_eq!(one.installed(&orders), 204);
        assert!(all_installed(&next.wait()));
        next.stop();
    });
}

#[test]
fn nodes_that_do_not_fit_give_up_or_loop_fail_with_the_reason() {
    in_namespace(|scratch| {
        let run = Run::start(scratch, LONG);
        let (mut one, mut two) = (Machine::new(1), Machine::new(2));
        one.boot();
        let mut hardware = one.hardware();
        hardware.disks.clear();
        hardware.nics.pop();
        assert_eq!(one.post("hardware", &hardware).0, 409);
        let reason = run.outcome("node-1").reason.unwrap();
        assert!(
            reason.starts_with(
                "hardware: it has no card 52:54:00:20:01:04, which the inventory calls eth4 ("
            ) && reason.contains("hosts.yml:")
                && reason.ends_with("; it has no disk"),
            "{reason}"
        );
        // What the agent says afterwards follows from that.
        let gave_up = Failure {
            stage: "inspect".into(),
            reason: "refused".into(),
        };
        assert_eq!(one.post("failed", &gave_up).0, 204);
        assert!(
            run.outcome("node-1")
                .reason
                .unwrap()
                .starts_with("hardware:")
        );
        assert!(one.script().contains("nothing is ordered yet"));

        for _ in 0..5 {
            two.boot();
        }
        assert!(two.script().contains("nothing is ordered yet"));
        let outcomes = run.wait();
        assert!(
            outcomes[1]
                .reason
                .as_deref()
                .unwrap()
                .contains("booted the installer 5 times"),
            "{outcomes:?}"
        );
        run.stop();

        // The next run tries again, and a failure that the agent reports is kept.
        let run = Run::start(scratch, LONG);
        assert_eq!(run.outcome("node-1").state, NodeState::Discovered);
        for machine in [&mut one, &mut two] {
            machine.boot();
            machine.orders();
            let wrong = Failure {
                stage: "verify".into(),
                reason: "SHA-256 is wrong".into(),
            };
            assert_eq!(machine.post("failed", &wrong).0, 204);
        }
        let outcomes = run.wait();
        assert!(!all_installed(&outcomes));
        assert_eq!(
            outcomes[0].reason.as_deref(),
            Some("verify: SHA-256 is wrong")
        );
        run.stop();
    });
}

#[test]
fn a_node_that_stands_still_is_told_with_the_place() {
    in_namespace(|scratch| {
        let patience = Patience {
            wall: Duration::from_secs(3),
            cpu: Duration::from_secs(3600),
        };
        let run = Run::start(scratch, patience);
        let mut two = Machine::new(2);
        two.boot();
        let orders = two.orders();
        assert_eq!(
            two.post(
                "progress",
                &Progress {
                    stage: "write".into(),
                    done: 2,
                    total: 8
                }
            )
            .0,
            204
        );
        let outcomes = run.wait();
        let reasons: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.reason.clone().unwrap())
            .collect();
        assert!(
            reasons[0].contains("it came as far as power-on"),
            "{reasons:?}"
        );
        assert!(
            reasons[1].contains("it came as far as writing the disk at 25 %"),
            "{reasons:?}"
        );
        // It was slow, not dead.
        assert_eq!(two.installed(&orders), 204);
        assert_eq!(run.outcome("node-2").state, NodeState::Provisioned);
        run.stop();
    });
}
