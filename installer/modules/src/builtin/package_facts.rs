//! `package_facts`: which packages are installed, as facts.
use agent_protocol::task::TaskResult;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const PACKAGE_FACTS: Module = Module::new(
    "package_facts",
    "Tell which packages are installed",
    Effect::Reads,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("manager", Kind::List, "package manager").default("auto"),
    Arg::new("strategy", Kind::Text, "of several managers")
        .choices(&["first", "all"])
        .default("first"),
];

const DPKG_STATUS: &str = "/var/lib/dpkg/status";

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let managers = args.list("manager").unwrap_or_default();
    if !managers.iter().any(|name| matches!(*name, "auto" | "apt")) {
        return Err(Fault::new(format!(
            "manager can be auto and apt, not {}",
            managers.join(", ")
        )));
    }
    let status = std::fs::read_to_string(context.path(DPKG_STATUS))
        .map_err(Fault::io(format!("read {DPKG_STATUS}")))?;
    Ok(changed(false).with("ansible_facts", json!({"packages": packages(&status)})))
}

/// Every installed package by its name; one of several architectures comes several times.
fn packages(status: &str) -> Map<String, Value> {
    let mut out: Map<String, Value> = Map::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let (Some(name), Some(status)) = (field("Package"), field("Status")) else {
            continue;
        };
        if !status.ends_with(" installed") {
            continue;
        }
        let about = json!({
            "name": name, "version": field("Version"), "arch": field("Architecture"),
            "category": field("Section"), "origin": "", "source": "apt",
        });
        if let Some(list) = out.entry(name).or_insert_with(|| json!([])).as_array_mut() {
            list.push(about);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn installed_packages_are_facts() {
        let bench = Bench::new();
        assert!(bench.run("package_facts", json!({})).failed);
        bench.write(
            "/var/lib/dpkg/status",
            "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\nPackage: a\nStatus: install ok installed\nVersion: 1\nArchitecture: i386\n\nPackage: b\nStatus: deinstall ok config-files\n",
        );
        let facts =
            bench.run("package_facts", json!({"manager": "apt"})).data["ansible_facts"].clone();
        assert_eq!(facts["packages"]["a"][1]["arch"], "i386");
        assert_eq!(facts["packages"].as_object().unwrap().len(), 1);
        assert!(bench.run("package_facts", json!({"manager": "rpm"})).failed);
    }
}
