//! `lineinfile`: one line of a file.
use agent_protocol::task::TaskResult;

use super::replace;
use crate::args::Args;
use crate::context::{Context, Fault, With};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::lines::{self, Insert, Line, pattern};

pub const LINEINFILE: Module = Module::new(
    "lineinfile",
    "Make sure of one line of a file",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.exclusive(&[
    &["regexp", "search_string"],
    &["insertbefore", "insertafter"],
]);

const ARGS: &[Arg] = &[
    Arg::new("path", Kind::Path, "the file")
        .aliases(&["dest", "destfile", "name"])
        .required(),
    Arg::new("line", Kind::Text, "the line").aliases(&["value"]),
    Arg::new("regexp", Kind::Text, "which line is replaced or removed").aliases(&["regex"]),
    Arg::new("search_string", Kind::Text, "the same, as plain text"),
    Arg::new("state", Kind::Text, "whether the line is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("insertafter", Kind::Text, "pattern, or EOF").default("EOF"),
    Arg::new("insertbefore", Kind::Text, "pattern, or BOF"),
    Arg::new("backrefs", Kind::Flag, "line refers to groups of regexp").default("false"),
    Arg::new("firstmatch", Kind::Flag, "insert at the first match").default("false"),
    Arg::new("create", Kind::Flag, "make a file that is not there").default("false"),
    Arg::new("backup", Kind::Flag, "keep the old file").default("false"),
    Arg::new(
        "validate",
        Kind::Text,
        "command that checks the new file, named %s",
    ),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let regexp = args
        .text("regexp")
        .map(pattern)
        .transpose()
        .map_err(Fault::new)?;
    let present = args.need("state") == "present";
    let Some(before) = replace::read(context, args, present)? else {
        return Ok(TaskResult {
            msg: "file not present".into(),
            ..TaskResult::default()
        });
    };
    if present {
        let line = args
            .text("line")
            .ok_or_else(|| Fault::new("line is required with state=present"))?;
        let insert = insert(args).map_err(Fault::new)?;
        let wish = Line {
            line,
            regexp: regexp.as_ref(),
            search_string: args.text("search_string"),
            insert,
            backrefs: args.flag("backrefs"),
            first_match: args.flag("firstmatch"),
        };
        if wish.backrefs && regexp.is_none() {
            return Err(Fault::new("regexp is required with backrefs=true"));
        }
        let after = lines::ensure(&before, &wish);
        return replace::write(context, args, &before, &after);
    }
    let (after, found) = match (&regexp, args.text("search_string"), args.text("line")) {
        (Some(pattern), _, _) => lines::remove(&before, |line| pattern.is_match(line)),
        (None, Some(search), _) => lines::remove(&before, |line| line.contains(search)),
        (None, None, Some(wanted)) => lines::remove(&before, |line| line == wanted),
        _ => {
            return Err(Fault::new(
                "one of line, search_string, or regexp is required with state=absent",
            ));
        }
    };
    Ok(replace::write(context, args, &before, &after)?.with("found", found))
}

/// Where a new line goes: `insertbefore` or `insertafter`.
pub fn insert(args: &Args) -> Result<Insert, String> {
    Ok(
        match (args.text("insertbefore"), args.text("insertafter")) {
            (Some("BOF"), _) => Insert::AtBeginning,
            (Some(before), _) => Insert::Before(pattern(before)?),
            (None, Some("EOF") | None) => Insert::AtEnd,
            (None, Some(after)) => Insert::After(pattern(after)?),
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_line_is_made_changed_and_removed() {
        let bench = Bench::new();
        assert!(
            bench
                .run("lineinfile", json!({"path": "/etc/x", "line": "a"}))
                .failed
        );
        bench.write("/etc/keep", "");
        bench.converges(
            "lineinfile",
            json!({"path": "/etc/x", "line": "Port 22", "create": true}),
        );
        bench.converges(
            "lineinfile",
            json!({"path": "/etc/x", "line": "Port 23", "regexp": "^Port"}),
        );
        bench.converges(
            "lineinfile",
            json!({"path": "/etc/x", "line": "# top", "insertbefore": "BOF"}),
        );
        assert_eq!(bench.read("/etc/x"), "# top\nPort 23\n");
        bench.converges(
            "lineinfile",
            json!({"path": "/etc/new/folder/x", "line": "a", "create": true}),
        );
        bench.converges(
            "lineinfile",
            json!({"path": "/etc/x", "regexp": "^#", "state": "absent"}),
        );
        assert!(
            !bench
                .run(
                    "lineinfile",
                    json!({"path": "/etc/none", "regexp": "x", "state": "absent"})
                )
                .changed
        );
        assert!(
            bench
                .run(
                    "lineinfile",
                    json!({"path": "/etc/x", "line": "x", "regexp": "("})
                )
                .msg
                .contains("cannot be used")
        );
    }
}
