//! Connections cut, the controller killed, nodes dead, hostile or hanging: nothing is lost and nothing done twice.
use std::collections::BTreeSet;
use std::time::Duration;

use task_engine::Mode;
use tokio::sync::mpsc;

use crate::sim::{Random, Sim};
use crate::world::{Bench, catalogue};

pub const SITE: &[(&str, &str)] = &[
    (
        "site.yml",
        "
- hosts: all
  roles: [one, two]
- hosts: compute
  gather_facts: false
  roles: [three]
",
    ),
    (
        "roles/one/tasks/main.yml",
        "
- {name: A, command: echo a, register: a, notify: poke}
- {name: B, copy: {dest: /b, content: \"{{ a.stdout }}\"}}
- {name: C, command: \"echo {{ item }}\", loop: [c1, c2, c3]}
",
    ),
    (
        "roles/one/handlers/main.yml",
        "- {name: poke, command: echo poke}\n",
    ),
    ("roles/one/meta/graph.yml", "provides: [one]\n"),
    (
        "roles/two/tasks/main.yml",
        "- {name: D, command: echo d}\n- {name: E, service: {name: e, state: started}}\n",
    ),
    (
        "roles/two/meta/graph.yml",
        "needs: [{capability: one, policy: any}]\n",
    ),
    (
        "roles/three/meta/graph.yml",
        "needs: [{capability: one, policy: all}]\n",
    ),
    (
        "roles/three/tasks/main.yml",
        "- {name: F, command: \"echo {{ hostvars['node-1'].a.stdout }}\"}\n",
    ),
];

const EXPECTED: &[&str] = &[
    "echo a",
    "echo c1",
    "echo c2",
    "echo c3",
    "echo poke",
    "echo d",
];

pub fn is_whole(bench: &Bench, seed: u64) {
    for number in 1..=3 {
        let world = bench.sim.world(&format!("node-{number}"));
        let mut expected: Vec<&str> = EXPECTED.to_vec();
        if number > 1 {
            expected.push("echo a");
        }
        let order: BTreeSet<&String> = world.effects.iter().collect();
        assert_eq!(
            order.len(),
            world.effects.len(),
            "seed {seed}: something was done twice: {world:#?}"
        );
        assert_eq!(world.commands, expected, "seed {seed}, node-{number}");
        assert_eq!(world.files["/b"], "a", "seed {seed}");
        assert_eq!(world.services["e"], "started", "seed {seed}");
    }
}

#[tokio::test]
async fn cut_connections_lose_nothing_and_repeat_nothing() {
    for seed in 1..=25 {
        let bench = Bench::new(3, SITE).with_sim(Sim {
            seed,
            ..Sim::default()
        });
        let (report, _) = bench.run().await;
        assert!(report.is_success(), "seed {seed}: {:?}", report.failures);
        is_whole(&bench, seed);
    }
}

#[tokio::test]
async fn a_killed_controller_goes_on_where_it_was() {
    for seed in 1..=25 {
        let bench = Bench::new(3, SITE).with_sim(Sim {
            seed,
            ..Sim::default()
        });
        let mut random = Random(seed);
        // Killed at up to three random moments, then left alone.
        for _ in 0..random.below(4) {
            let spec = bench.spec();
            let playbook = task_engine::parse::playbook(&spec.playbook, &[], &catalogue()).unwrap();
            let (tell, mut told) = mpsc::channel(1);
            let running = tokio::spawn(task_engine::run_parsed(spec, playbook, tell));
            for _ in 0..random.below(60) {
                if told.recv().await.is_none() {
                    break;
                }
            }
            running.abort();
            let _ = running.await;
        }
        let (report, _) = bench.run().await;
        assert!(report.is_success(), "seed {seed}: {:?}", report.failures);
        is_whole(&bench, seed);
    }
}

#[tokio::test]
async fn a_run_that_is_resumed_does_not_ask_for_what_it_knows() {
    let bench = Bench::new(3, SITE);
    bench.run().await;
    let before = bench.sim.connections("node-1");
    let (report, events) = bench.run().await;
    assert!(report.is_success());
    assert_eq!(
        bench.sim.connections("node-1"),
        before,
        "nothing had to be asked"
    );
    let resumed = events
        .iter()
        .filter(|event| matches!(event, task_engine::Event::TaskDone(done) if done.resumed));
    assert!(resumed.count() > 20);
    is_whole(&bench, 0);
}

/// As when a node fetches from the deployment host while that is killed: the run that goes on gets the failure that the agent
/// has kept, and does the task anyway.
#[tokio::test]
async fn what_failed_while_the_run_was_interrupted_is_tried_again() {
    let mut bench = Bench::new(3, SITE);
    bench.sim.agent("node-2").lock().unwrap().fails_after = Some(2);
    let (report, _) = bench.run().await;
    assert_eq!(report.failures.len(), 1, "{report:?}");
    let (report, _) = bench.run().await;
    assert_eq!(
        report.failures.len(),
        1,
        "the agent has kept it: {report:?}"
    );
    bench.continues = true;
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    is_whole(&bench, 0);
}

#[tokio::test]
async fn every_task_fails_once_and_the_next_run_makes_it_whole() {
    let mut failed = BTreeSet::new();
    for tasks in 0.. {
        let mut bench = Bench::new(3, SITE);
        bench.sim.agent("node-2").lock().unwrap().fails_after = Some(tasks);
        let (report, _) = bench.run().await;
        let injected = bench
            .sim
            .agent("node-2")
            .lock()
            .unwrap()
            .fails_after
            .is_none();
        if !injected {
            assert!(report.is_success(), "{report:?}");
            is_whole(&bench, 0);
            break;
        }
        let [failure] = &report.failures[..] else {
            panic!("one failure, told once: {report:?}");
        };
        assert_eq!((&*failure.node, &*failure.msg), ("node-2", "injected"));
        failed.insert(failure.task.clone());
        // Only what needs the role of the one that failed stops elsewhere.
        for node in ["node-1", "node-3"] {
            let commands = bench.sim.world(node).commands;
            assert_eq!(commands[..EXPECTED.len()], *EXPECTED, "{failure:?}");
        }

        let before: Vec<_> = (1..=3)
            .map(|n| bench.sim.world(&format!("node-{n}")))
            .collect();
        bench.run = "run-2".to_owned();
        let (report, _) = bench.run().await;
        assert!(report.is_success(), "after {failure:?}: {report:?}");
        for (number, before) in (1..=3).zip(before) {
            let now = bench.sim.world(&format!("node-{number}"));
            let again = &now.commands[before.commands.len()..];
            // Commands know no state: the second run does all of them, and each once.
            let mut expected = EXPECTED.to_vec();
            expected.extend((number > 1).then_some("echo a"));
            assert_eq!(again, expected, "node-{number}, after {failure:?}");
            assert_eq!(now.files["/b"], "a");
            assert_eq!(now.services["e"], "started");
        }
    }
    let names: Vec<&str> = failed.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        ["A", "B", "C", "D", "E", "F", "Gather facts", "poke"]
    );
}

#[tokio::test]
async fn a_handler_that_did_not_come_to_run_is_owed_by_the_next_run() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - {name: Configure, copy: {dest: /x, content: new}, notify: [restart, reload]}
    - {name: Start, service: {name: e, state: started}}
  handlers:
    - {name: restart, command: echo restart}
    - {name: load, command: echo reload, listen: reload}
";
    // The task after the change fails, then the first of the handlers, then the second.
    for (fails_after, first) in [(1, &[][..]), (2, &[]), (3, &["echo restart"])] {
        let mut bench = Bench::new(1, &[("site.yml", site)]);
        bench.sim.agent("node-1").lock().unwrap().fails_after = Some(fails_after);
        let (report, _) = bench.run().await;
        assert_eq!(report.failures.len(), 1, "{report:?}");
        assert_eq!(bench.sim.world("node-1").commands, first);

        // A look shows it, and settles nothing.
        bench.run = "look".to_owned();
        bench.mode = Mode::Check;
        bench.run().await;
        bench.mode = Mode::Apply;
        for run in ["run-2", "run-3"] {
            bench.run = run.to_owned();
            let (report, _) = bench.run().await;
            assert!(report.is_success(), "{report:?}");
            let world = bench.sim.world("node-1");
            assert_eq!(world.commands, ["echo restart", "echo reload"], "{run}");
        }
    }
}

#[tokio::test]
async fn a_dead_and_a_hostile_node_harm_nobody_else() {
    let sim = Sim {
        dead: vec!["node-2".to_owned()],
        hostile: vec!["node-3".to_owned()],
        ..Sim::default()
    };
    let bench = Bench::new(4, SITE).with_sim(sim);
    let (report, _) = bench.run().await;
    let failed: BTreeSet<&str> = report
        .failures
        .iter()
        .map(|failure| failure.node.as_str())
        .collect();
    assert_eq!(failed, BTreeSet::from(["node-2", "node-3"]));
    assert_eq!(report.failures.len(), 2, "one line a node");
    assert!(report.nodes["node-2"].unreachable);
    // Its third role needs what the two cannot provide any more.
    assert_eq!(bench.sim.world("node-4").commands.len(), EXPECTED.len());
    assert_eq!(report.nodes["node-4"].not_run, 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_hangs_is_cancelled_after_its_time() {
    let site = "- {hosts: all, gather_facts: false, tasks: [{name: Hang, hang: {}, timeout: 5}]}\n";
    let bench = Bench::new(1, &[("site.yml", site)]);
    let before = tokio::time::Instant::now();
    let (report, _) = bench.run().await;
    assert!(
        report.failures[0]
            .msg
            .contains("no result within 5 seconds"),
        "{:?}",
        report.failures
    );
    assert!(before.elapsed() < Duration::from_secs(120));
}

const REBOOT: &str = "
- hosts: all
  gather_facts: false
  tasks:
    - {name: Reboot, reboot: {reboot_timeout: 60}, register: reboot}
    - {name: Rebooted, assert: {that: [reboot.rebooted, reboot.boot_id is undefined]}}
    - {name: After, command: echo after}
";

#[tokio::test(start_paused = true)]
async fn a_reboot_is_waited_for_until_another_boot_answers() {
    let bench = Bench::new(2, &[("site.yml", REBOOT)]);
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    for name in ["node-1", "node-2"] {
        assert_eq!(bench.sim.world(name).commands, ["whoami", "echo after"]);
        assert!(
            bench.sim.connections(name) >= 4,
            "the old boot was taken for the new one"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_reboot_with_cut_connections_happens_once() {
    for seed in 1..=10 {
        let bench = Bench::new(2, &[("site.yml", REBOOT)]).with_sim(Sim {
            seed,
            ..Sim::default()
        });
        let (report, _) = bench.run().await;
        assert!(report.is_success(), "seed {seed}: {report:?}");
        for name in ["node-1", "node-2"] {
            let reboots = bench.sim.world(name).effects;
            let reboots = reboots.iter().filter(|id| id.contains("tasks.1-"));
            // The reboot itself, and the test command whose name begins with the same.
            assert_eq!(
                reboots.filter(|id| id.ends_with("/0")).count(),
                1,
                "seed {seed}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_floods_or_hangs_harms_nobody_else() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - {name: A, command: echo a, register: a, timeout: 30}
    - {name: B, copy: {dest: /b, content: \"{{ a.stdout }}\"}}
";
    let sim = Sim {
        flooding: vec!["node-2".to_owned()],
        hanging: vec!["node-3".to_owned()],
        ..Sim::default()
    };
    let bench = Bench::new(4, &[("site.yml", site)]).with_sim(sim);
    let (report, events) = bench.run().await;
    let failed: BTreeSet<&str> = report
        .failures
        .iter()
        .map(|failure| failure.node.as_str())
        .collect();
    assert_eq!(failed, BTreeSet::from(["node-2", "node-3"]), "{report:?}");
    assert_eq!(report.failures.len(), 2, "one line a node");
    for name in ["node-1", "node-4"] {
        assert_eq!(bench.sim.world(name).files["/b"], "a");
    }
    let output = events
        .iter()
        .filter(|event| matches!(event, task_engine::Event::Output { .. }));
    assert!(
        output.count() < 20_000,
        "output is not passed on without a limit"
    );
}

#[tokio::test]
async fn no_node_gets_what_is_another_nodes() {
    let files = &[
        ("site.yml", "- {hosts: all, roles: [web]}\n"),
        (
            "roles/web/tasks/main.yml",
            "
- {name: Own, copy: {dest: /own, content: \"{{ secret }}\"}, environment: {SECRET: \"{{ secret }}\"}}
- {name: Read, command: \"echo {{ secret }}\", register: read}
- {name: Loop, command: \"echo {{ item }}\", loop: [\"{{ read.stdout }}\"]}
",
        ),
    ];
    let mut bench = Bench::new(3, files);
    for host in &mut bench.hosts {
        let secret = format!("secret-of-{}", host.name);
        host.vars.insert("secret".to_owned(), secret.into());
    }
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    for name in ["node-1", "node-2", "node-3"] {
        let arrived = format!("{:?}", bench.sim.world(name).arrived);
        assert!(arrived.contains(&format!("secret-of-{name}")));
        for other in ["node-1", "node-2", "node-3"] {
            let leaked = other != name && arrived.contains(&format!("secret-of-{other}"));
            assert!(!leaked, "{name} got what is {other}'s");
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_made_anew_for_the_next_task() {
    const RESET: &[(&str, &str)] = &[(
        "site.yml",
        "
- hosts: all
  gather_facts: false
  tasks:
    - command: echo a
    - meta: reset_connection
    - command: echo b
    - meta: reset_connection
      when: false
    - command: echo c
",
    )];
    let bench = Bench::new(1, RESET);
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{:?}", report.failures);
    assert_eq!(bench.sim.connections("node-1"), 2);
    assert_eq!(
        bench.sim.world("node-1").commands,
        ["echo a", "echo b", "echo c"]
    );
}
