//! `group`: a group of the node, by shadow's own programs.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::id_of;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const GROUP: Module = Module::new(
    "group",
    "Make or remove a group",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "its name").required(),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("gid", Kind::Int, "its number"),
    Arg::new("system", Kind::Flag, "take a number of the system's range").default("false"),
    Arg::new("non_unique", Kind::Flag, "its number may be another's, too").default("false"),
    Arg::new("gid_min", Kind::Int, "least number that is chosen"),
    Arg::new("gid_max", Kind::Int, "largest number that is chosen"),
    Arg::new(
        "force",
        Kind::Flag,
        "remove it although it is an account's first group",
    )
    .default("false"),
    Arg::new(
        "local",
        Kind::Flag,
        "accepted for compatibility: groups are local",
    )
    .default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let table = std::fs::read_to_string(context.path("/etc/group"))
        .map_err(Fault::io("read /etc/group"))?;
    let (now, gid) = (
        id_of(&table, name),
        args.int("gid").map(|gid| gid.to_string()),
    );
    let limits: Vec<String> = ["gid_min", "gid_max"]
        .into_iter()
        .filter_map(|name| Some(format!("{}={}", name.to_uppercase(), args.int(name)?)))
        .collect();
    let command: Option<Vec<&str>> = match (args.need("state"), now) {
        ("absent", None) => None,
        ("absent", Some(_)) if args.flag("force") => Some(vec!["groupdel", "-f"]),
        ("absent", Some(_)) => Some(vec!["groupdel"]),
        (_, Some(now)) => match &gid {
            Some(gid) if *gid != now.to_string() && args.flag("non_unique") => {
                Some(vec!["groupmod", "-o", "-g", gid])
            }
            Some(gid) if *gid != now.to_string() => Some(vec!["groupmod", "-g", gid]),
            _ => None,
        },
        (_, None) => {
            let mut command = vec!["groupadd"];
            if args.flag("system") {
                command.push("-r");
            }
            if let Some(gid) = &gid {
                command.extend(["-g", gid]);
                if args.flag("non_unique") {
                    command.push("-o");
                }
            }
            command.extend(limits.iter().flat_map(|limit| ["-K", limit.as_str()]));
            Some(command)
        }
    };
    if let Some(command) = &command
        && !context.check
    {
        shadow(context, command, name)?;
    }
    let table = std::fs::read_to_string(context.path("/etc/group")).unwrap_or_default();
    Ok(changed(command.is_some())
        .with("name", name)
        .with("state", args.need("state"))
        .with("system", args.flag("system"))
        .with("gid", id_of(&table, name)))
}

/// Runs one of shadow's programs on the root's tables. `name` comes last, behind `--`.
pub fn shadow(context: &mut Context<'_>, command: &[&str], name: &str) -> Result<(), Fault> {
    let root = context.root.display().to_string();
    let mut argv = vec![command[0]];
    if !context.is_live() {
        argv.extend(["--prefix", &root]);
    }
    argv.extend(&command[1..]);
    argv.extend(["--", name]);
    context.must(&argv).map(drop)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_group_is_made_renumbered_and_removed() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: groupadd --prefix wants to be root");
        }
        let bench = Bench::new();
        bench.write("/etc/group", "root:x:0:\n");
        bench.write("/etc/gshadow", "root:*::\n");
        bench.write("/etc/login.defs", "");
        bench.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        bench.converges("group", json!({"name": "wright", "gid": 900}));
        assert!(bench.read("/etc/group").contains("wright:x:900:"));
        bench.converges("group", json!({"name": "wright", "gid": 901}));
        bench.converges("group", json!({"name": "wright", "state": "absent"}));
    }
}
