//! `replace`: every match of a pattern in a file. Its `read` and `write` serve all edits of text files.
use std::io;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::lines::{pattern, replace_all};
use crate::write::{Wish, place};

pub const REPLACE: Module = Module::new(
    "replace",
    "Replace all matches of a pattern in a file",
    Effect::Converges,
    ARGS,
    run,
)
.file_args();

const ARGS: &[Arg] = &[
    Arg::new("path", Kind::Path, "the file")
        .aliases(&["dest", "destfile", "name"])
        .required(),
    Arg::new("regexp", Kind::Text, "what is replaced").required(),
    Arg::new(
        "replace",
        Kind::Text,
        "by what; nothing: the match is removed",
    )
    .default(""),
    Arg::new("after", Kind::Text, "only behind the first match of this"),
    Arg::new("before", Kind::Text, "only before the first match of this"),
    Arg::new(
        "encoding",
        Kind::Text,
        "accepted for compatibility: text is UTF-8",
    ),
    Arg::new("backup", Kind::Flag, "keep the old file").default("false"),
    Arg::new(
        "validate",
        Kind::Text,
        "command that checks the new file, named %s",
    ),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let compile = |name: &str| args.text(name).map(pattern).transpose().map_err(Fault::new);
    let (regexp, after, before) = (
        pattern(args.need("regexp")).map_err(Fault::new)?,
        compile("after")?,
        compile("before")?,
    );
    let Some(old) = read(context, args, true)? else {
        return Ok(TaskResult::default());
    };
    let (new, count) = replace_all(
        &old,
        &regexp,
        args.need("replace"),
        after.as_ref(),
        before.as_ref(),
    );
    let result = write(context, args, &old, &new)?;
    Ok(if result.changed {
        TaskResult {
            msg: format!("{count} replacements made"),
            ..result
        }
    } else {
        result
    })
}

/// The text of the file at `path`. One that is not there is empty with `create`, an error if it `must_be`
/// there, else `None`.
pub fn read(context: &Context<'_>, args: &Args, must_be: bool) -> Result<Option<String>, Fault> {
    let name = args.need("path");
    match std::fs::read(context.path(name)) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Fault::new(format!("{name} is not UTF-8 text"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if args.flag("create") || (must_be && context.check) {
                Ok(Some(String::new()))
            } else if must_be {
                Err(Fault::new(format!("Destination {name} does not exist !")).into_with_rc(257))
            } else {
                Ok(None)
            }
        }
        Err(source) => Err(Fault::Io {
            what: format!("read {name}"),
            source,
        }),
    }
}

/// Writes the edited text and sets the attributes.
pub fn write(
    context: &mut Context<'_>,
    args: &Args,
    before: &str,
    after: &str,
) -> Result<TaskResult, Fault> {
    let attributes = Attributes::of(context, args)?;
    let name = args.need("path");
    if before == after && !context.path(name).exists() {
        return Ok(TaskResult::default());
    }
    // A new file may be in a new folder, as in Ansible.
    if args.flag("create")
        && !context.check
        && let Some(folder) = context.path(name).parent()
    {
        std::fs::create_dir_all(folder).map_err(Fault::io(format!("make {}", folder.display())))?;
    }
    place(
        context,
        Wish {
            dest: name,
            content: after.as_bytes(),
            attributes,
            validate: args.text("validate"),
            backup: args.flag("backup"),
        },
    )
    .map(|result| result.with("path", name))
}

impl Fault {
    fn into_with_rc(self, rc: i32) -> Fault {
        Fault::WithData {
            msg: self.to_string(),
            data: [("rc".to_owned(), rc.into())].into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn matches_are_replaced() {
        let bench = Bench::new();
        bench.write("/etc/x", "listen 80;\nlisten 443;\n");
        let result = bench.converges("replace", json!({"path": "/etc/x", "regexp": "^listen (\\d+);$", "replace": "listen 10.0.0.1:\\1 ;"}));
        assert_eq!(result.msg, "2 replacements made");
        assert_eq!(
            bench.read("/etc/x"),
            "listen 10.0.0.1:80 ;\nlisten 10.0.0.1:443 ;\n"
        );
    }
}
