//! `service_facts`: systemd's services, as facts.
use std::collections::BTreeMap;

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Effect, Module};

pub const SERVICE_FACTS: Module = Module::new(
    "service_facts",
    "Tell which services there are and which run",
    Effect::Reads,
    &[],
    run,
);

fn run(context: &mut Context<'_>, _: &Args) -> Result<TaskResult, Fault> {
    let list = ["--no-pager", "--no-legend", "--plain", "--type=service"];
    let units = context.must(&[&["systemctl", "list-units", "--all"], list.as_slice()].concat())?;
    let files = context.must(&[&["systemctl", "list-unit-files"], list.as_slice()].concat())?;
    let facts = json!({"services": services(&units, &files)});
    Ok(changed(false).with("ansible_facts", facts))
}

fn services(units: &str, files: &str) -> Map<String, Value> {
    let mut out: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for line in files.lines() {
        if let [name, status, ..] = line.split_whitespace().collect::<Vec<_>>().as_slice() {
            // Of a template nothing runs by itself.
            let state = if name.contains("@.") {
                "unknown"
            } else {
                "inactive"
            };
            out.insert(name, (state, status));
        }
    }
    for line in units.lines() {
        let words: Vec<&str> = line.trim_start_matches('●').split_whitespace().collect();
        let [name, load, _, sub, ..] = words.as_slice() else {
            continue;
        };
        let state = match *sub {
            "running" => "running",
            "failed" => "failed",
            _ => "stopped",
        };
        let entry = out.entry(name).or_insert((state, "unknown"));
        entry.0 = state;
        if *load == "not-found" {
            entry.1 = "not-found";
        }
    }
    out.into_iter()
        .map(|(name, (state, status))| {
            let about =
                json!({"name": name, "state": state, "status": status, "source": "systemd"});
            (name.to_owned(), about)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn services_are_facts() {
        let bench = Bench::new();
        bench.program("systemctl", "case $1 in list-units) echo 'ssh.service loaded active running OpenBSD'; echo 'gone.service not-found inactive dead gone';; *) echo 'ssh.service enabled enabled'; echo 'getty@.service enabled enabled'; echo 'off.service disabled enabled';; esac");
        let facts = bench.run("service_facts", json!({})).data["ansible_facts"]["services"].clone();
        insta::assert_json_snapshot!(facts);
        assert!(bench.run("service_facts", json!({"x": 1})).failed);
    }
}
