//! What waits for what, how many at a time, and who stops when others fail.
use std::collections::BTreeSet;

use task_engine::{Event, Mode, Order, RunReport};

use crate::sim::Sim;
use crate::world::Bench;

/// `node: what` for each begin and end of a command, in the order in which they happened.
fn happened(bench: &Bench) -> Vec<String> {
    let all = bench.sim.happened.lock().unwrap();
    all.iter()
        .map(|(node, what, line)| format!("{node} {what} {line}"))
        .collect()
}

fn at(happened: &[String], what: &str) -> usize {
    let found = happened.iter().position(|entry| entry == what);
    found.unwrap_or_else(|| panic!("`{what}` did not happen: {happened:#?}"))
}

/// The most commands that ran at the same time.
fn most_at_once(bench: &Bench) -> usize {
    let all = bench.sim.happened.lock().unwrap();
    let (mut now, mut most) = (0usize, 0);
    for (_, what, _) in all.iter() {
        match *what {
            "begin" => now += 1,
            _ => now -= 1,
        }
        most = most.max(now);
    }
    most
}

async fn run(nodes: usize, files: &[(&str, &str)]) -> (Bench, RunReport, Vec<Event>) {
    let bench = Bench::new(nodes, files);
    let (report, events) = bench.run().await;
    (bench, report, events)
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_holds_nobody_who_does_not_need_it() {
    let site = "
- hosts: all
  gather_facts: false
  roles: [base]
- hosts: compute
  gather_facts: false
  roles: [agent]
";
    let base = "
- command: sleep 1000
  when: number == 3
- command: echo base
";
    let files = [
        ("site.yml", site),
        ("roles/base/tasks/main.yml", base),
        ("roles/base/meta/graph.yml", "provides: [base]\n"),
        ("roles/agent/tasks/main.yml", "- command: echo agent\n"),
        (
            "roles/agent/meta/graph.yml",
            "needs: [{capability: base, policy: any}]\n",
        ),
    ];
    let (bench, report, _) = run(3, &files).await;
    assert!(report.is_success(), "{report:?}");
    let happened = happened(&bench);
    assert!(
        at(&happened, "node-2 end echo agent") < at(&happened, "node-3 end sleep 1000"),
        "{happened:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn serial_takes_batch_after_batch() {
    let site = "
- hosts: all
  gather_facts: false
  serial: [1, 40%]
  tasks:
    - command: sleep 1
    - command: echo done
";
    let (bench, report, _) = run(5, &[("site.yml", site)]).await;
    assert!(report.is_success(), "{report:?}");
    let happened = happened(&bench);
    let (first, second) = (
        at(&happened, "node-1 end echo done"),
        at(&happened, "node-2 begin sleep 1"),
    );
    assert!(first < second, "{happened:#?}");
    assert!(at(&happened, "node-3 end echo done") < at(&happened, "node-4 begin sleep 1"));
    assert_eq!(most_at_once(&bench), 2);
}

#[tokio::test(start_paused = true)]
async fn throttle_limits_one_task() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - command: sleep 1
      throttle: 2
";
    let (bench, report, _) = run(6, &[("site.yml", site)]).await;
    assert!(report.is_success(), "{report:?}");
    assert_eq!(most_at_once(&bench), 2);
}

#[tokio::test(start_paused = true)]
async fn a_play_stops_when_more_than_its_share_has_failed() {
    let site = |share: u8| {
        format!(
            "
- hosts: all
  gather_facts: false
  max_fail_percentage: {share}
  tasks:
    - command: 'false'
      when: number <= 2
    - command: sleep 5
      when: number > 2
    - command: echo after
- hosts: node-5
  gather_facts: false
  tasks: [{{command: echo next}}]
"
        )
    };
    let (bench, report, events) = run(5, &[("site.yml", &site(20))]).await;
    assert_eq!(report.failures.len(), 2, "causes only: {report:?}");
    assert!(!happened(&bench).contains(&"node-3 begin echo after".to_owned()));
    assert!(!happened(&bench).contains(&"node-5 begin echo next".to_owned()));
    let because = events.iter().find_map(|event| match event {
        Event::NotRun { because, .. } => Some(because.clone()),
        _ => None,
    });
    insta::assert_snapshot!(because.unwrap(), @"2 of 5 nodes in all failed, and 1 may");

    let (bench, report, _) = run(5, &[("site.yml", &site(40))]).await;
    assert!(!report.is_success());
    assert!(happened(&bench).contains(&"node-3 end echo after".to_owned()));
}

const BUDGET: &[(&str, &str)] = &[
    (
        "site.yml",
        "
- hosts: all
  gather_facts: false
  roles: [hypervisor, extra]
- hosts: node-4
  gather_facts: false
  roles: [last]
",
    ),
    (
        "roles/hypervisor/meta/graph.yml",
        "budget: {compute: 34%, controller: 0}\n",
    ),
    (
        "roles/hypervisor/tasks/main.yml",
        "- {command: 'false', when: number in failing}\n- {command: sleep 1}\n- {command: echo up}\n",
    ),
    ("roles/hypervisor/defaults/main.yml", "failing: [3]\n"),
    ("roles/extra/tasks/main.yml", "- command: echo extra\n"),
    ("roles/extra/meta/graph.yml", "provides: [extra]\n"),
    ("roles/last/meta/graph.yml", "needs: [extra]\n"),
    ("roles/last/tasks/main.yml", "- command: echo last\n"),
];

#[tokio::test(start_paused = true)]
async fn a_failure_within_the_budget_is_borne() {
    let (bench, report, _) = run(4, BUDGET).await;
    assert!(report.is_success(), "{report:?}");
    assert!(report.failures[0].tolerated && report.failures[0].node == "node-3");
    // What needs all nodes of the role can do without the one that was lost.
    assert!(happened(&bench).contains(&"node-4 end echo last".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_all_stop() {
    for failing in ["[2, 3]", "[1]"] {
        let bench = Bench::new(4, BUDGET);
        crate::world::write(
            bench.folder.path(),
            "roles/hypervisor/defaults/main.yml",
            &format!("failing: {failing}\n"),
        );
        let (report, _) = bench.run().await;
        assert!(!report.is_success());
        assert!(report.failures.iter().all(|failure| !failure.tolerated));
        let ups = happened(&bench)
            .iter()
            .filter(|entry| entry.ends_with("echo up"))
            .count();
        // A controller's failure stops controllers; compute nodes have a budget of their own.
        let expected = if failing == "[1]" { 6 } else { 2 };
        assert_eq!(ups, expected, "{failing}: {:#?}", happened(&bench));
        assert!(!happened(&bench).contains(&"node-4 end echo last".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn errors_can_be_fatal_for_all_or_ignored_for_nodes_that_are_gone() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - any_errors_fatal: true
      block:
        - command: 'false'
          when: number == 1
    - command: sleep 3
    - command: echo never
";
    let (bench, report, _) = run(3, &[("site.yml", site)]).await;
    assert_eq!(report.failures.len(), 1, "{report:?}");
    assert!(
        !happened(&bench)
            .iter()
            .any(|entry| entry.ends_with("echo never"))
    );

    let site = "
- hosts: all
  gather_facts: false
  ignore_unreachable: true
  tasks: [{command: echo one}, {command: echo two}]
";
    let sim = Sim {
        dead: vec!["node-2".to_owned()],
        ..Sim::default()
    };
    let bench = Bench::new(2, &[("site.yml", site)]).with_sim(sim);
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    assert_eq!(report.nodes["node-2"].ignored, 2);
    assert!(report.nodes["node-2"].unreachable);
}

#[tokio::test(start_paused = true)]
async fn groups_and_nodes_that_tasks_make_are_there_for_later_plays() {
    let site = "
- hosts: compute
  gather_facts: false
  tasks:
    - group_by: {key: \"kind_{{ 'odd' if number % 2 else 'even' }}\"}
    - add_host: {name: guest-1, groups: guests, number: 9}
      run_once: true
- hosts: kind_odd
  gather_facts: false
  tasks: [{command: \"echo odd {{ group_names | join(',') }}\"}]
- hosts: guests
  gather_facts: false
  tasks: [{command: \"echo guest {{ number }} {{ groups.kind_even | join(',') }} {{ hostvars['node-3'].number }}\"}]
";
    let (bench, report, _) = run(5, &[("site.yml", site)]).await;
    assert!(report.is_success(), "{report:?}");
    let lines: BTreeSet<String> = happened(&bench).into_iter().collect();
    insta::assert_debug_snapshot!(lines, @r#"
    {
        "guest-1 begin echo guest 9 node-2,node-4 3",
        "guest-1 end echo guest 9 node-2,node-4 3",
        "node-3 begin echo odd compute,kind_odd",
        "node-3 end echo odd compute,kind_odd",
        "node-5 begin echo odd compute,kind_odd",
        "node-5 end echo odd compute,kind_odd",
    }
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_linear_run_goes_task_by_task_and_play_by_play() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - command: echo first
      register: first
      when: number == 1
    - command: sleep 2
      when: number == 1
    - command: echo {{ hostvars['node-1'].first.stdout }} on {{ number }}
    - command: 'false'
      when: number == 2
    - command: echo after
- hosts: node-3
  gather_facts: false
  tasks: [{command: echo second play}]
";
    let mut bench = Bench::new(3, &[("site.yml", site)]);
    bench.order = Order::Linear;
    let (report, _) = bench.run().await;
    assert_eq!(report.failures.len(), 1, "{report:?}");
    let happened = happened(&bench);
    let slow = at(&happened, "node-1 end sleep 2");
    assert!(slow < at(&happened, "node-3 begin echo first on 3"));
    assert!(
        at(&happened, "node-1 end echo after") < at(&happened, "node-3 begin echo second play")
    );
    assert!(!happened.contains(&"node-2 begin echo after".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_holds_nobody_that_goes_in_step() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - command: echo first
    - command: echo last
";
    let sim = Sim {
        dead: vec!["node-1".to_owned()],
        ..Sim::default()
    };
    let mut bench = Bench::new(3, &[("site.yml", site)]).with_sim(sim);
    bench.order = Order::Linear;
    let (report, events) = bench.run().await;
    assert!(report.nodes["node-1"].unreachable, "{report:?}");
    let given_up = events
        .iter()
        .position(|event| matches!(event, Event::NodeFailed { .. }))
        .unwrap();
    let before = events[..given_up]
        .iter()
        .filter(|event| matches!(event, Event::TaskDone(done) if done.node != "node-1"))
        .count();
    assert_eq!(before, 4, "{events:#?}");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_the_reason() {
    let site = "
- hosts: all
  gather_facts: false
  serial: many
  max_fail_percentage: 200
  tasks:
    - command: echo
      async: 60
      poll: 0
    - command: echo
      poll: 5
    - {group_by: {}}
    - {add_host: {groups: x}}
  roles: [bad]
";
    let files = [
        ("site.yml", site),
        (
            "roles/bad/meta/graph.yml",
            "budget: {compute: -1, controller: 200%}\n",
        ),
    ];
    let mut bench = Bench::new(1, &files);
    bench.mode = Mode::Check;
    let playbook = bench.folder.path().join("site.yml");
    let faults =
        task_engine::parse::playbook(&playbook, &[], &crate::world::catalogue()).unwrap_err();
    let text = faults
        .to_string()
        .replace(&*bench.folder.path().to_string_lossy(), "");
    insta::assert_snapshot!(text);
}
