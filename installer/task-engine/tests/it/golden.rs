//! A playbook of precedence, conditions, loops, blocks, handlers, roles and includes, against what each task said on
//! each host under ansible-playbook (`tests/golden/play.json`).
use std::path::Path;

use serde_json::{Map, Value as Json};
use task_engine::plan::Order;
use task_engine::vars::SharedVars;
use task_engine::{Event, HostSpec, Status};
use tokio::sync::mpsc;

use crate::world::{Bench, catalogue};

fn hosts(folder: &Path) -> Vec<HostSpec> {
    let options = inventory::PlainOptions {
        playbook_folder: Some(folder),
        unseal: None,
    };
    let source = folder.join("hosts").display().to_string();
    let (found, faults) = inventory::plain(&[source], &options);
    assert!(faults.is_empty(), "{faults}");
    let host = |(name, host): (String, inventory::PlainHost)| HostSpec {
        name,
        address: "127.0.0.1".to_owned(),
        port: 22,
        user: "root".to_owned(),
        host_key: String::new(),
        groups: host.groups,
        vars: host.vars,
        shared: SharedVars::default(),
    };
    let mut all: Vec<HostSpec> = found.hosts.into_iter().map(host).collect();
    all.push(HostSpec {
        name: "localhost".to_owned(),
        groups: Vec::new(),
        vars: Map::new(),
        ..all[0].clone()
    });
    all
}

/// What tasks said: the lines that Ansible's own report has too, without the names of their roles.
fn said(lines: impl Iterator<Item = (String, String, String)>) -> String {
    lines
        // Which host comes first to a task that runs once is chance here.
        .filter(|(task, _, _)| !matches!(task.as_str(), "Once" | "After once"))
        .filter(|(_, status, msg)| !msg.is_empty() || status == "ignored")
        .map(|(task, status, msg)| {
            let task = task.rsplit(" : ").next().unwrap_or_default();
            // Ansible renders a name once, for the host that comes first; here it is rendered for each.
            let task = if task.starts_with("Named ") {
                "Named"
            } else {
                task
            };
            // Lists are shown over several lines here.
            let msg = match serde_json::from_str::<Json>(&msg) {
                Ok(Json::Array(items)) => format!("{}", Json::Array(items)).replace(',', ", "),
                _ => msg,
            };
            format!("{task} | {status} | {msg}\n")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_say_what_they_say_under_ansible() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/play");
    let bench = Bench::new(1, &[]);
    let mut spec = bench.spec();
    spec.hosts = hosts(&folder);
    spec.order = Order::Linear;
    spec.playbook = folder.join("site.yml");
    let playbook = task_engine::parse::playbook(&spec.playbook, &[], &catalogue())
        .unwrap_or_else(|faults| panic!("{faults}"));
    let (tell, mut told) = mpsc::channel(256);
    let reading = tokio::spawn(async move {
        let mut events = Vec::new();
        while let Some(event) = told.recv().await {
            events.push(event);
        }
        events
    });
    task_engine::run_parsed(spec, playbook, tell).await.unwrap();
    let events = reading.await.unwrap();

    let golden: Json = serde_json::from_str(include_str!("../golden/play.json")).unwrap();
    for host in ["a", "b"] {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let wanted = said(
            golden[host]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| (text(&line[0]), text(&line[1]), text(&line[2]))),
        );
        let got = said(events.iter().filter_map(|event| match event {
            Event::TaskDone(done) if done.node == host => {
                let status = match &done.status {
                    Status::Ok => "ok",
                    Status::Changed => "changed",
                    Status::Ignored => "ignored",
                    _ => return None,
                };
                let is_debug = !matches!(done.task.as_str(), "Assertion");
                let msg = if is_debug && status != "ignored" {
                    done.msg.clone()
                } else {
                    String::new()
                };
                Some((done.task.clone(), status.to_owned(), msg))
            }
            _ => None,
        }));
        assert_eq!(got, wanted, "on {host}");
    }
}
