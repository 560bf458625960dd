use super::*;

fn done(node: &str, task: &str, item: Option<&str>, status: Status) -> Event {
    let diff = Diff {
        header: "/etc/motd".to_owned(),
        before: "one\ntwo\nthree\nfour\nfive\nsix\n".to_owned(),
        after: "one\ntwo\nthree\n4\nfive\nsix\n".to_owned(),
    };
    Event::TaskDone(TaskDone {
        node: node.to_owned(),
        role: "web".to_owned(),
        task: task.to_owned(),
        item: item.map(str::to_owned),
        diff: match status {
            Status::Changed => vec![diff],
            _ => Vec::new(),
        },
        status,
        handler: false,
        resumed: false,
        msg: String::new(),
        seconds: 0.0,
        place: format!("roles/web/tasks/main.yml:{}:3", task.len()),
    })
}

fn unknown(until: &str) -> Status {
    Status::Unknown {
        until: until.to_owned(),
        reason: "it depends on what that task gives".to_owned(),
    }
}

fn plan(events: &[Event]) -> PlanFile {
    let mut foresight = Foresight::default();
    events.iter().for_each(|event| foresight.take(event));
    let (entries, faults) = foresight.finish();
    PlanFile {
        format: FORMAT.to_owned(),
        env: "lab".to_owned(),
        made_at: "2026-01-01T00:00:00Z".to_owned(),
        world: World {
            inventory_sha256: "aa".to_owned(),
            roles_sha256: "bb".to_owned(),
            state_generation: 3,
        },
        selection: Selection {
            playbook: "roles/site.yml".into(),
            limit: Some("node-*".to_owned()),
            ..Selection::default()
        },
        old_facts: BTreeMap::from([("node-9".to_owned(), "2026-01-01T00:00:00Z".to_owned())]),
        entries,
        faults,
    }
}

fn checked(node: &str) -> Vec<Event> {
    vec![
        done(node, "Motd", None, Status::Changed),
        done(node, "Read", None, unknown("Read")),
        done(node, "Write it", None, unknown("Read")),
        done(node, "Packages", Some("a"), Status::Changed),
        done(node, "Packages", Some("b"), Status::Ok),
        done(node, "Only elsewhere", None, Status::Skipped),
    ]
}

#[test]
fn a_plan_is_read_by_node_and_file_and_nodes_alike_together() {
    let mut events: Vec<Event> = ["node-1", "node-2"].into_iter().flat_map(checked).collect();
    events.push(done("node-3", "Motd", None, Status::Ok));
    insta::assert_snapshot!(plan(&events));
    let quiet = [done("node-3", "Motd", None, Status::Ok)];
    insta::assert_snapshot!(plan(&quiet));
}

#[test]
fn a_plan_comes_back_from_its_file() {
    let made = plan(&checked("node-1"));
    let text = serde_json::to_string_pretty(&made).unwrap();
    insta::assert_snapshot!(text);
    assert_eq!(PlanFile::parse("plan.json", &text).unwrap(), made);
    for (text, told) in [
        ("", "no plan"),
        ("{}", "no plan"),
        (
            "{\"format\": \"wright-plan/9\"}",
            "its format is `wright-plan/9`",
        ),
        ("{\"format\": \"wright-plan/1\"}", "missing field"),
    ] {
        let said = PlanFile::parse("plan.json", text).unwrap_err().to_string();
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn a_plan_is_refused_when_the_world_has_moved() {
    let mut made = plan(&checked("node-1"));
    let same = made.world.clone();
    assert!(made.stale("lab", &same).is_empty());
    let moved = World {
        inventory_sha256: "other".to_owned(),
        roles_sha256: "other".to_owned(),
        state_generation: 4,
    };
    made.faults.push(Failure {
        node: "node-1".to_owned(),
        role: "web".to_owned(),
        task: "Motd".to_owned(),
        msg: "no".to_owned(),
        tolerated: false,
    });
    insta::assert_snapshot!(made.stale("other", &moved));
}

#[test]
fn what_came_out_is_compared_with_the_plan() {
    let made = plan(&checked("node-1"));
    let told = [
        done("node-1", "Motd", None, Status::Ok),
        done("node-1", "Read", None, Status::Changed),
        // The plan could not say how many rounds there are.
        done("node-1", "Write it", Some("x"), Status::Changed),
        done("node-1", "Write it", Some("y"), Status::Ok),
        done("node-1", "Packages", Some("a"), Status::Changed),
        done("node-1", "Packages", Some("b"), Status::Changed),
        done("node-1", "From an include", None, Status::Changed),
        done("node-1", "From an include", None, Status::Ok),
    ];
    let comparison = Comparison::of(&made, &told);
    assert!(!comparison.is_as_planned());
    insta::assert_snapshot!(comparison);
    let stopped = [done("node-1", "Motd", None, Status::Failed)];
    insta::assert_snapshot!(Comparison::of(&made, &stopped));
}
