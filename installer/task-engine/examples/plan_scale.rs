//! `plan_scale NODES TASKS [KIND]`: a plan for simulated nodes, and what it costs; `skipped`: of tasks that do not
//! apply, `in-step`: in Ansible's order. One line of JSON.
//!
//! The nodes are in this process and answer at once, through the frames of the real protocol: measured is the engine.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark has nobody to tell its faults"
)]
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use agent_protocol::PROTOCOL;
use agent_protocol::frame::{decode, encode};
use agent_protocol::task::{Diff, FromAgent, TaskResult, ToAgent};
use async_trait::async_trait;
use serde_json::json;
use task_engine::journal::MemoryJournal;
use task_engine::link::{ConnectError, Reached, Stream, Transport};
use task_engine::parse::Catalogue;
use task_engine::plan_file::{Foresight, PlanFile, Selection, World};
use task_engine::vars::SharedVars;
use task_engine::{HostSpec, Mode, Order, RunSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |otherwise| args.next().map_or(otherwise, |arg| arg.parse().unwrap());
    let (nodes, tasks): (usize, usize) = (number(1000), number(200));
    let kind = args.next().unwrap_or_default();
    let skipped = kind == "skipped";
    let order = match kind.as_str() {
        "in-step" => Order::Linear,
        _ => Order::Declared,
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("site.yml"), playbook(tasks, skipped)).unwrap();

    let shared = shared(nodes);
    let hosts = (1..=nodes).map(|number| host(number, &shared)).collect();
    let spec = RunSpec {
        mode: Mode::Check,
        order,
        diff: true,
        ..RunSpec::new(
            "scale",
            folder.path().join("site.yml"),
            hosts,
            Arc::new(Nodes),
            Arc::new(MemoryJournal::default()),
        )
    };
    let begun = Instant::now();
    let (tell, mut told) = mpsc::channel(4096);
    let gathering = tokio::spawn(async move {
        let mut foresight = Foresight::default();
        while let Some(event) = told.recv().await {
            foresight.take(&event);
        }
        foresight.finish()
    });
    let playbook =
        task_engine::parse::playbook(&spec.playbook, &[], &Catalogue::of_modules()).unwrap();
    let report = task_engine::run_parsed(spec, playbook, tell).await.unwrap();
    let (entries, faults) = gathering.await.unwrap();
    assert!(
        faults.is_empty() && report.failures.is_empty(),
        "{faults:?}"
    );
    let planned = begun.elapsed();
    let plan = PlanFile {
        format: task_engine::plan_file::FORMAT.to_owned(),
        env: "scale".to_owned(),
        made_at: String::new(),
        world: World::default(),
        selection: Selection::default(),
        old_facts: std::collections::BTreeMap::new(),
        entries,
        faults,
    };
    let counts = plan.counts();
    let saved = serde_json::to_vec(&plan).unwrap().len();
    let shown = plan.to_string().len();
    println!(
        "{}",
        json!({
            "nodes": nodes, "tasks": tasks, "entries": plan.entries.len(), "change": counts.change,
            "unknown": counts.unknown, "seconds": planned.as_secs_f64(),
            "seconds_with_files": begun.elapsed().as_secs_f64(), "plan_bytes": saved, "text_bytes": shown,
            "peak_kib": peak_kib(), "cpu_seconds": cpu_seconds(),
        })
    );
}

/// What every node knows of all others, as roles of a cloud want it.
fn shared(nodes: usize) -> SharedVars {
    let addresses = |number: usize| {
        let names = ["pxe", "mgmt", "storage", "private", "app", "ipmi"]
            .into_iter()
            .enumerate();
        let of = |(network, name): (usize, &str)| {
            (
                name.to_owned(),
                json!(format!("10.{network}.{}.{}", number / 250, number % 250)),
            )
        };
        serde_json::Map::from_iter(names.map(of))
    };
    let all = (1..=nodes).map(|number| {
        let name = format!("node-{number}");
        (
            name.clone(),
            json!({"fqdn": name, "groups": ["compute"], "addresses": addresses(number)}),
        )
    });
    let all = serde_json::Map::from_iter(all);
    SharedVars::new(serde_json::Map::from_iter([(
        "cloud".to_owned(),
        json!({"nodes": all}),
    )]))
}

fn host(number: usize, shared: &SharedVars) -> HostSpec {
    let vars = json!({"number": number, "cloud": {"rank": number}, "site": {"name": "dc1", "dns": ["10.0.0.1", "10.0.0.2"]}});
    HostSpec {
        name: format!("node-{number}"),
        address: "127.0.0.1".to_owned(),
        port: 22,
        user: "root".to_owned(),
        host_key: "simulated".to_owned(),
        groups: vec![if number <= 3 { "controller" } else { "compute" }.to_owned()],
        vars: vars.as_object().cloned().unwrap(),
        shared: shared.clone(),
    }
}

/// Tasks as roles have them: files from variables, services, conditions that do not hold, results that decide.
fn playbook(tasks: usize, skipped: bool) -> String {
    let mut out =
        "- hosts: all\n  vars: {port: 80, base: \"/etc/{{ site.name }}\"}\n  tasks:\n".to_owned();
    for number in 0..tasks {
        let kind = if skipped { 2 } else { number % 8 };
        let task = match kind {
            0 => format!(
                "copy: {{dest: \"{{{{ base }}}}/{number}\", content: \"{{{{ inventory_hostname }}}} {{{{ cloud.nodes[inventory_hostname].addresses.mgmt }}}} {{{{ port }}}} {{{{ site.dns | join(',') }}}}\"}}"
            ),
            1 => format!("service: {{name: s{number}, state: started}}"),
            2 => "debug: {msg: never}\n      when: number > 100000".to_owned(),
            3 => format!("file: {{path: \"{{{{ base }}}}/d{number}\", state: directory}}"),
            4 => format!("stat: {{path: /s{number}}}\n      register: r{number}"),
            5 => format!(
                "lineinfile: {{path: /f{number}, line: \"x={{{{ port }}}}\"}}\n      when: r{}.stat.exists",
                number - 1
            ),
            6 => format!("set_fact: {{f{number}: \"{{{{ number * 2 }}}}\"}}"),
            _ => "command: never\n      when: ansible_os_family == 'RedHat'".to_owned(),
        };
        writeln!(out, "    - name: Task {number}\n      {task}").unwrap();
    }
    out
}

struct Nodes;

#[async_trait]
impl Transport for Nodes {
    async fn reach(&self, _host: &HostSpec) -> Result<Box<dyn Reached>, ConnectError> {
        Ok(Box::new(Nodes))
    }
}

#[async_trait]
impl Reached for Nodes {
    async fn attach(&self) -> Result<Box<dyn Stream>, ConnectError> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(theirs));
        Ok(Box::new(ours))
    }

    async fn install_agent(&self) -> Result<(), ConnectError> {
        Ok(())
    }
}

async fn serve(mut stream: DuplexStream) {
    let mut buffer = Vec::new();
    loop {
        let message = match decode::<ToAgent>(&mut buffer).unwrap() {
            Some(message) => message,
            None => match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            },
        };
        let answer = match message {
            ToAgent::Hello { .. } => FromAgent::Hello {
                protocol: PROTOCOL,
                agent_sha256: String::new(),
                boot_id: String::new(),
            },
            ToAgent::Cancel { .. } => continue,
            ToAgent::Task(task) => FromAgent::Done {
                result: result(&task),
                id: task.id,
            },
        };
        if stream.write_all(&encode(&answer).unwrap()).await.is_err() {
            return;
        }
    }
}

/// One file in four would change.
fn result(task: &agent_protocol::task::Task) -> TaskResult {
    let text = |name: &str| {
        task.args
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let data = match task.module.as_str() {
        "setup" => {
            json!({"ansible_facts": {"ansible_os_family": "Debian", "ansible_hostname": "simulated",
                "ansible_interfaces": ["lo", "eth0"], "ansible_memtotal_mb": 4096}})
        }
        "stat" => json!({"stat": {"exists": true, "mode": "0644", "size": 100}}),
        _ => json!({}),
    };
    let changed = task.module == "copy" && text("dest").ends_with('0');
    let diff = match changed {
        true => vec![Diff {
            header: text("dest"),
            before: "old\n".to_owned(),
            after: text("content"),
        }],
        false => Vec::new(),
    };
    TaskResult {
        changed,
        diff,
        data: data.as_object().cloned().unwrap(),
        ..TaskResult::default()
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}
