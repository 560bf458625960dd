//! `assemble`: a file made of fragments in a folder of the node.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::lines::pattern;
use crate::write::{Wish, place};

pub const ASSEMBLE: Module = Module::new(
    "assemble",
    "Make a file of fragments",
    Effect::Converges,
    ARGS,
    run,
)
.file_args();

const ARGS: &[Arg] = &[
    Arg::new(
        "src",
        Kind::Path,
        "folder of the fragments, taken in name order",
    )
    .required(),
    Arg::new("dest", Kind::Path, "the file").required(),
    Arg::new("delimiter", Kind::Text, "line between fragments"),
    Arg::new("regexp", Kind::Text, "only fragments whose names match"),
    Arg::new(
        "ignore_hidden",
        Kind::Flag,
        "leave out names that begin with a dot",
    )
    .default("false"),
    // Ansible's default is the controller's folder; here only the node's is known.
    Arg::new("remote_src", Kind::Flag, "src lies on the node")
        .choices(&[])
        .default("true"),
    Arg::new("backup", Kind::Flag, "keep the old file").default("false"),
    Arg::new(
        "validate",
        Kind::Text,
        "command that checks the new file, named %s",
    ),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if !args.flag("remote_src") {
        return Err(Fault::new(
            "assemble takes fragments that lie on the node: remote_src=true",
        ));
    }
    let src = args.need("src");
    let wanted = args
        .text("regexp")
        .map(pattern)
        .transpose()
        .map_err(Fault::new)?;
    let mut fragments: Vec<_> = std::fs::read_dir(context.path(src))
        .map_err(Fault::io(format!("read {src}")))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    fragments.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        wanted
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(&name))
            && !(args.flag("ignore_hidden") && name.starts_with('.'))
    });
    fragments.sort();
    let mut content = Vec::new();
    for (index, fragment) in fragments.iter().enumerate() {
        if index > 0 {
            if content.last().is_some_and(|byte| *byte != b'\n') {
                content.push(b'\n');
            }
            if let Some(delimiter) = args.text("delimiter") {
                content.extend_from_slice(delimiter.trim_end_matches('\n').as_bytes());
                content.push(b'\n');
            }
        }
        content.extend(
            std::fs::read(fragment).map_err(Fault::io(format!("read {}", fragment.display())))?,
        );
    }
    let attributes = Attributes::of(context, args)?;
    place(
        context,
        Wish {
            dest: args.need("dest"),
            content: &content,
            attributes,
            validate: args.text("validate"),
            backup: args.flag("backup"),
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn fragments_become_one_file() {
        let bench = Bench::new();
        bench.write("/d/10-a", "a");
        bench.write("/d/20-b", "b\n");
        bench.write("/d/.hidden", "x");
        bench.converges(
            "assemble",
            json!({"src": "/d", "dest": "/all", "delimiter": "--", "ignore_hidden": true}),
        );
        assert_eq!(bench.read("/all"), "a\n--\nb\n");
    }
}
