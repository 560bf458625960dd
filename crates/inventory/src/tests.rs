//! Tests of whole inventories: the ones we ship, precedence, and every kind of fault.

use super::*;
use crate::files::{Files, TextFile, VarsFile};
use proptest::prelude::*;
use serde_json::json;

pub(crate) fn text(name: &str, text: &str) -> TextFile {
    TextFile {
        name: name.into(),
        text: text.into(),
    }
}

pub(crate) fn vars(folder: &str, owner: &str, content: &str) -> VarsFile {
    VarsFile {
        owner: owner.into(),
        file: text(&format!("{folder}/{owner}.yml"), content),
    }
}

fn shipped(name: &str) -> Inventory {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../inventories")
        .join(name);
    let (inventory, diags) = load(&dir);
    assert!(diags.is_empty(), "{diags}");
    inventory
}

#[test]
fn shipped_inventories_have_no_faults() {
    let lab = shipped("lab");
    assert_eq!(lab.hosts.keys().collect::<Vec<_>>(), ["node-1", "node-2"]);
    assert_eq!(lab.hosts["node-2"].lab.firmware, Firmware::UefiPxe);
    assert_eq!(lab.hosts["node-1"].fqdn(), "node-1.domain.tld");
    let Some(Carrier::Card(nic)) = lab.hosts["node-1"].carrier_of(NetworkName::App) else {
        panic!("`app` is on a card");
    };
    assert_eq!(
        (nic.name.as_str(), nic.mac),
        ("eth4", "52:54:00:20:01:04".parse().ok())
    );

    let datacenter = shipped("datacenter");
    assert_eq!(datacenter.hosts_in("controller").count(), 3);
    assert_eq!(datacenter.groups["all"].len(), 7);
    assert_eq!(
        datacenter.networks[&NetworkName::Ipmi].via,
        Some(NetworkName::Mgmt)
    );

    let one = shipped("one-machine");
    assert_eq!(one.hosts["node-1"].groups, ["compute", "controller"]);
    assert!(one.hosts["node-1"].nics.is_empty());
}

#[test]
fn variables_have_ansibles_precedence() {
    let files = Files {
        hosts: Some(text(
            "hosts.yml",
            "
all:
  vars: {a: file-all, b: file-all, c: file-all, d: file-all, e: file-all, f: file-all, g: {x: 1}}
  hosts:
    n-1: {ansible_host: 10.0.0.1, f: file-host, e: file-host}
  children:
    controller:
      vars: {b: file-parent, c: file-parent, d: file-parent}
      children:
        east:
          vars: {c: file-child, d: file-child}
          hosts: {n-1: {g: {y: 2}}}
    aaa:
      vars: {h: first, i: low}
      hosts: {n-1: }
    bbb:
      vars: {h: second, i: lower, ansible_group_priority: 0}
      hosts: {n-1: }
",
        )),
        group_vars: vec![
            vars("group_vars", "all", "d: folder-all\ne: folder-all\n"),
            vars(
                "group_vars",
                "controller",
                "e: folder-parent\nj: folder-parent\n",
            ),
            vars("group_vars", "east", "j: folder-child\n"),
        ],
        host_vars: vec![vars("host_vars", "n-1", "f: folder-host\n")],
        ..Files::default()
    };
    let (inventory, diags) = assemble(&files);
    assert!(diags.is_empty(), "{diags}");
    let mut merged = inventory.host_vars("n-1").expect("n-1");
    merged.remove("ansible_host");
    merged.remove("ansible_group_priority");
    merged.sort_keys();
    // `a` to `f`: each layer wins over the one before; `g`: maps are replaced, not merged;
    // `h`, `i`: groups of the same depth by priority, then by name.
    assert_eq!(
        json!(merged),
        json!({
            "a": "file-all", "b": "file-parent", "c": "file-child", "d": "folder-all",
            "e": "file-host", "f": "folder-host", "g": {"y": 2},
            "h": "first", "i": "low", "j": "folder-child",
        })
    );
    assert_eq!(
        inventory.hosts["n-1"].groups,
        ["aaa", "bbb", "controller", "east"]
    );
}

const NETWORKS: &str = "
pxe: {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
mgmt: {cidr: 10.0.1.0/24}
app: {cidr: 10.0.2.0/24, ranges: {floating: 10.0.2.100-10.0.2.199}}
ipmi: {cidr: 10.0.3.0/24}
";

pub(crate) fn faults(files: &Files) -> String {
    let (_, diags) = assemble(files);
    assert!(diags.has_errors());
    diags.to_string()
}

#[test]
fn faults_of_networks_are_all_told() {
    let networks = "
pxe:
  cidr: 10.0.0.7/24
  vlan: 7
  gatewey: 10.0.0.1
mgnt: {cidr: 10.0.9.0/24}
mgmt:
  cidr: 10.0.1.0/24
  mtu: 12
  gateway: 10.0.2.1
  dns: [nameserver]
  ranges: {nodes: 10.0.1.9-10.0.1.2, vips: 10.0.1.200-10.0.2.5, dhcp: 10.0.1.4, floating: 10.0.1.20-10.0.1.30}
storage:
  cidr: 10.0.1.128/25
  ranges: {nodes: 10.0.1.130-10.0.1.150, vips: 10.0.1.150-10.0.1.151, vps: 10.0.1.160-10.0.1.161}
private: {vlan: 5000}
app: 10.0.2.0/24
ipmi: {cidr: 10.0.3.0, via: mgt}
";
    insta::assert_snapshot!(faults(&Files {
        networks: Some(text("networks.yml", networks)),
        ..Files::default()
    }));
}

#[test]
fn faults_of_hosts_are_all_told() {
    let hosts = r#"
all:
  children:
    controller:
      hosts:
        node-1:
          macs: {eth0: "52:54:00:00:00:01", eth1: "52:54:00:00:00:02", eth3: "01:00:5e:00:00:01"}
          bmc: {address: 10.0.2.5, prot: 624, usr: x}
        node-[3:2]:
    controler:
      hosts:
        node-2:
          macs: {eth0: "52:54:00:00:00:01", eth1: "52:54:00:00", eth9: "52:54:00:00:00:09"}
          lab: {memory_mib: many, cpu: 2, firmware: efi}
        Node_4:
          mac: {}
    compute:
      host: {node-5: }
      hosts: [node-6]
"#;
    insta::assert_snapshot!(faults(&Files {
        hosts: Some(text("hosts.yml", hosts)),
        networks: Some(text("networks.yml", NETWORKS)),
        group_vars: vec![
            vars(
                "group_vars",
                "all",
                "nics:\n  eth0: [pxe, mgnt]\n  eth1: [mgmt, app]\n  eth2: [storage, mgmt]\n"
            ),
            vars("group_vars", "computes", "a: 1\n"),
        ],
        host_vars: vec![vars("host_vars", "node-11", "a: 1\n")],
    }));
}

#[test]
fn faults_of_structure_are_told() {
    let mut all = String::new();
    for hosts in [
        "",
        "- a\n",
        "all: [a]\n",
        "all:\n",
        "a: {children: {b: {children: {a: }}}}\n",
        "controller: {hosts: {node-1: {}}}\n",
        "controller: {hosts: {node-1: 5}, vars: [], children: 7}\n",
        "compute: {hosts: {node-1: {ansible_host: 10.0.0.1}}}\n",
        "controller: {hosts: {node-1: {ansible_host: a, bmc: {password: secret}}}}\n",
        "all: {hosts: {node-1: {macs: {eth0: '{{ mac }}'}, nics: 3}}}\n",
    ] {
        all += &format!("──── {hosts}");
        all += &faults(&Files {
            hosts: Some(text("hosts.yml", hosts)),
            networks: Some(text("networks.yml", NETWORKS)),
            ..Files::default()
        });
    }
    insta::assert_snapshot!(all);
}

#[test]
fn folders_are_read_and_missing_files_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join("lab").join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("written");
    };
    let shown = |diags: &Diagnostics| {
        diags
            .to_string()
            .replace(&dir.path().display().to_string(), "DIR")
    };
    let (_, diags) = load(&dir.path().join("lab"));
    let mut all = shown(&diags);
    write(
        "hosts.yml",
        "controller: {hosts: {n-1: {ansible_host: 10.0.0.1, d: host}}}\n",
    );
    let (_, diags) = load(&dir.path().join("lba"));
    all += &shown(&diags);
    let (_, diags) = load(&dir.path().join("lab"));
    all += &shown(&diags);
    write("networks.yml", NETWORKS);
    write("group_vars/all/10-first.yml", "a: 1\nb: 1\n");
    write("group_vars/all/20-second.yml", "b: 2\n");
    write("group_vars/all/.hidden.yml", "b: 3\n");
    write("group_vars/controller.json", "{\"c\": 3}\n");
    write("host_vars/n-1", "d: 4\n");
    let (inventory, diags) = load(&dir.path().join("lab"));
    assert!(diags.is_empty(), "{diags}");
    let mut vars = inventory.host_vars("n-1").expect("n-1");
    vars.remove("ansible_host");
    assert_eq!(json!(vars), json!({"a": 1, "b": 2, "c": 3, "d": 4}));
    write("group_vars/controller.yml", "c: 4\n");
    std::fs::write(dir.path().join("lab/host_vars/n-2.yml"), [0xff, 0xfe]).expect("written");
    let (_, diags) = load(&dir.path().join("lab"));
    all += &shown(&diags);
    insta::assert_snapshot!(all);
}

proptest! {
    #[test]
    fn whatever_is_written_gets_an_answer(
        words in proptest::collection::vec(prop::sample::select(vec![
            "all:", "hosts:", "children:", "vars:", "node-1:", "node-[1:2]:", "macs:", "nics:", "bmc:", "lab:",
            "eth0: ", "pxe: ", "mgmt: ", "[pxe]", "[pxe, mgmt]", "'52:54:00:00:00:01'", "{", "}", "1", "controller:",
            "cidr: ", "10.0.0.0/24", "0.0.0.0/8", "255.255.255.0/24", "gateway: ", "10.0.0.1", "ranges:", "nodes: ", "10.0.0.1-10.0.0.9", "\n", "\n  ", "\n    ", "\n      ",
        ]), 0..50),
        split in 0usize..50,
    ) {
        let (hosts, networks) = words.split_at(split.min(words.len()));
        let files = Files {
            hosts: Some(text("hosts.yml", &hosts.concat())),
            networks: Some(text("networks.yml", &networks.concat())),
            ..Files::default()
        };
        let (_, diags) = assemble(&files);
        let _ = diags.to_string();
    }
}

#[test]
fn postgresql_is_for_a_single_controller() {
    let check = |hosts: &str, group_vars: &str| {
        let files = Files {
            hosts: Some(text("hosts.yml", hosts)),
            group_vars: vec![vars("group_vars", "controller", group_vars)],
            ..Files::default()
        };
        let (inventory, diags) = assemble(&files);
        (inventory.database_engine, diags.to_string())
    };
    let one = "controller: {hosts: {n-1: {ansible_host: 10.0.0.1}}}\n";
    let three = "controller: {hosts: {'n-[1:3]': {ansible_connection: local}}}\n";
    assert_eq!(check(three, "").0, DatabaseEngine::Mariadb);
    let postgresql = check(one, "database_engine: postgresql\n");
    assert_eq!(postgresql, (DatabaseEngine::Postgresql, String::new()));
    let faults = [
        check(three, "database_engine: postgresql\n").1,
        check(one, "database_engine: postgres\n").1,
        check(one, "database_engine: [mariadb]\n").1,
    ];
    insta::assert_snapshot!(faults.join("\n"));
}
