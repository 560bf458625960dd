//! Plans: what they say, what they are worth, and that making one changes nothing.
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use task_engine::hidden::Hidden;
use task_engine::plan_file::{Comparison, FORMAT, Foresight, PlanFile, Selection, World};
use task_engine::vault::Vault;
use task_engine::{Event, Mode};

use crate::world::Bench;

const SITE: &[(&str, &str)] = &[
    (
        "site.yml",
        "- {hosts: all, roles: [web]}\n- {hosts: controller, gather_facts: false, roles: [extra]}\n",
    ),
    (
        "roles/web/tasks/main.yml",
        "
- name: Settings
  copy: {dest: /etc/web.conf, content: \"name={{ ansible_hostname }}\\nport=80\\n\"}
  notify: restart
- name: Version
  command: echo 7
  register: version
  changed_when: false
- name: By version
  copy: {dest: /etc/version, content: \"{{ version.stdout }}\"}
  notify: reload
- name: Act
  command: echo act
- name: Remember
  set_fact: {remembered: \"{{ version.stdout }}\"}
- name: By what was remembered
  copy: {dest: /etc/remembered, content: \"{{ remembered }}\"}
- name: Running
  service: {name: web, state: started}
",
    ),
    (
        "roles/web/handlers/main.yml",
        "
- {name: restart, service: {name: web, state: restarted}}
- {name: reload, command: echo reload}
",
    ),
    ("roles/web/meta/graph.yml", "provides: [web]\n"),
    ("roles/extra/meta/graph.yml", "needs: [web]\n"),
    (
        "roles/extra/tasks/main.yml",
        "
- name: Of another node
  copy: {dest: /etc/other, content: \"{{ hostvars['node-2'].ansible_hostname }} {{ hostvars['node-2'].version.stdout }}\"}
",
    ),
];

async fn foresee(bench: &mut Bench) -> PlanFile {
    bench.mode = Mode::Check;
    let (_, events) = bench.run().await;
    bench.mode = Mode::Apply;
    let mut foresight = Foresight::default();
    events.iter().for_each(|event| foresight.take(event));
    let (mut entries, faults) = foresight.finish();
    let folder = bench.folder.path().to_string_lossy().into_owned();
    for entry in &mut entries {
        entry.place = entry.place.replace(&folder, "");
    }
    PlanFile {
        format: FORMAT.to_owned(),
        env: "test".to_owned(),
        made_at: String::new(),
        world: World::default(),
        selection: Selection::default(),
        old_facts: BTreeMap::new(),
        entries,
        faults,
    }
}

fn compare(bench: &Bench, plan: &PlanFile, events: &[Event]) -> Comparison {
    let folder = bench.folder.path().to_string_lossy().into_owned();
    let events: Vec<Event> = events
        .iter()
        .cloned()
        .map(|event| match event {
            Event::TaskDone(mut done) => {
                done.place = done.place.replace(&folder, "");
                Event::TaskDone(done)
            }
            other => other,
        })
        .collect();
    Comparison::of(plan, &events)
}

#[tokio::test]
async fn a_plan_says_what_a_run_does_and_what_cannot_be_known() {
    let mut bench = Bench::new(2, SITE);
    let plan = foresee(&mut bench).await;
    insta::assert_snapshot!(plan);
    for number in 1..=2 {
        let world = bench.sim.world(&format!("node-{number}"));
        assert!(
            world.effects.is_empty() && world.commands.is_empty(),
            "{world:?}"
        );
    }
    let (report, events) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    let comparison = compare(&bench, &plan, &events);
    assert!(comparison.is_as_planned(), "{comparison}");
    insta::assert_snapshot!(comparison);

    bench.run = "run-2".to_owned();
    let plan = foresee(&mut bench).await;
    let counts = plan.counts();
    assert_eq!(counts.change, 0, "{plan}");
}

#[tokio::test]
async fn nodes_that_are_not_installed_are_not_asked() {
    let mut bench = Bench::new(2, SITE);
    bench.blank.insert("node-2".to_owned());
    let plan = foresee(&mut bench).await;
    assert!(plan.faults.is_empty(), "{plan}");
    assert_eq!(bench.sim.connections("node-2"), 0);
    insta::assert_snapshot!(plan);
}

#[tokio::test]
async fn a_check_that_fails_on_an_untouched_node_is_a_fault_of_the_plan() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - {name: Missing, copy: {dest: /x, content: \"{{ missing }}\"}}
";
    let mut bench = Bench::new(1, &[("site.yml", site)]);
    let plan = foresee(&mut bench).await;
    assert_eq!(plan.faults.len(), 1);
    let stale = plan.stale("test", &World::default()).to_string();
    assert!(stale.contains("not whole"), "{stale}");
    // After a change it can be its consequence.
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - {name: Install, copy: {dest: /y, content: y}}
    - {name: Missing, copy: {dest: /x, content: \"{{ missing }}\"}}
";
    let mut bench = Bench::new(1, &[("site.yml", site)]);
    let plan = foresee(&mut bench).await;
    insta::assert_snapshot!(plan);
}

#[tokio::test]
async fn commands_that_do_not_say_that_they_read_are_not_run() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - {name: Reads, command: echo reads, check_mode: false, changed_when: false, register: read}
    - {name: Acts, command: echo acts, check_mode: false}
    - {name: Uses, copy: {dest: /read, content: \"{{ read.stdout }}\"}}
";
    let mut bench = Bench::new(1, &[("site.yml", site)]);
    let plan = foresee(&mut bench).await;
    assert_eq!(bench.sim.world("node-1").commands, ["echo reads"]);
    insta::assert_snapshot!(plan);
}

#[tokio::test]
async fn a_limited_run_sees_the_facts_of_all_nodes() {
    let files = &[(
        "site.yml",
        "- {hosts: all, tasks: [{copy: {dest: /hosts, content: \"{{ hostvars['node-1'].ansible_hostname }},{{ hostvars['node-2'].ansible_hostname }}\"}}]}\n",
    )];
    let mut bench = Bench::new(2, files);
    bench.limit = Some("node-1".to_owned());
    let (report, _) = bench.run().await;
    assert!(!report.is_success(), "nothing is known of node-2 yet");
    let facts = json!({"hostname": "from-before"});
    bench
        .facts
        .insert("node-2".to_owned(), facts.as_object().cloned().unwrap());
    bench.run = "run-2".to_owned();
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    assert_eq!(bench.sim.world("node-1").files["/hosts"], "sim,from-before");
    assert_eq!(bench.sim.connections("node-2"), 0);
    // What was learnt is kept for the next run.
    assert_eq!(bench.journal.facts()["node-1"]["hostname"], "sim");
}

#[tokio::test]
async fn a_run_can_start_at_a_task() {
    let site = "
- hosts: all
  tasks:
    - {name: Before, command: echo before, register: before}
    - {name: Kept, set_fact: {kept: \"{{ number }}\"}}
    - {name: Lost, set_fact: {lost: \"{{ before.stdout }}\"}}
    - {include_tasks: more.yml}
    - {name: After, command: \"echo after {{ kept }} {{ ansible_hostname }}\"}
";
    let more = "- {name: Passed, command: echo passed}\n- {name: Here, command: echo here}\n";
    let mut bench = Bench::new(2, &[("site.yml", site), ("more.yml", more)]);
    bench.start_at_task = Some("Here".to_owned());
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    assert_eq!(
        bench.sim.world("node-2").commands,
        ["echo here", "echo after 2 sim"]
    );
    bench.start_at_task = Some("Hero".to_owned());
    let spec = bench.spec();
    let playbook =
        task_engine::parse::playbook(&spec.playbook, &[], &crate::world::catalogue()).unwrap();
    let (tell, _told) = tokio::sync::mpsc::channel(1);
    let error = task_engine::run_parsed(spec, playbook, tell)
        .await
        .unwrap_err();
    insta::assert_snapshot!(error.to_string().trim());
}

#[tokio::test]
async fn secrets_are_in_no_plan_no_event_and_no_journal() {
    let site = "
- hosts: all
  vars: {password: hunter2-hunter2}
  tasks:
    - {name: Config, copy: {dest: /c, content: \"password = {{ password }}\"}}
    - {name: \"Say {{ password }}\", command: \"echo {{ password }}\", register: said}
    - {name: Shout, debug: {msg: \"{{ said.stdout }}\"}}
    - {name: Loop, command: echo, loop: [\"{{ password }}\"]}
    - {name: Fail, fail: {msg: \"bad {{ password }}\"}}
";
    let mut bench = Bench::new(1, &[("site.yml", site)]);
    bench.hidden = Arc::new(Hidden::new(["hunter2-hunter2"]));
    let plan = foresee(&mut bench).await;
    let (report, events) = bench.run().await;
    let everything = format!(
        "{plan}\n{}\n{report:?}\n{events:?}\n{:?}",
        serde_json::to_string(&plan).unwrap(),
        bench.journal.entries()
    );
    assert!(!everything.contains("hunter2-hunter2"), "{everything}");
    assert!(everything.contains("********"));
    // The node got the real one, and so does a run that goes on.
    assert_eq!(
        bench.sim.world("node-1").files["/c"],
        "password = hunter2-hunter2"
    );
    let before = bench.sim.world("node-1").commands.len();
    let (_, events) = bench.run().await;
    assert_eq!(
        bench.sim.world("node-1").commands.len(),
        before,
        "nothing ran twice"
    );
    assert!(!format!("{events:?}").contains("hunter2-hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vault_opens_is_told_and_kept_nowhere() {
    let site = "
- hosts: all
  gather_facts: false
  tasks:
    - {name: Load, include_vars: sealed.yml}
    - {name: Say, debug: {msg: \"it is {{ database }}\"}}
    - {name: Use, copy: {dest: /c, content: \"x {{ database }}\"}}
    - {name: Shout, command: \"echo {{ database }}\"}
";
    let sealed = include_str!("../golden/vault-1.1.txt");
    let mut bench = Bench::new(1, &[("site.yml", site), ("sealed.yml", sealed)]);
    let password = ("prod".to_owned(), "correct horse".to_owned());
    bench.vault = Arc::new(Vault::new(vec![password]));
    let (report, events) = bench.run().await;
    let everything = format!("{report:?}\n{events:?}\n{:?}", bench.journal.entries());
    assert!(report.is_success(), "{everything}");
    assert!(!everything.contains("s3cret-word"), "{everything}");
    assert!(everything.contains("it is ********"), "{everything}");
    assert_eq!(
        bench.sim.world("node-1").files["/c"],
        "x s3cret-word",
        "the node gets the real one"
    );
}
