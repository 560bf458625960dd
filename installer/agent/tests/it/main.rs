//! The agent as processes: the daemon and `attach` over a socket in a temporary folder; `probe` in namespaces.
#[cfg(test)]
mod controller;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod wires;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use agent_protocol::task::FromAgent;
use controller::{Node, task};
use serde_json::json;

#[test]
fn tasks_run_in_order_and_results_are_kept() {
    let node = Node::new();
    let log = node.path("log");
    let append = |word: &str| json!({"cmd": format!("echo {word} >> {}", log.display())});
    let tasks = [
        task("r/n/1/0", "shell", append("one")),
        task("r/n/2/0", "shell", append("two")),
        task("r/n/3/0", "stat", json!({"path": log})),
    ];
    for _ in 0..2 {
        let mut controller = node.attach();
        for task in &tasks {
            controller.send(task);
        }
        let ids: Vec<String> = tasks.iter().map(|_| controller.done().0).collect();
        assert_eq!(ids, ["r/n/1/0", "r/n/2/0", "r/n/3/0"]);
    }
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "one\ntwo\n",
        "an answer from the journal runs nothing"
    );
}

#[test]
fn faults_of_arguments_and_modules_are_results() {
    let node = Node::new();
    let mut controller = node.attach();
    controller.send(&task("r/n/1/0", "coppy", json!({})));
    assert_eq!(
        controller.done().1.msg,
        "there is no module `coppy`, did you mean `copy`?"
    );
    controller.send(&task(
        "r/n/2/0",
        "copy",
        json!({"dest": "/x", "content": "", "mod": "0644"}),
    ));
    assert!(controller.done().1.msg.contains("Did you mean `mode`?"));
}

#[test]
fn a_dropped_connection_does_not_stop_the_task() {
    let node = Node::new();
    let (begun, go, log) = (node.path("begun"), node.path("go"), node.path("log"));
    let slow = task(
        "r/n/1/0",
        "shell",
        json!({"cmd": format!("echo ran >> {}; touch {}; while [ -e {0} ] && [ ! -e {} ]; do sleep 0.05; done; echo end", log.display(), begun.display(), go.display())}),
    );
    let mut controller = node.attach();
    controller.send(&slow);
    node.wait_for(&begun);
    controller.kill();
    let mut controller = node.attach();
    controller.send(&slow);
    controller.send(&task("r/n/2/0", "ping", json!({})));
    fs::write(go, "").unwrap();
    let (id, result) = controller.done();
    assert_eq!(
        (id.as_str(), &result.data["stdout"]),
        ("r/n/1/0", &json!("end"))
    );
    assert_eq!(controller.done().0, "r/n/2/0");
    assert_eq!(fs::read_to_string(log).unwrap(), "ran\n");
}

#[test]
fn a_daemon_killed_between_start_and_end_tells_it_or_begins_anew() {
    let node = Node::new();
    let (begun, go) = (node.path("begun"), node.path("go"));
    let wait = format!(
        "touch {}; while [ -d {} ] && [ ! -e {} ]; do sleep 0.05; done",
        begun.display(),
        // Whatever the test comes to, nothing waits longer than its folder is there.
        node.path("").display(),
        go.display()
    );
    let once = task("r/n/1/0", "shell", json!({"cmd": wait}));
    let script = node.path("check.sh");
    fs::write(&script, &wait).unwrap();
    let converges = task(
        "r/n/2/0",
        "copy",
        json!({"dest": node.path("file"), "content": "text", "validate": format!("sh {} %s", script.display())}),
    );
    for task in [&once, &converges] {
        let mut controller = node.attach();
        controller.send(task);
        node.wait_for(&begun);
        fs::remove_file(&begun).unwrap();
        node.kill_daemon();
        drop(controller);
    }
    fs::write(go, "").unwrap();
    let mut controller = node.attach();
    controller.send(&once);
    controller.send(&converges);
    assert!(matches!(controller.answer(), FromAgent::Interrupted { id } if id == "r/n/1/0"));
    let (id, result) = controller.done();
    assert!(
        id == "r/n/2/0" && result.changed && !result.failed,
        "{result:?}"
    );
    assert_eq!(fs::read_to_string(node.path("file")).unwrap(), "text");
}

#[test]
fn an_interrupted_change_is_told_although_nothing_was_left_to_do() {
    let node = Node::new();
    fs::write(node.path("file"), "text").unwrap();
    // As a daemon leaves it that died after the change and before its record.
    fs::write(node.path("journal"), "{\"started\":{\"id\":\"r/n/1/0\"}}\n").unwrap();
    let mut controller = node.attach();
    for id in ["r/n/1/0", "r/n/2/0"] {
        controller.send(&task(
            id,
            "copy",
            json!({"dest": node.path("file"), "content": "text"}),
        ));
    }
    assert!(controller.done().1.changed, "its handlers would be lost");
    assert!(!controller.done().1.changed);
}

#[test]
fn cancel_and_timeout_end_tasks() {
    let node = Node::new();
    let mut controller = node.attach();
    let begun = node.path("begun");
    controller.send(&task(
        "r/n/1/0",
        "shell",
        json!({"cmd": format!("touch {}; sleep 1000", begun.display())}),
    ));
    controller.send(&task("r/n/2/0", "shell", json!({"cmd": "exit 0"})));
    node.wait_for(&begun);
    controller.cancel("r/n/2/0");
    controller.cancel("r/n/1/0");
    assert_eq!(controller.done().1.msg, "the task was cancelled");
    assert_eq!(
        controller.done().1.msg,
        "the task was cancelled before it began"
    );
    let mut late = task("r/n/3/0", "command", json!({"cmd": "sleep 1000"}));
    late.timeout_seconds = 1;
    controller.send(&late);
    assert_eq!(
        controller.done().1.msg,
        "the task took longer than its timeout"
    );
}

#[test]
fn no_log_leaves_nothing_in_the_journal() {
    let node = Node::new();
    let mut controller = node.attach();
    let mut secret = task("r/n/1/0", "shell", json!({"cmd": "echo geheim"}));
    secret.no_log = true;
    controller.send(&secret);
    assert_eq!(
        controller.done().1.data["stdout"],
        "geheim",
        "the controller decides what is shown"
    );
    let journal = fs::read_to_string(node.path("journal")).unwrap();
    assert!(
        journal.contains("r/n/1/0") && !journal.contains("geheim"),
        "{journal}"
    );
}

#[test]
fn a_task_runs_as_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    let node = Node::new();
    let mut controller = node.attach();
    let mut other = task("r/n/1/0", "command", json!({"cmd": "id -un"}));
    other.become_user = Some("nobody".into());
    controller.send(&other);
    let result = controller.done().1;
    assert_eq!(result.data["stdout"], "nobody", "{result:?}");
    other.id = "r/n/2/0".into();
    other.become_user = Some("no-such-user".into());
    controller.send(&other);
    assert!(
        controller
            .done()
            .1
            .msg
            .contains("no account `no-such-user`")
    );
}

#[test]
fn a_newer_binary_replaces_the_daemon() {
    let node = Node::new();
    drop(node.attach());
    let old = node.daemon_pid();
    node.renew_binary();
    let mut controller = node.attach();
    controller.send(&task("r/n/1/0", "ping", json!({})));
    assert_eq!(controller.done().1.data["ping"], "pong");
    assert_ne!(node.daemon_pid(), old);
}

#[test]
fn strangers_bytes_end_their_connection_only() {
    let node = Node::new();
    drop(node.attach());
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\0\0\0\x02{}",
        b"\0\0\0\x40GET / HTTP/1.1",
        b"\0\0\0\x04null",
    ] {
        let mut stream = UnixStream::connect(node.path("agent.sock")).unwrap();
        stream.write_all(bytes).unwrap();
    }
    let mut controller = node.attach();
    controller.send(&task("r/n/1/0", "ping", json!({})));
    assert!(!controller.done().1.failed);
}

/// Not a target, only a look: what a task without work costs over the socket.
#[test]
fn a_thousand_small_tasks_are_answered_in_their_order() {
    let node = Node::new();
    let mut controller = node.attach();
    let started = Instant::now();
    let reader = controller.reader();
    for number in 0..1000 {
        controller.send(&task(&format!("r/n/{number}/0"), "ping", json!({})));
    }
    for number in 0..1000 {
        let Some(FromAgent::Done { id, .. }) = reader.recv_timeout(Duration::from_secs(300)).ok()
        else {
            panic!("no answer to {number}")
        };
        assert_eq!(id, format!("r/n/{number}/0"));
    }
    eprintln!("1000 tasks in {:?}", started.elapsed());
}
