//! What plays, roles, tasks and handlers do, as text of whole runs.
use task_engine::Mode;
use task_engine::journal::Step;

use crate::world::Bench;

const SITE: &[(&str, &str)] = &[
    (
        "site.yml",
        "
- name: All
  hosts: all
  gather_facts: false
  roles: [common]
- name: Controllers
  hosts: controller
  gather_facts: false
  roles: [database]
- name: Compute nodes
  hosts: compute
  gather_facts: true
  vars: {level: play}
  roles:
    - role: agent
      size: 3
",
    ),
    (
        "roles/common/tasks/main.yml",
        "
- name: Write the motd
  template: {src: motd.j2, dest: /etc/motd}
  notify: motd was written
- name: Only where asked
  command: echo never
  when: number > 100
",
    ),
    ("roles/common/templates/motd.j2", "node {{ inventory_hostname }} of {{ groups.all | length }}\n"),
    ("roles/common/handlers/main.yml", "
- name: Note it
  debug: {msg: \"written on {{ inventory_hostname }}\"}
  listen: motd was written
"),
    (
        "roles/database/tasks/main.yml",
        "
- name: Configure
  copy: {dest: /etc/db.conf, content: \"x\"}
  notify: restart the database
- name: Run
  service: {name: db, state: started}
",
    ),
    ("roles/database/handlers/main.yml", "- {name: restart the database, service: {name: db, state: restarted}}\n"),
    ("roles/database/meta/graph.yml", "provides: [database]\n"),
    ("roles/agent/meta/graph.yml", "needs: [{capability: database, policy: all}]\n"),
    ("roles/agent/defaults/main.yml", "size: 1\nurl: \"http://{{ groups.controller[0] }}/{{ size }}\"\n"),
    (
        "roles/agent/tasks/main.yml",
        "
- name: Read
  command: echo {{ hostvars['node-1'].number }}
  register: read
  changed_when: false
- name: Use
  copy: {dest: /etc/agent.conf, content: \"{{ url }} {{ read.stdout }} {{ ansible_hostname }} {{ level }}\"}
",
    ),
];

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let mut bench = Bench::new(3, SITE);
    let first = bench.text().await;
    bench.run = "run-2".to_owned();
    let second = bench.text().await;
    assert_eq!(
        bench.sim.world("node-2").files["/etc/agent.conf"],
        "http://node-1/3 1 sim play"
    );
    assert_eq!(bench.sim.world("node-1").services["db"], "restarted");
    insta::assert_snapshot!(format!("first run\n{first}\nsecond run\n{second}"));
}

#[tokio::test]
async fn check_mode_changes_nothing_and_says_what_it_cannot_know() {
    let mut bench = Bench::new(2, SITE);
    bench.mode = Mode::Check;
    let text = bench.text().await;
    assert!(
        bench.sim.world("node-1").effects.is_empty()
            && bench.sim.world("node-2").effects.is_empty()
    );
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn the_graph_has_edges_only_where_something_is_declared() {
    let bench = Bench::new(3, SITE);
    let spec = bench.spec();
    let playbook =
        task_engine::parse::playbook(&spec.playbook, &[], &crate::world::catalogue()).unwrap();
    let graph = task_engine::plan::plan(&playbook, &spec.hosts, None).unwrap();
    insta::assert_snapshot!(graph.to_string());
}

#[tokio::test]
async fn a_failure_is_told_once_and_what_depends_on_it_is_not_run() {
    let bench = Bench::new(3, SITE);
    let failing = "
- name: Configure
  command: false db
";
    crate::world::write(
        bench.folder.path(),
        "roles/database/tasks/main.yml",
        failing,
    );
    let (report, events) = bench.run().await;
    assert_eq!(report.failures.len(), 1);
    assert!(!report.is_success());
    insta::assert_snapshot!(crate::world::text(&report, &events));
}

async fn tasks(tasks: &str) -> (Bench, String) {
    let site = "- name: Play\n  hosts: all\n  gather_facts: false\n  roles: [web]\n";
    let bench = Bench::new(
        1,
        &[("site.yml", site), ("roles/web/tasks/main.yml", tasks)],
    );
    let text = bench.text().await;
    (bench, text)
}

#[tokio::test]
async fn keywords_do_what_they_say() {
    let (bench, text) = tasks(
        "
- name: Loop with labels
  command: echo {{ item.name }}
  loop: [{name: a, secret: x}, {name: b, secret: y}]
  loop_control: {label: \"{{ item.name }}\"}
  register: all
- name: Results of a loop
  assert:
    that:
      - all.results | map(attribute='stdout') | list == ['a', 'b']
      - all is changed
- name: Items, with a condition for each
  command: echo {{ item }}
  with_items: [[1, 2], 3]
  when: item != 2
- name: Dictionary
  debug: {msg: \"{{ item.key }}={{ item.value }}\"}
  with_dict: {k: v}
- name: Until
  command: again
  register: again
  until: again.count >= 3
  retries: 5
  delay: 0
- name: Failed when
  command: echo fine
  register: fine
  failed_when: \"'bad' in fine.stdout\"
  changed_when: \"'good' in fine.stdout\"
- name: Ignored
  command: 'false'
  ignore_errors: true
  register: ignored
- name: Told by the result
  debug: {msg: it failed}
  when: ignored is failed
- name: Block
  vars: {inner: 1}
  block:
    - name: Inside
      command: false inside {{ inner }}
    - name: Never
      debug: {msg: never}
  rescue:
    - name: Rescue
      debug: {msg: \"rescued {{ ansible_failed_task.name }}\"}
  always:
    - name: Always
      debug: {msg: always}
- name: Facts
  set_fact: {made: \"{{ 1 + 1 }}\", list: [1, \"{{ number }}\"]}
- name: Facts are there
  assert: {that: [made == 2, 'list == [1, 1]']}
- name: As somebody
  command: whoami
  become: true
  become_user: nobody
  register: who
- name: It was somebody
  assert: {that: who.user == 'nobody'}
- name: Fail at last
  fail: {msg: \"at last {{ made }}\"}
",
    )
    .await;
    let _ = bench;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn includes_see_their_variables() {
    let site = "- {hosts: all, gather_facts: false, roles: [web], tasks: [{import_role: {name: other}}]}\n";
    let bench = Bench::new(
        1,
        &[
            ("site.yml", site),
            (
                "roles/web/tasks/main.yml",
                "
- include_tasks: \"{{ which }}.yml\"
  vars: {given: 7, which: more}
  loop: [x, y]
- import_tasks: static.yml
  when: given is undefined
- include_role: {name: other, tasks_from: extra}
  vars: {given: 9}
",
            ),
            (
                "roles/web/tasks/more.yml",
                "- debug: {msg: \"{{ item }} {{ given }}\"}\n",
            ),
            ("roles/web/tasks/static.yml", "- debug: {msg: static}\n"),
            (
                "roles/other/tasks/main.yml",
                "- {name: main, command: echo main, notify: woken}\n",
            ),
            (
                "roles/other/tasks/extra.yml",
                "- debug: {msg: \"{{ role_name }} {{ given }}\"}\n",
            ),
            (
                "roles/other/handlers/main.yml",
                "- {name: woken, debug: {msg: \"woken in {{ role_name }}\"}}\n",
            ),
        ],
    );
    insta::assert_snapshot!(bench.text().await);
}

#[tokio::test]
async fn run_once_runs_once_and_all_have_its_result() {
    let site = "- {hosts: all, gather_facts: false, roles: [web]}\n";
    let bench = Bench::new(
        4,
        &[
            ("site.yml", site),
            (
                "roles/web/tasks/main.yml",
                "
- {name: Once, command: echo token, register: token, run_once: true, delegate_to: node-2}
- {name: Everywhere, copy: {dest: /token, content: \"{{ token.stdout }}\"}}
",
            ),
        ],
    );
    let (report, _) = bench.run().await;
    assert!(report.is_success(), "{report:?}");
    let run: Vec<usize> = (1..=4)
        .map(|number| bench.sim.world(&format!("node-{number}")).commands.len())
        .collect();
    assert_eq!(run, [0, 1, 0, 0]);
    for number in 1..=4 {
        assert_eq!(
            bench.sim.world(&format!("node-{number}")).files["/token"],
            "token"
        );
    }
}

#[tokio::test]
async fn secrets_are_in_no_event_and_in_no_journal() {
    let (bench, text) = tasks(
        "
- name: Secret
  copy: {dest: /secret, content: \"hunter2\"}
  no_log: true
- name: Secret in a loop
  command: echo {{ item }}
  loop: [hunter2]
  no_log: true
- name: Failing with a secret
  command: false hunter2
  no_log: true
",
    )
    .await;
    assert!(!text.contains("hunter2"), "{text}");
    let journal = format!("{:?}", bench.journal.entries());
    assert!(!journal.contains("hunter2"), "{journal}");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn the_journal_tells_every_task_and_its_verdict() {
    let (bench, _) = tasks(
        "
- name: Told
  debug: {msg: hello}
- name: Never there
  debug: {msg: never}
  when: false
- name: Only read
  command: echo
  changed_when: false
- name: Bad though it ended well
  command: echo
  failed_when: true
  ignore_errors: true
- name: Without a value
  command: echo {{ absent }}
  ignore_errors: true
- name: Wrong
  assert: {that: \"1 == 2\"}
",
    )
    .await;
    let mut rows: Vec<(String, String)> = Vec::new();
    for entry in bench.journal.entries() {
        let word = match entry.step {
            Step::Started => continue,
            Step::Judged { failed, changed } => format!("judged {failed} {changed}"),
            Step::Ended {
                failed,
                changed,
                result,
                ..
            } => format!("{failed} {changed} {}", result.unwrap_or_default().msg),
        };
        rows.push((entry.title, word));
    }
    let rows: Vec<String> = rows
        .into_iter()
        .map(|(title, word)| format!("{title}: {word}"))
        .collect();
    insta::assert_snapshot!(rows.join("\n"), @r"
    Told: false false hello
    Only read: false true 
    Only read: judged false false
    Bad though it ended well: false true 
    Bad though it ended well: judged true true
    Without a value: true false `absent` is undefined (in `echo {{ absent }}`)
    Wrong: true false assertion failed: 1 == 2
    ");
}

#[tokio::test]
async fn limits_and_tags_choose() {
    let mut bench = Bench::new(3, SITE);
    bench.limit = Some("compute:!node-3".to_owned());
    bench.tags = vec!["untagged".to_owned()];
    insta::assert_snapshot!(bench.text().await);
}
