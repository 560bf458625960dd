use super::*;
use chrono::Utc;
use std::path::Path;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn environment() -> Environment {
    Environment::for_tests(&root().join("inventories/lab-ha"))
}

/// As after a deployment of these nodes of the inventory.
fn records(environment: &Environment, names: &[&str]) -> Vec<NodeRecord> {
    let record = |name: &&str| NodeRecord {
        name: (*name).to_owned(),
        state: "deployed".to_owned(),
        reason: None,
        boot_mac: environment.plan.nodes[*name]
            .boot_mac
            .map(|mac| mac.to_string()),
        hardware: None,
        ssh_host_key: None,
        machine_id: None,
        image_sha256: None,
        token: None,
        revision: 1,
        created_at: Utc::now(),
        changed_at: Utc::now(),
        joined_at: Some(Utc::now()),
    };
    names.iter().map(record).collect()
}

/// A controller more than the inventory has.
fn with_controllers(environment: &mut Environment, names: &[&str]) {
    for name in names {
        let mut node = environment.plan.nodes["node-1"].clone();
        node.name = (*name).to_owned();
        environment.plan.nodes.insert((*name).to_owned(), node);
    }
}

fn told<T>(result: Result<Vec<T>, CommandError>) -> String {
    match result {
        Ok(nodes) => format!("{} nodes", nodes.len()),
        Err(CommandError::Failed { message, hint }) => {
            format!("{message}\n  hint: {}", hint.unwrap_or_default())
        }
        Err(error) => error.to_string(),
    }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn refusals() {
    let mut environment = environment();
    with_controllers(&mut environment, &["node-6", "node-7"]);
    let known = records(
        &environment,
        &["node-1", "node-2", "node-3", "node-4", "node-5"],
    );
    let cloud = Cloud::new(&environment, &known);
    let blank = Cloud::new(&environment, &[]);
    let single = records(&environment, &["node-1"]);
    let single = Cloud::new(&environment, &single);
    let all = [
        ("add to no cloud", told(blank.adding(&strings(&["node-6"])))),
        (
            "add to one controller",
            told(single.adding(&strings(&["node-2", "node-3"]))),
        ),
        (
            "add an unknown one",
            told(cloud.adding(&strings(&["node-8"]))),
        ),
        (
            "add one controller",
            told(cloud.adding(&strings(&["node-6"]))),
        ),
        (
            "add two controllers",
            told(cloud.adding(&strings(&["node-6", "node-7"]))),
        ),
        ("add a known one", told(cloud.adding(&strings(&["node-5"])))),
        (
            "remove a compute node",
            told(cloud.removing(&strings(&["node-5"]))),
        ),
        (
            "remove an unknown one",
            told(cloud.removing(&strings(&["nod-5"]))),
        ),
        (
            "remove a controller of three",
            told(cloud.removing(&strings(&["node-2"]))),
        ),
        (
            "replace without another machine",
            told(cloud.replacing(&strings(&["node-2"]), false)),
        ),
        (
            "replace with the same machine",
            told(cloud.replacing(&strings(&["node-2"]), true)),
        ),
        (
            "replace too many",
            told(cloud.replacing(&strings(&["node-1", "node-2"]), true)),
        ),
    ];
    let text: Vec<String> = all
        .iter()
        .map(|(what, said)| format!("{what}: {said}\n"))
        .collect();
    insta::assert_snapshot!(text.concat());
}

#[test]
fn of_five_controllers_two_can_go_and_one_cannot() {
    let mut environment = environment();
    with_controllers(&mut environment, &["node-6", "node-7"]);
    let known = records(
        &environment,
        &[
            "node-1", "node-2", "node-3", "node-4", "node-5", "node-6", "node-7",
        ],
    );
    let cloud = Cloud::new(&environment, &known);
    insta::assert_snapshot!(told(cloud.removing(&strings(&["node-6"]))), @r"
    4 controllers would not bear more losses than 3: their number stays odd
      hint: remove one more with it, or add one first
    ");
    assert_eq!(
        cloud
            .removing(&strings(&["node-1", "node-6"]))
            .unwrap()
            .len(),
        2
    );
    // Twice the same is one.
    assert!(cloud.removing(&strings(&["node-6", "node-6"])).is_err());
}

#[test]
fn a_deployment_changes_nobodys_membership_by_the_way() {
    let mut environment = environment();
    let mut known = records(&environment, &["node-1", "node-2", "node-4", "node-5"]);
    known[1].boot_mac = Some("52:54:00:aa:bb:cc".to_owned());
    environment.plan.nodes.shift_remove("node-5");
    let nothing = Change::default();
    let text = check(&environment, &known, &nothing)
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(text.replace(&root().display().to_string(), ""));
    let asked = Change {
        joining: strings(&["node-2", "node-3"]),
        leaving: strings(&["node-5"]),
    };
    assert!(check(&environment, &known, &asked).is_ok());
    assert!(check(&environment, &[], &nothing).is_ok());
}

#[test]
fn those_that_come_find_the_doors_open_and_the_others_go_one_by_one() {
    let environment = environment();
    let node = |name: &str| &environment.plan.nodes[name];
    let whole = Selection {
        playbook: "roles/site.yml".into(),
        limit: None,
        tags: Vec::new(),
        skip_tags: Vec::new(),
        start_at_task: None,
    };
    let text = |rounds: Vec<Selection>| -> Vec<String> {
        let text = |round: Selection| {
            format!(
                "{} {}",
                round.limit.unwrap_or_default(),
                round.tags.join(",")
            )
        };
        rounds.into_iter().map(text).collect()
    };
    let added = rounds(
        &whole,
        &[node("node-3"), node("node-5")],
        &[node("node-1"), node("node-2")],
        false,
    );
    assert_eq!(
        text(added),
        [
            "all:!node-3:!node-5 peers",
            "node-3:node-5 ",
            "node-1 ",
            "node-2 "
        ]
    );
    assert_eq!(
        text(rounds(&whole, &[node("node-3")], &[], true)),
        ["node-3 "]
    );
}
