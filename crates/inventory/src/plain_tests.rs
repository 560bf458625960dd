//! Inventories as Ansible reads them: what `ansible-inventory --list` gave for the same files lies beside them.
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name)
}

/// Hosts of a group of Ansible's answer, those of its child groups too.
fn members(expected: &Json, group: &str, out: &mut BTreeSet<String>) {
    let names = |key: &str| -> Vec<String> {
        expected[group][key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    out.extend(names("hosts"));
    for child in names("children") {
        members(expected, &child, out);
    }
}

fn agrees(case: &str, source: &str, playbook: Option<&str>) {
    let folder = playbook.map(corpus);
    let options = PlainOptions {
        playbook_folder: folder.as_deref(),
        unseal: None,
    };
    let source = corpus(case).join(source).display().to_string();
    let (inventory, faults) = plain(&[source], &options);
    assert!(faults.is_empty(), "{faults}");
    let expected =
        std::fs::read_to_string(corpus(case).join("expected.json")).expect("a golden file");
    let expected: Json = serde_json::from_str(&expected).expect("JSON");

    let mut names = BTreeSet::new();
    members(&expected, "all", &mut names);
    let found: BTreeSet<String> = inventory.hosts.keys().cloned().collect();
    assert_eq!(found, names);
    for (name, host) in &inventory.hosts {
        let wanted = expected["_meta"]["hostvars"].get(name).cloned();
        let wanted: BTreeMap<String, Json> = wanted
            .and_then(|vars| vars.as_object().cloned())
            .unwrap_or_default()
            .into_iter()
            .collect();
        let vars: BTreeMap<String, Json> = host.vars.clone().into_iter().collect();
        assert_eq!(vars, wanted, "{name}");
    }
    for group in expected.as_object().expect("a map").keys() {
        if group == "_meta" {
            continue;
        }
        let mut wanted = BTreeSet::new();
        members(&expected, group, &mut wanted);
        let found: BTreeSet<String> = inventory
            .groups
            .get(group)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        assert_eq!(found, wanted, "group {group}");
    }
}

#[test]
fn an_inventory_in_ini_form_is_read_as_ansible_reads_it() {
    agrees("ini", "hosts", None);
}

#[test]
fn an_inventory_in_yaml_form_is_read_as_ansible_reads_it() {
    agrees("yaml", "hosts.yml", None);
}

/// The table of precedence: every place where an inventory can set a variable, the later over the earlier.
#[test]
fn variables_win_in_the_order_of_ansible() {
    agrees("folder", "inventory", Some("folder"));
}

#[test]
fn faults_name_line_and_column() {
    let mut out = String::new();
    for (name, text) in [
        ("hosts", "[web\nx\n"),
        ("hosts", "[web]\nx a=1 b\n  y 'open\n"),
        ("hosts", "[web:childs]\nx\n"),
        (
            "hosts",
            "[web]\nx\n[app:children]\nwep\n[ap:vars]\na=1\nb\n",
        ),
        ("hosts", "[web]\nweb[3:1]\n"),
        ("hosts", "[a:children]\nb\n[b:children]\na\n"),
        ("hosts", "#!/usr/bin/python3\nprint('{}')\n"),
        ("hosts.yml", "web:\n  host:\n    a:\n"),
        ("hosts.yml", "web:\n  hosts: [a, b]\n"),
        ("aws.yml", "plugin: amazon.aws.aws_ec2\nregions: [x]\n"),
    ] {
        let (_, faults) = plain_text(name, text);
        assert!(faults.has_errors(), "{text}");
        out.push_str(&format!("{text:?}\n{faults}\n"));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn names_with_commas_are_hosts() {
    let sources = ["a,b:2222,10.0.0.1,".to_owned()];
    let (inventory, faults) = plain(&sources, &PlainOptions::default());
    assert!(faults.is_empty(), "{faults}");
    let names: Vec<&str> = inventory.hosts.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "b", "10.0.0.1"]);
    assert_eq!(inventory.hosts["b"].vars["ansible_port"], 2222);
    assert_eq!(inventory.hosts["a"].groups, ["ungrouped"]);
}

proptest! {
    #[test]
    fn strangers_texts_never_panic(text in "[\\[\\]a-c:=,'\"#0-9 \n{}()-]{0,120}", any in ".{0,80}") {
        for name in ["hosts", "hosts.yml"] {
            let _ = plain_text(name, &text);
            let _ = plain_text(name, &any);
        }
    }
}
