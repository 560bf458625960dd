//! `script`: runs a script whose text the controller sends.
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use agent_protocol::task::TaskResult;

use super::command;
use crate::args::Args;
use crate::context::{Context, Fault};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::temporary_beside;

pub const SCRIPT: Module = Module::new(
    "script",
    "Run a script of the controller",
    Effect::Once,
    ARGS,
    run,
)
.free_form("cmd");

const ARGS: &[Arg] = &[
    Arg::new(
        "cmd",
        Kind::Text,
        "the script's path on the controller, and its arguments",
    )
    .aliases(&["_raw_params"])
    .required(),
    Arg::new(
        "content",
        Kind::Text,
        "the script's text; the controller fills it in",
    ),
    Arg::new("chdir", Kind::Path, "working folder"),
    Arg::new("creates", Kind::Path, "do nothing if this is there"),
    Arg::new("removes", Kind::Path, "do nothing if this is not there"),
    Arg::new("executable", Kind::Path, "program that reads the script"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let content = args
        .text("content")
        .ok_or_else(|| Fault::new("the script's text did not come with the task"))?;
    let mut words = shlex::split(args.need("cmd"))
        .ok_or_else(|| Fault::new("a quote has no partner in the script's arguments"))?;
    if words.is_empty() {
        return Err(Fault::new("no script is named"));
    }
    let folder = context.path("/tmp");
    std::fs::create_dir_all(&folder).map_err(Fault::io("make /tmp"))?;
    let (script, mut file) =
        temporary_beside(&folder.join("script")).map_err(Fault::io("write the script"))?;
    file.write_all(content.as_bytes())
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(0o700)))
        .map_err(Fault::io("write the script"))?;
    // A file that is open for writing cannot be run.
    drop(file);
    words[0] = script.path().display().to_string();
    if let Some(program) = args.text("executable") {
        words.insert(0, program.to_owned());
    }
    command::run(context, args, words)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_script_gets_its_arguments_and_leaves_nothing() {
        let bench = Bench::new();
        let result = bench.run(
            "script",
            json!({"cmd": "files/x.sh 'a b'", "content": "#!/bin/sh\necho \"$1\"\n"}),
        );
        assert_eq!(result.data["stdout"], "a b", "{result:?}");
        assert_eq!(std::fs::read_dir(bench.path("/tmp")).unwrap().count(), 0);
    }
}
