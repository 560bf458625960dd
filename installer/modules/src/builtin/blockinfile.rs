//! `blockinfile`: a marked block of lines.
use agent_protocol::task::TaskResult;

use super::{lineinfile, replace};
use crate::args::Args;
use crate::context::{Context, Fault};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::block::{Markers, ensure, set_apart};

pub const BLOCKINFILE: Module = Module::new(
    "blockinfile",
    "Make sure of a block of lines between two marker lines",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.exclusive(&[&["insertbefore", "insertafter"]]);

const ARGS: &[Arg] = &[
    Arg::new("path", Kind::Path, "the file")
        .aliases(&["dest", "destfile", "name"])
        .required(),
    Arg::new("block", Kind::Text, "the lines; none: the block is removed")
        .aliases(&["content"])
        .default(""),
    Arg::new("state", Kind::Text, "whether the block is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("marker", Kind::Text, "the marker lines").default("# {mark} ANSIBLE MANAGED BLOCK"),
    Arg::new("marker_begin", Kind::Text, "what {mark} is in the first").default("BEGIN"),
    Arg::new("marker_end", Kind::Text, "what {mark} is in the second").default("END"),
    Arg::new("insertafter", Kind::Text, "pattern, or EOF").default("EOF"),
    Arg::new("insertbefore", Kind::Text, "pattern, or BOF"),
    Arg::new(
        "append_newline",
        Kind::Flag,
        "an empty line behind the block",
    )
    .default("false"),
    Arg::new(
        "prepend_newline",
        Kind::Flag,
        "an empty line before the block",
    )
    .default("false"),
    Arg::new("create", Kind::Flag, "make a file that is not there").default("false"),
    Arg::new("backup", Kind::Flag, "keep the old file").default("false"),
    Arg::new(
        "validate",
        Kind::Text,
        "command that checks the new file, named %s",
    ),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let marker = |name: &str| args.need("marker").replace("{mark}", args.need(name));
    let markers = Markers {
        begin: marker("marker_begin"),
        end: marker("marker_end"),
    };
    if markers.begin == markers.end {
        return Err(Fault::new("marker must contain {mark}"));
    }
    let block = if args.need("state") == "present" {
        args.need("block")
    } else {
        ""
    };
    let Some(before) = replace::read(context, args, !block.is_empty())? else {
        return Ok(TaskResult::default());
    };
    let mut after = ensure(
        &before,
        block,
        &markers,
        &lineinfile::insert(args).map_err(Fault::new)?,
    );
    if !block.is_empty() {
        let (prepend, append) = (args.flag("prepend_newline"), args.flag("append_newline"));
        after = set_apart(&after, &markers, prepend, append);
    }
    replace::write(context, args, &before, &after)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_block_is_made_changed_and_removed() {
        let bench = Bench::new();
        bench.write("/etc/qemu.conf", "# qemu\n");
        bench.converges(
            "blockinfile",
            json!({"path": "/etc/qemu.conf", "block": "user = \"a\"\n"}),
        );
        bench.converges(
            "blockinfile",
            json!({"path": "/etc/qemu.conf", "block": "user = \"b\"\n"}),
        );
        bench.converges(
            "blockinfile",
            json!({"path": "/etc/qemu.conf", "state": "absent"}),
        );
        assert_eq!(bench.read("/etc/qemu.conf"), "# qemu\n");
        bench.converges(
            "blockinfile",
            json!({"path": "/etc/qemu.conf", "block": "a", "insertbefore": "BOF", "append_newline": true, "prepend_newline": true}),
        );
        assert!(bench.read("/etc/qemu.conf").ends_with("BLOCK\n\n# qemu\n"));
    }
}
