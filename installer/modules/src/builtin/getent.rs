//! `getent`: entries of the node's databases, as facts.
use agent_protocol::task::TaskResult;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const GETENT: Module = Module::new(
    "getent",
    "Look something up in passwd, hosts and their like",
    Effect::Reads,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("database", Kind::Text, "which, for example passwd").required(),
    Arg::new("key", Kind::Text, "one entry; none: all").default(""),
    Arg::new("service", Kind::Text, "where it is looked up"),
    Arg::new("split", Kind::Text, "what parts the fields"),
    Arg::new(
        "fail_key",
        Kind::Flag,
        "an entry that is not there is a failure",
    )
    .default("true"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (database, key) = (args.need("database"), args.need("key"));
    let mut argv = vec!["getent"];
    if let Some(service) = args.text("service") {
        argv.extend(["--service", service]);
    }
    argv.extend(["--", database]);
    if !key.is_empty() {
        argv.push(key);
    }
    let output = context.output(&argv)?;
    let colon = ["passwd", "shadow", "group", "gshadow"].contains(&database);
    let split = args.text("split").or(colon.then_some(":"));
    let mut found = match output.rc {
        0 => entries(&output.stdout, split),
        2 if !args.flag("fail_key") => Map::from_iter([(key.to_owned(), Value::Null)]),
        2 => {
            return Err(Fault::new(
                "One or more supplied key could not be found in the database.",
            ));
        }
        3 => return Err(Fault::new("Enumeration not supported on this database.")),
        _ => {
            return Err(Fault::new(format!(
                "Missing arguments, or database unknown: {}",
                output.stderr.trim()
            )));
        }
    };
    // What was asked for is found under its own name, too, for example a host by its address.
    if !key.is_empty()
        && !found.contains_key(key)
        && let Some(first) = found.values().next().cloned()
    {
        found.insert(key.to_owned(), first);
    }
    let facts = json!({format!("getent_{database}"): found});
    Ok(changed(false).with("ansible_facts", facts))
}

/// Fields by the first one; a second entry of the same name follows the first in a list.
fn entries(text: &str, split: Option<&str>) -> Map<String, Value> {
    let mut out: Map<String, Value> = Map::new();
    let mut seen: std::collections::BTreeMap<String, usize> = Default::default();
    for line in text.lines() {
        let fields: Vec<&str> = match split {
            Some(split) => line.split(split).collect(),
            None => line.split_whitespace().collect(),
        };
        let Some((name, rest)) = fields.split_first() else {
            continue;
        };
        let count = seen.entry((*name).to_owned()).or_default();
        *count += 1;
        match (*count, out.get_mut(*name)) {
            (2, Some(first)) => *first = json!([first, rest]),
            (3.., Some(Value::Array(all))) => all.push(json!(rest)),
            _ => drop(out.insert((*name).to_owned(), json!(rest))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;

    #[test]
    fn entries_are_facts() {
        let bench = Bench::new();
        let root = bench.run("getent", json!({"database": "passwd", "key": "root"}));
        assert_eq!(
            root.data["ansible_facts"]["getent_passwd"]["root"][1], "0",
            "{root:?}"
        );
        let none = json!({"database": "passwd", "key": "no-such-account"});
        assert!(bench.run("getent", none).failed);
        let none = json!({"database": "passwd", "key": "no-such-account", "fail_key": false});
        let none = bench.run("getent", none);
        assert!(none.data["ansible_facts"]["getent_passwd"]["no-such-account"].is_null());
        assert!(bench.run("getent", json!({"database": "no-such"})).failed);
        let all = entries("ssh 22/tcp\nx  1\nx 2\nx 3\n", None);
        assert_eq!(all["ssh"], json!(["22/tcp"]));
        assert_eq!(all["x"], json!([["1"], ["2"], ["3"]]));
    }
}
