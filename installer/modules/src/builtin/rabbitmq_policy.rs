//! `rabbitmq_policy`: a policy of RabbitMQ, which gives arguments to all queues or exchanges of a pattern.
use agent_protocol::task::TaskResult;
use serde_json::{Map, Value, json};

use super::rabbitmq::{NODE, ask, control};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const RABBITMQ_POLICY: Module = Module::new(
    "rabbitmq_policy",
    "Make or remove a policy of the broker",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "its name").required(),
    Arg::new("vhost", Kind::Text, "virtual host that it is for").default("/"),
    Arg::new("apply_to", Kind::Text, "what it is for")
        .choices(&["all", "exchanges", "queues"])
        .default("all"),
    Arg::new("pattern", Kind::Text, "expression that the names match"),
    Arg::new("tags", Kind::Map, "the arguments that it gives"),
    Arg::new("priority", Kind::Int, "the highest one of a queue counts").default("0"),
    NODE,
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (name, vhost) = (args.need("name"), args.need("vhost"));
    let wanted = match args.need("state") {
        "absent" => None,
        _ => Some(wish(args)?),
    };
    let policies = ask(context, args, &["list_policies", "-p", vhost]);
    let now = match policies {
        Ok(policies) => policies
            .as_array()
            .into_iter()
            .flatten()
            .find(|policy| policy["name"] == name)
            .map(policy),
        // An earlier task may be about to make the virtual host, or the broker.
        Err(Fault::WithData { msg, .. }) if context.check => {
            return Ok(TaskResult {
                msg: format!("the policies cannot be read yet: {msg}"),
                ..result(wanted.is_some(), args)
            });
        }
        Err(fault) => return Err(fault),
    };
    let done = now != wanted;
    if done && !context.check {
        match &wanted {
            None => control(context, args, &["clear_policy", "-p", vhost, "--", name])?,
            Some(wanted) => {
                let priority = wanted["priority"].to_string();
                let words = [
                    "set_policy",
                    "-p",
                    vhost,
                    "--priority",
                    &priority,
                    "--apply-to",
                    args.need("apply_to"),
                    "--",
                    name,
                    args.need("pattern"),
                    &wanted["definition"].to_string(),
                ];
                control(context, args, &words)?
            }
        };
    }
    let show =
        |policy: Option<Value>| policy.map_or_else(String::new, |policy| format!("{policy:#}\n"));
    Ok(TaskResult {
        diff: context.diff_of(
            &format!("policy {name} of {vhost}"),
            &show(now),
            &show(wanted),
        ),
        ..result(done, args)
    })
}

fn result(done: bool, args: &Args) -> TaskResult {
    changed(done)
        .with("name", args.need("name"))
        .with("vhost", args.need("vhost"))
        .with("state", args.need("state"))
}

fn wish(args: &Args) -> Result<Value, Fault> {
    let (Some(pattern), Some(tags)) = (args.text("pattern"), args.map("tags")) else {
        return Err(Fault::new(
            "pattern and tags are required with state=present",
        ));
    };
    if tags.is_empty() {
        return Err(Fault::new(
            "tags must give at least one argument, for example `max-length: 1000`",
        ));
    }
    Ok(json!({
        "pattern": pattern,
        "apply-to": args.need("apply_to"),
        "priority": args.int("priority").unwrap_or(0),
        "definition": sorted(tags),
    }))
}

/// What the broker says of a policy, as [`wish`] would have it.
fn policy(entry: &Value) -> Value {
    let definition = match &entry["definition"] {
        // JSON within JSON, up to RabbitMQ 4.
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    json!({
        "pattern": entry["pattern"],
        "apply-to": entry["apply-to"],
        "priority": entry["priority"],
        "definition": definition.as_object().map_or(Value::Null, sorted),
    })
}

/// By name: the broker keeps no order.
fn sorted(map: &Map<String, Value>) -> Value {
    let mut entries: Vec<_> = map.clone().into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(entries.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_policy_needs_a_pattern_and_tags() {
        let bench = Bench::new();
        for args in [
            json!({"name": "ha", "pattern": ".*"}),
            json!({"name": "ha", "tags": {"max-length": 1}}),
            json!({"name": "ha", "pattern": ".*", "tags": {}}),
            json!({"name": "ha", "pattern": ".*", "tags": {"a": 1}, "apply_to": "queue"}),
        ] {
            assert!(bench.run("rabbitmq_policy", args).failed);
        }
    }
}
