//! `docs/modules.md` is what the modules' tables say.
use std::fmt::Write;
use std::path::Path;

use modules::{Arg, Effect, Kind, Module};

#[test]
fn the_reference_in_docs_is_that_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/modules.md");
    let wanted = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let now = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = now
        .lines()
        .zip(wanted.lines())
        .position(|(now, wanted)| now != wanted);
    assert!(
        now == wanted,
        "docs/modules.md is stale at line {}: UPDATE_DOCS=1 cargo test -p modules --test it reference",
        differs.unwrap_or(now.lines().count().min(wanted.lines().count())) + 1
    );
}

fn reference() -> String {
    let mut out = String::from(
        "# Task modules\n\n\
         What tasks can call, by Ansible's names; a prefix such as `ansible.builtin.` may be left on. Written from the modules' own\n\
         tables by `UPDATE_DOCS=1 cargo test -p modules --test it reference`. What runs on the deployment host (`set_fact`, `debug`,\n\
         `include_tasks` and the like) is not listed here.\n\n\
         Every module has check mode and, where it changes something that can be shown, a diff. Effect: *reads* changes nothing;\n\
         *converges* may be repeated and then changes nothing; *once* acts at each run, and is not repeated after an interruption.\n\n\
         | module | effect | what it does |\n|---|---|---|\n",
    );
    for module in modules::catalogue() {
        let _ = writeln!(
            out,
            "| [`{0}`](#{0}) | {1} | {2} |",
            module.name,
            effect(module),
            module.summary
        );
    }
    for module in modules::catalogue() {
        let _ = write!(
            out,
            "\n## {}\n\n{}. Effect: {}.",
            module.name,
            module.summary,
            effect(module)
        );
        if let Some(name) = module.free_form {
            let _ = write!(out, " Takes free text as `{name}`.");
        }
        for group in module.one_of {
            let _ = write!(out, " One of {} is needed.", quoted(group));
        }
        for group in module.exclusive {
            let _ = write!(out, " At most one of {}.", quoted(group));
        }
        if let Some(flag) = module.secret_if {
            let _ = write!(out, " With `{flag}` the task needs `no_log: true`.");
        }
        out.push('\n');
        if module.args().next().is_some() {
            out.push_str("\n| argument | kind | default | meaning |\n|---|---|---|---|\n");
        }
        for arg in module.args() {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                names(arg),
                kind(arg.kind),
                default(arg),
                meaning(arg)
            );
        }
        if !module.refused.is_empty() {
            out.push_str("\nOf Ansible's arguments these are refused:\n\n");
        }
        for (name, instead) in module.refused {
            let _ = writeln!(out, "- `{name}`: {instead}");
        }
    }
    out
}

fn effect(module: &Module) -> &'static str {
    match module.effect {
        Effect::Reads => "reads",
        Effect::Converges => "converges",
        Effect::Once => "once",
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn names(arg: &Arg) -> String {
    let mut out = format!("`{}`", arg.name);
    if !arg.aliases.is_empty() {
        let _ = write!(out, " ({})", quoted(arg.aliases));
    }
    out
}

fn default(arg: &Arg) -> String {
    match arg.default {
        _ if arg.required => "needed".into(),
        Some("") | None => String::new(),
        Some(value) => format!("`{}`", value.replace('|', "\\|")),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.help.replace('|', "\\|").replace('<', "&lt;");
    match arg
        .choices
        .iter()
        .copied()
        .filter(|choice| !choice.is_empty())
        .collect::<Vec<_>>()
    {
        choices if choices.is_empty() => help,
        choices => format!("{help}: {}", quoted(&choices)),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Flag => "flag",
        Kind::Int => "number",
        Kind::Path => "path",
        Kind::List => "list",
        Kind::Map => "mapping",
        Kind::Mode => "mode",
        Kind::Any => "any",
    }
}
