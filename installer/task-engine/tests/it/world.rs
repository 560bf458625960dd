//! A run in a temporary folder: files of a playbook, nodes, and what came of it.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use task_engine::hidden::Hidden;
use task_engine::journal::{Journal, MemoryJournal};
use task_engine::parse::{ArgSpec, Catalogue, ModuleSpec};
use task_engine::vars::SharedVars;
use task_engine::{Event, HostSpec, Limits, Mode, Order, Patience, RunReport, RunSpec, Status};
use tokio::sync::mpsc;

use crate::sim::Sim;

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub hosts: Vec<HostSpec>,
    pub sim: Arc<Sim>,
    pub journal: Arc<MemoryJournal>,
    pub mode: Mode,
    pub tags: Vec<String>,
    pub limit: Option<String>,
    pub start_at_task: Option<String>,
    pub facts: BTreeMap<String, Map<String, Json>>,
    pub blank: BTreeSet<String>,
    /// Opens what Ansible Vault has sealed.
    pub vault: Arc<task_engine::vault::Vault>,
    pub hidden: Arc<Hidden>,
    pub order: Order,
    pub run: String,
    pub continues: bool,
}

/// The modules that the simulated agent has.
pub fn catalogue() -> Catalogue {
    let spec = |names: &str, free_form| ModuleSpec {
        args: names
            .split_whitespace()
            .map(|name| ArgSpec {
                name: name.to_owned(),
                ..ArgSpec::default()
            })
            .collect(),
        free_form,
        idempotent: free_form.is_none(),
        table: None,
    };
    Catalogue::from_specs(
        [
            ("ping", spec("data", None)),
            ("setup", spec("", None)),
            ("copy", spec("dest src content mode", None)),
            ("template", spec("dest src mode", None)),
            ("stat", spec("path", None)),
            ("service", spec("name state enabled", None)),
            ("command", spec("cmd creates chdir", Some("cmd"))),
            ("hang", spec("", None)),
            ("reboot", spec("reboot_timeout test_command", None)),
        ]
        .map(|(name, spec)| (name.to_owned(), spec)),
    )
}

impl Bench {
    /// `files` by path, below the folder; the playbook is `site.yml`.
    pub fn new(nodes: usize, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(folder.path(), path, text);
        }
        let host = |number: usize| HostSpec {
            name: format!("node-{number}"),
            address: "127.0.0.1".to_owned(),
            port: 22,
            user: "root".to_owned(),
            host_key: String::new(),
            groups: vec![if number == 1 { "controller" } else { "compute" }.to_owned()],
            vars: json!({"number": number})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            shared: SharedVars::default(),
        };
        Bench {
            folder,
            hosts: (1..=nodes).map(host).collect(),
            sim: Arc::new(Sim::default()),
            journal: Arc::default(),
            mode: Mode::Apply,
            tags: Vec::new(),
            limit: None,
            start_at_task: None,
            facts: BTreeMap::new(),
            blank: BTreeSet::new(),
            hidden: Arc::default(),
            vault: Arc::default(),
            order: Order::Declared,
            run: "run-1".to_owned(),
            continues: false,
        }
    }

    pub fn with_sim(mut self, sim: Sim) -> Self {
        self.sim = Arc::new(sim);
        self
    }

    pub fn spec(&self) -> RunSpec {
        let patience = Patience {
            connect: Duration::from_secs(20),
            first: Duration::from_secs(2),
            give_up: Duration::from_secs(2),
            pause_max: Duration::from_millis(50),
        };
        RunSpec {
            limit: self.limit.clone(),
            mode: self.mode,
            diff: true,
            tags: self.tags.clone(),
            start_at_task: self.start_at_task.clone(),
            facts: self.facts.clone(),
            blank: self.blank.clone(),
            continues: self.continues,
            hidden: self.hidden.clone(),
            order: self.order,
            limits: Limits {
                patience,
                ..Limits::default()
            },
            ..RunSpec::new(
                self.run.clone(),
                self.folder.path().join("site.yml"),
                self.hosts.clone(),
                self.sim.clone(),
                self.journal.clone() as Arc<dyn Journal>,
            )
        }
    }

    pub async fn run(&self) -> (RunReport, Vec<Event>) {
        let spec = self.spec();
        let vault = self.vault.clone();
        let playbook =
            task_engine::parse::sealed_playbook(&spec.playbook, &[], &catalogue(), vault)
                .unwrap_or_else(|faults| panic!("{faults}"));
        let (tell, mut told) = mpsc::channel(256);
        let reading = tokio::spawn(async move {
            let mut events = Vec::new();
            while let Some(event) = told.recv().await {
                events.push(event);
            }
            events
        });
        let report = task_engine::run_parsed(spec, playbook, tell).await.unwrap();
        (report, reading.await.unwrap())
    }

    /// The run as text: one line a task, nodes one after the other.
    pub async fn text(&self) -> String {
        let (report, events) = self.run().await;
        text(&report, &events).replace(&*self.folder.path().to_string_lossy(), "")
    }
}

pub fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub fn text(report: &RunReport, events: &[Event]) -> String {
    let mut out = String::new();
    for (node, recap) in &report.nodes {
        out.push_str(&format!("{node}\n"));
        for event in events {
            let line = match event {
                Event::TaskDone(done) if done.node == *node => {
                    let word = match &done.status {
                        Status::Ok => "ok".to_owned(),
                        Status::Changed => "changed".to_owned(),
                        Status::Skipped => "skipped".to_owned(),
                        Status::Failed => "FAILED".to_owned(),
                        Status::Ignored => "ignored".to_owned(),
                        Status::Unknown { until, reason } => {
                            format!("unknown until `{until}` ({reason})")
                        }
                    };
                    let item = done
                        .item
                        .as_ref()
                        .map(|item| format!(" [{item}]"))
                        .unwrap_or_default();
                    let handler = if done.handler { " (handler)" } else { "" };
                    let resumed = if done.resumed { " (resumed)" } else { "" };
                    let msg = if done.msg.is_empty() {
                        String::new()
                    } else {
                        format!(": {}", done.msg)
                    };
                    format!(
                        "  {:9} {} | {}{item}{handler}{resumed}{msg}",
                        word, done.role, done.task
                    )
                }
                Event::NodeFailed {
                    node: name,
                    role,
                    task,
                    msg,
                } if name == node => {
                    format!("  node failed in {role}, {task}: {msg}")
                }
                Event::NotRun {
                    node: name,
                    roles,
                    because,
                } if name == node => {
                    format!("  not run: {} (because of {because})", roles.join(", "))
                }
                _ => continue,
            };
            out.push_str(&line);
            out.push('\n');
        }
        let counts = [
            ("ok", recap.ok),
            ("changed", recap.changed),
            ("skipped", recap.skipped),
            ("failed", recap.failed),
            ("ignored", recap.ignored),
            ("rescued", recap.rescued),
            ("unknown", recap.unknown),
            ("not run", recap.not_run),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        out.push_str(&format!(
            "  = {}{}\n",
            counts.join(", "),
            if recap.unreachable {
                ", unreachable"
            } else {
                ""
            }
        ));
    }
    out
}
