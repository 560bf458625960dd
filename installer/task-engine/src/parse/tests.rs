//! What is read, and above all what is refused: every fault at once, with place and hint, as text.
use std::path::Path;

use super::*;

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn read(files: &[(&str, &str)]) -> Result<Playbook, String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    let playbook = playbook(
        &folder.path().join("site.yml"),
        &[],
        &Catalogue::of_modules(),
    );
    playbook.map_err(|faults| {
        faults
            .to_string()
            .replace(&*folder.path().to_string_lossy(), "")
    })
}

#[test]
fn every_fault_of_all_files_is_told_at_once() {
    let faults = read(&[
        (
            "site.yml",
            "
- name: One
  hosts: all
  rols: [web]
  serial: 3
- hosts: all
  roles:
    - web
    - databse
    - role: web
      size: 3
- name: No hosts
  tasks: []
",
        ),
        (
            "roles/web/tasks/main.yml",
            "
- name: Unknown module
  tempalte: {src: a, dest: /b}
- name: Unknown argument
  copy: {dest: /a, contents: x}
- name: Missing argument
  template: {dest: /a}
- name: Unknown keyword
  ping: {}
  wehn: true
- name: Two modules
  ping: {}
  setup: {}
- name: No module
  when: true
- name: Wrong choice
  service: {name: x, state: runing}
- name: Wrong expression
  ping: {}
  when: a ==
- name: Not supported
  command: sleep 10
  async: 5
- name: Nobody listens
  ping: {}
  notify: [restart, restrat web]
- name: Wrong loop
  ping: {}
  with_itmes: [1]
- import_tasks: missing.yml
- include_tasks: \"{{ file }}.yml\"
- name: Listening
  ping: {}
  listen: x
- name: Words
  meta: flush_handler
- just a text
",
        ),
        (
            "roles/web/tasks/unreached.yml",
            "- {name: In a file that an include could name, pong: {}}\n",
        ),
        (
            "roles/web/handlers/main.yml",
            "- {name: restart web, ping: {}}\n",
        ),
        (
            "roles/web/meta/graph.yml",
            "needs: [{capability: x, policy: most}, {capabilty: y}]\nprovids: [z]\n",
        ),
        ("roles/database/tasks/main.yml", "[]\n"),
    ])
    .unwrap_err();
    insta::assert_snapshot!(faults);
}

#[test]
fn a_yaml_fault_in_a_role_does_not_hide_the_others() {
    let faults = read(&[
        ("site.yml", "- {hosts: all, roles: [a, b]}\n"),
        ("roles/a/tasks/main.yml", "- ping: {\n"),
        ("roles/b/tasks/main.yml", "- pong: {}\n"),
    ])
    .unwrap_err();
    assert!(
        faults.contains("roles/a/tasks/main.yml") && faults.contains("`pong`"),
        "{faults}"
    );
}

#[test]
fn imports_and_roles_that_lead_back_to_themselves_are_refused() {
    for files in [
        &[
            ("site.yml", "- {hosts: all, roles: [a]}\n"),
            ("roles/a/tasks/main.yml", "- import_tasks: main.yml\n"),
        ][..],
        &[
            ("site.yml", "- {hosts: all, roles: [a]}\n"),
            ("roles/a/tasks/main.yml", "- import_role: {name: b}\n"),
            ("roles/b/tasks/main.yml", "- import_role: {name: a}\n"),
        ],
        &[
            ("site.yml", "- {hosts: all, roles: [a]}\n"),
            ("roles/a/tasks/main.yml", "[]\n"),
            ("roles/a/meta/main.yml", "dependencies: [b]\n"),
            ("roles/b/tasks/main.yml", "[]\n"),
            ("roles/b/meta/main.yml", "dependencies: [a]\n"),
        ],
        &[("site.yml", "- import_playbook: site.yml\n")],
    ] {
        let faults = read(files).unwrap_err();
        assert!(faults.contains("itself"), "{faults}");
    }
}

#[test]
fn spellings_of_arguments_mean_the_same() {
    let playbook = read(&[(
        "site.yml",
        "
- hosts: all
  tasks:
    - ansible.builtin.file: path=/a state=directory mode=0755
    - file: {path: /a, state: directory, mode: '0755'}
    - file:
      args: {path: /a, state: directory, mode: '0755'}
    - command: touch \"a b\" creates=/x
    - command: {cmd: 'touch \"a b\"', creates: /x}
    - shell: |
        one
        two
      args: {chdir: /tmp}
",
    )])
    .unwrap();
    let args: Vec<&Args> = playbook.plays[0]
        .tasks
        .iter()
        .map(|item| match item {
            Item::Task(task) => match &task.action {
                Action::Module { args, .. } => args,
                other => panic!("{other:?}"),
            },
            Item::Block(_) => panic!("no block was written"),
        })
        .collect();
    assert_eq!(args[0], args[1]);
    assert_eq!(args[1], args[2]);
    assert_eq!(args[3], args[4]);
    let expected = serde_json::json!({"cmd": "one\ntwo", "chdir": "/tmp"});
    assert_eq!(args[5], &Args::Map(expected.as_object().cloned().unwrap()));
}

#[test]
fn the_roles_of_the_product_are_read_whole() {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles/site.yml");
    if let Err(faults) = playbook(&site, &[], &Catalogue::of_modules()) {
        panic!("{faults}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\n]{0,200}") {
        let _ = read(&[("site.yml", &text)]);
        let _ = read(&[("site.yml", "- {hosts: all, roles: [a]}\n"), ("roles/a/tasks/main.yml", &text)]);
    }
}

/// Playbooks of this project, read with the modules that the agent has.
#[test]
fn the_projects_own_playbooks_are_understood() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in [
        "roles/site.yml",
        "tests/lab/modules.yml",
        "tests/lab/modules-away.yml",
    ] {
        if let Err(faults) = playbook(&root.join(file), &[], &Catalogue::of_modules()) {
            panic!("{file}: {faults:?}");
        }
    }
}
