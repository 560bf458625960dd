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
);

const ARGS: &[Arg] = &[Arg::new("name", Kind::Text, "for example Europe/Vienna").required()];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let zone = format!("/usr/share/zoneinfo/{name}");
    if name.split('/').any(|part| part.is_empty() || part == "..") || !context.path(&zone).is_file()
    {
        return Err(Fault::new(format!(
            "there is no time zone `{name}` on the node"
        )));
    }
    let linked = file::link(context, &context.path("/etc/localtime"), &zone, false, true)?;
    let mut result = place(
        context,
        Wish {
            dest: "/etc/timezone",
            content: format!("{name}\n").as_bytes(),
            attributes: Attributes::default(),
            validate: None,
            backup: false,
        },
    )?;
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
        assert!(
            bench
                .run("timezone", json!({"name": "../../etc/passwd"}))
                .failed
        );
    }
}
