//! `timezone`: the link `/etc/localtime` and Debian's `/etc/timezone`.
use agent_protocol::task::TaskResult;

use super::file;
use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const TIMEZONE: Module = Module::new(
    "timezone",
    "Set the node's time zone",
    Effect::Converges,
    ARGS,
    run,
)
.one_of(&[&["name", "hwclock"]]);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "for example Europe/Vienna"),
    Arg::new("hwclock", Kind::Text, "what the machine's own clock shows")
        .aliases(&["rtc"])
        .choices(&["UTC", "local"]),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let mut result = TaskResult::default();
    if let Some(name) = args.text("name") {
        result = zone(context, name)?;
    }
    if let Some(clock) = args.text("hwclock") {
        let before = std::fs::read_to_string(context.path("/etc/adjtime")).unwrap_or_default();
        let mut lines: Vec<&str> = before.lines().collect();
        let wanted = clock.to_uppercase();
        // Without the file the clock shows UTC.
        let now = lines.get(2).copied().unwrap_or("UTC");
        if now != wanted {
            lines.resize(lines.len().max(3), "0");
            if before.is_empty() {
                lines[0] = "0.0 0 0.0";
            }
            lines[2] = &wanted;
            let after = lines.join("\n") + "\n";
            let placed = put(context, "/etc/adjtime", &after)?;
            result.changed |= placed.changed;
            result.diff.extend(placed.diff);
        }
    }
    Ok(result)
}

fn put(context: &mut Context<'_>, dest: &str, text: &str) -> Result<TaskResult, Fault> {
    place(
        context,
        Wish {
            dest,
            content: text.as_bytes(),
            attributes: Attributes::default(),
            validate: None,
            backup: false,
        },
    )
}

fn zone(context: &mut Context<'_>, name: &str) -> Result<TaskResult, Fault> {
    let zone = format!("/usr/share/zoneinfo/{name}");
    if name.split('/').any(|part| part.is_empty() || part == "..") || !context.path(&zone).is_file()
    {
        return Err(Fault::new(format!(
            "there is no time zone `{name}` on the node"
        )));
    }
    let linked = file::link(context, &context.path("/etc/localtime"), &zone, false, true)?;
    let mut result = put(context, "/etc/timezone", &format!("{name}\n"))?;
    result.changed |= linked;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_zone_is_linked_and_named() {
        let bench = Bench::new();
        bench.write("/usr/share/zoneinfo/Europe/Vienna", "");
        bench.write("/etc/timezone", "Etc/UTC\n");
        bench.converges("timezone", json!({"name": "Europe/Vienna"}));
        bench.converges("timezone", json!({"hwclock": "local"}));
        assert!(
            !bench
                .run(
                    "timezone",
                    json!({"name": "Europe/Vienna", "hwclock": "local"})
                )
                .changed
        );
        assert!(
            bench
                .run("timezone", json!({"name": "../../etc/passwd"}))
                .failed
        );
    }
}
