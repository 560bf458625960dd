//! `locale_gen`: locales that the node can use.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const LOCALE_GEN: Module = Module::new(
    "locale_gen",
    "Make locales, or forget them",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::List, "for example de_AT.UTF-8").required(),
    Arg::new("state", Kind::Text, "whether they are to be there")
        .choices(&["present", "absent"])
        .default("present"),
];

const LIST: &str = "/etc/locale.gen";

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let names = args.list("name").unwrap_or_default();
    let present = args.need("state") == "present";
    let before = match std::fs::read_to_string(context.path(LIST)) {
        Ok(text) => text,
        // An earlier task may be about to install it.
        Err(_) if context.check => return Ok(changed(true).with("name", names)),
        Err(_) => {
            return Err(Fault::new(format!(
                "{LIST} is missing. Is the package \"locales\" installed?"
            )));
        }
    };
    let known = context.must(&["locale", "-a"])?;
    let known: Vec<String> = known.lines().map(normal).collect();
    let mut after = before.clone();
    for name in &names {
        after = set(&after, name, present).ok_or_else(|| {
            Fault::new(format!(
                "The locales you have entered are not available on your system: {name}"
            ))
        })?;
    }
    let differs = names
        .iter()
        .any(|name| known.contains(&normal(name)) != present);
    let mut result = changed(before != after || differs);
    if before != after {
        result = place(
            context,
            Wish {
                dest: LIST,
                content: after.as_bytes(),
                attributes: Attributes::default(),
                validate: None,
                backup: false,
            },
        )?;
    }
    if result.changed && !context.check {
        context.must(&["locale-gen"])?;
    }
    Ok(result.with("name", names).with("mechanism", "glibc"))
}

/// As `locale -a` writes it: `de_AT.utf8`.
fn normal(name: &str) -> String {
    let name = name.trim().split(' ').next().unwrap_or_default();
    match name.split_once('.') {
        Some((locale, set)) => {
            let (set, modifier) = set
                .split_once('@')
                .map_or((set, ""), |(set, rest)| (set, rest));
            let at = if modifier.is_empty() { "" } else { "@" };
            format!(
                "{locale}.{}{at}{modifier}",
                set.to_lowercase().replace('-', "")
            )
        }
        None => name.to_owned(),
    }
}

/// The list with the locale's line in use or commented out; `None` if a wished one is not in it.
fn set(text: &str, name: &str, present: bool) -> Option<String> {
    let mut found = false;
    let mut out = String::new();
    for line in text.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        let is_it = bare.split(' ').next() == Some(name) && bare.split_whitespace().count() == 2;
        if is_it && present {
            found = true;
            out.push_str(bare.trim_end());
        } else if is_it && !line.starts_with('#') {
            out.push_str(&format!("# {bare}"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    if present && !found {
        return None;
    }
    Some(if out.trim_end() == text.trim_end() {
        text.to_owned()
    } else {
        out
    })
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn locales_come_and_go() {
        let bench = Bench::new();
        let args = |state| json!({"name": "de_AT.UTF-8", "state": state});
        assert!(
            bench
                .run("locale_gen", args("present"))
                .msg
                .contains("Is the package")
        );
        bench.write(
            "/etc/locale.gen",
            "# This file\n# de_AT ISO-8859-1\n# de_AT.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n",
        );
        bench.program("locale", "echo C; cat $ROOT/made 2>/dev/null || true");
        bench.program(
            "locale-gen",
            "sed -n 's/^\\([a-z][^ .]*\\)[.]UTF-8 .*/\\1.utf8/p' $ROOT/etc/locale.gen > $ROOT/made",
        );
        bench.write("/made", "en_US.utf8\n");
        bench.converges("locale_gen", args("present"));
        assert!(
            bench
                .read("/etc/locale.gen")
                .contains("\nde_AT.UTF-8 UTF-8\n")
        );
        bench.converges("locale_gen", args("absent"));
        assert!(
            bench
                .run("locale_gen", json!({"name": "xx_YY.UTF-8"}))
                .failed
        );
    }
}
