//! `rabbitmq_plugin`: which plugins of RabbitMQ are on.
//!
//! The list is a small file, and is read there: asking `rabbitmq-plugins` starts an Erlang machine.
use std::fs;
use std::io;

use agent_protocol::task::TaskResult;

use super::mysql::given;
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const RABBITMQ_PLUGIN: Module = Module::new(
    "rabbitmq_plugin",
    "Switch plugins of the broker on or off",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("names", Kind::List, "the plugins")
        .aliases(&["name"])
        .required(),
    Arg::new(
        "new_only",
        Kind::Flag,
        "leave the plugins that are not named as they are",
    )
    .default("false"),
    Arg::new("state", Kind::Text, "whether they are to be on")
        .choices(&["enabled", "disabled"])
        .default("enabled"),
    Arg::new(
        "broker_state",
        Kind::Text,
        "online: a running broker is told; offline: only the file is changed",
    )
    .choices(&["online", "offline"])
    .default("online"),
    Arg::new(
        "prefix",
        Kind::Path,
        "folder that the broker is installed in",
    ),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let names = args.list("names").unwrap_or_default();
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(wrong) = names.iter().copied().find(|name| !is_name(name)) {
        return Err(Fault::new(format!("`{wrong}` is no name of a plugin")));
    }
    let program = program(context, args)?;
    let now = enabled(context, args, &program)?;
    let is_on = |name: &&str| now.iter().any(|plugin| plugin == name);
    let (on, off): (Vec<&str>, Vec<&str>) = if args.need("state") == "enabled" {
        let others = now.iter().map(String::as_str);
        (
            names.iter().copied().filter(|name| !is_on(name)).collect(),
            others
                .filter(|plugin| !args.flag("new_only") && !names.contains(plugin))
                .collect(),
        )
    } else {
        (Vec::new(), names.iter().copied().filter(is_on).collect())
    };
    if !context.check {
        let state = format!("--{}", args.need("broker_state"));
        for (verb, plugins) in [("disable", &off), ("enable", &on)] {
            if !plugins.is_empty() {
                let words = [program.as_str(), verb, state.as_str(), "--"];
                let argv: Vec<&str> = words.into_iter().chain(plugins.iter().copied()).collect();
                context.must(&argv)?;
            }
        }
    }
    let list = |plugins: Vec<&str>| -> String {
        let mut plugins = plugins;
        plugins.sort_unstable();
        plugins.iter().map(|plugin| format!("{plugin}\n")).collect()
    };
    let before = now.iter().map(String::as_str).collect::<Vec<_>>();
    let after = before
        .iter()
        .copied()
        .filter(|plugin| !off.contains(plugin))
        .chain(on.iter().copied())
        .collect();
    Ok(TaskResult {
        diff: context.diff_of("enabled plugins", &list(before), &list(after)),
        ..changed(!on.is_empty() || !off.is_empty())
            .with("enabled", on)
            .with("disabled", off)
    })
}

fn program(context: &Context<'_>, args: &Args) -> Result<String, Fault> {
    let Some(prefix) = given(args, "prefix") else {
        return Ok("rabbitmq-plugins".into());
    };
    ["bin", "sbin"]
        .iter()
        .map(|folder| context.path(&format!("{prefix}/{folder}/rabbitmq-plugins")))
        .find(|path| path.is_file())
        .map(|path| path.display().to_string())
        .ok_or_else(|| Fault::new(format!("there is no rabbitmq-plugins below {prefix}")))
}

/// The plugins that somebody asked for; those that they need are not among them.
fn enabled(context: &mut Context<'_>, args: &Args, program: &str) -> Result<Vec<String>, Fault> {
    let text = |path: &str| match fs::read_to_string(context.path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(Fault::io(format!("read {path}"))),
    };
    let moved = given(args, "prefix").is_some()
        || context
            .environment
            .iter()
            .any(|(name, _)| name == "RABBITMQ_ENABLED_PLUGINS_FILE")
        || text("/etc/rabbitmq/rabbitmq-env.conf")?.contains("PLUGINS_FILE");
    if !moved && let Some(plugins) = parse(&text("/etc/rabbitmq/enabled_plugins")?) {
        return Ok(plugins);
    }
    let listed = context.must(&[program, "list", "-E", "-m", "--quiet"])?;
    let is_name = |line: &&str| !line.is_empty() && !line.contains(' ');
    Ok(listed
        .lines()
        .map(str::trim)
        .filter(is_name)
        .map(str::to_owned)
        .collect())
}

/// The file's one Erlang term, a list of atoms. `None` if it is anything else.
fn parse(text: &str) -> Option<Vec<String>> {
    let text: String = text
        .lines()
        .map(|line| line.split_once('%').map_or(line, |(before, _)| before))
        .collect();
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let list = text
        .trim()
        .strip_suffix('.')?
        .trim()
        .strip_prefix('[')?
        .strip_suffix(']')?;
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = name.trim_matches('\'');
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_')
                .then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn the_list_of_plugins_is_read() {
        let cases = [
            (
                "[rabbitmq_management,'rabbitmq_shovel'].\n",
                Some("rabbitmq_management rabbitmq_shovel"),
            ),
            ("% none\n[].", Some("")),
            ("", Some("")),
            ("[a, b\n].", Some("a b")),
            ("[{a,1}].", None),
            ("[a]", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse(text).map(|list| list.join(" ")).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn plugins_are_switched_in_one_call_each_way() {
        let bench = Bench::new();
        bench.write("/etc/rabbitmq/enabled_plugins", "[old,kept].");
        bench.program("rabbitmq-plugins", "echo $* >> $ROOT/calls.log; [ $1 = enable ] && echo '[kept,new,newer].' > $ROOT/etc/rabbitmq/enabled_plugins; true");
        let done = bench.converges("rabbitmq_plugin", json!({"names": "new,kept,newer"}));
        assert_eq!(
            (&done.data["enabled"], &done.data["disabled"]),
            (&json!(["new", "newer"]), &json!(["old"]))
        );
        assert_eq!(
            bench.read("/calls.log"),
            "disable --online -- old\nenable --online -- new newer\n"
        );
        assert_eq!(done.diff[0].after, "kept\nnew\nnewer\n");
        assert!(bench.run("rabbitmq_plugin", json!({"names": "a-b"})).failed);
    }
}
