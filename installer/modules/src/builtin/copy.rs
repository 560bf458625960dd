//! `copy` and `template`: a file with a given content. The controller reads `src` and renders templates;
//! what arrives is text (`content`) or, for other bytes, base64 (`content_base64`).
use std::path::Path;

use agent_protocol::task::TaskResult;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const COPY: Module = Module::new(
    "copy",
    "Put a file in place",
    Effect::Converges,
    COPY_ARGS,
    run,
)
.file_args()
.exclusive(&[&["src", "content"], &["content", "content_base64"]])
.one_of(&[&["src", "content", "content_base64"]]);
pub const TEMPLATE: Module = Module::new(
    "template",
    "Put a rendered template in place",
    Effect::Converges,
    TEMPLATE_ARGS,
    run,
)
.file_args();

const DEST: Arg = Arg::new(
    "dest",
    Kind::Path,
    "the file on the node; with / at its end, the folder",
)
.required();
const FORCE: Arg = Arg::new("force", Kind::Flag, "replace a file that is there").default("true");
const BACKUP: Arg = Arg::new("backup", Kind::Flag, "keep the old file").default("false");
const VALIDATE: Arg = Arg::new(
    "validate",
    Kind::Text,
    "command that checks the new file, named %s, before it is put in place",
);
const BASE64: Arg = Arg::new(
    "content_base64",
    Kind::Text,
    "content that is no text; the controller fills it in",
);

const COPY_ARGS: &[Arg] = &[
    Arg::new(
        "src",
        Kind::Path,
        "file on the controller; on the node with remote_src",
    ),
    DEST,
    Arg::new(
        "content",
        Kind::Any,
        "the file's content; what is no text becomes JSON",
    ),
    BASE64,
    Arg::new("remote_src", Kind::Flag, "src lies on the node").default("false"),
    FORCE,
    BACKUP,
    VALIDATE,
    Arg::new(
        "directory_mode",
        Kind::Mode,
        "permission bits of folders made on the way",
    ),
    Arg::new("follow", Kind::Flag, "follow a link at dest").default("true"),
];

const TEMPLATE_ARGS: &[Arg] = &[
    Arg::new("src", Kind::Path, "template on the controller").required(),
    DEST,
    Arg::new(
        "content",
        Kind::Any,
        "the rendered text; the controller fills it in",
    ),
    BASE64,
    FORCE,
    BACKUP,
    VALIDATE,
    Arg::new(
        "trim_blocks",
        Kind::Flag,
        "no newline after a block; read by the controller",
    ),
    Arg::new(
        "lstrip_blocks",
        Kind::Flag,
        "no blanks before a block; read by the controller",
    ),
    Arg::new("newline_sequence", Kind::Text, "end of a line").choices(&["\\n"]),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let content = content(context, args)?;
    let dest = destination(context, args);
    if !args.flag("force") && context.path(&dest).exists() {
        return Ok(TaskResult {
            msg: "file already exists".into(),
            ..TaskResult::default()
        });
    }
    let attributes = Attributes::of(context, args)?;
    place(
        context,
        Wish {
            dest: &dest,
            content: &content,
            attributes,
            validate: args.text("validate"),
            backup: args.flag("backup"),
        },
    )
}

fn content(context: &Context<'_>, args: &Args) -> Result<Vec<u8>, Fault> {
    if let Some(text) = args.text("content_base64") {
        return BASE64_STANDARD
            .decode(text)
            .map_err(|error| Fault::new(format!("content_base64 is not base64: {error}")));
    }
    match (args.value("content"), args.text("src")) {
        (Some(Value::String(text)), _) => Ok(text.clone().into_bytes()),
        (Some(value), _) => Ok(value.to_string().into_bytes()),
        (None, Some(src)) if args.flag("remote_src") => {
            std::fs::read(context.path(src)).map_err(Fault::io(format!("read {src}")))
        }
        _ => Err(Fault::new("the file's content did not come with the task")),
    }
}

/// A folder as destination takes the source's name.
fn destination(context: &Context<'_>, args: &Args) -> String {
    let dest = args.need("dest");
    let is_folder = dest.ends_with('/') || context.path(dest).is_dir();
    match args.text("src").and_then(|src| Path::new(src).file_name()) {
        Some(name) if is_folder => {
            format!("{}/{}", dest.trim_end_matches('/'), name.to_string_lossy())
        }
        _ => dest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_put_in_place_with_its_mode_and_a_diff() {
        let bench = Bench::new();
        bench.write("/etc/app.conf", "old\n");
        let result = bench.converges(
            "copy",
            json!({"dest": "/etc/app.conf", "content": "new\n", "mode": "0640", "backup": true}),
        );
        assert_eq!(
            (
                result.diff[0].before.as_str(),
                result.diff[0].after.as_str()
            ),
            ("old\n", "new\n")
        );
        assert_eq!(
            std::fs::metadata(bench.path("/etc/app.conf"))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777,
            0o640
        );
        assert_eq!(
            std::fs::read_to_string(result.data["backup_file"].as_str().unwrap()).unwrap(),
            "old\n"
        );
        // The mode alone is a change too.
        assert!(
            bench
                .converges(
                    "copy",
                    json!({"dest": "/etc/app.conf", "content": "new\n", "mode": "u=rw,go="})
                )
                .changed
        );
    }

    #[test]
    fn a_template_arrives_rendered_and_a_folder_takes_its_name() {
        let bench = Bench::new();
        bench.write("/etc/keep", "");
        bench.converges(
            "template",
            json!({"src": "x.conf", "dest": "/etc/", "content": "text"}),
        );
        assert_eq!(bench.read("/etc/x.conf"), "text");
        bench.converges(
            "copy",
            json!({"dest": "/etc/bytes", "content_base64": "/wA="}),
        );
        assert_eq!(std::fs::read(bench.path("/etc/bytes")).unwrap(), [255, 0]);
        bench.converges("copy", json!({"dest": "/etc/json", "content": {"a": 1}}));
        assert_eq!(bench.read("/etc/json"), "{\"a\":1}");
        bench.converges(
            "copy",
            json!({"dest": "/etc/copy", "src": "/etc/json", "remote_src": true}),
        );
    }

    #[test]
    fn what_does_not_validate_is_not_put_in_place() {
        let bench = Bench::new();
        bench.write("/etc/app.conf", "good\n");
        let args = |content: &str| json!({"dest": "/etc/app.conf", "content": content, "validate": "grep -q good %s"});
        let result = bench.run("copy", args("bad\n"));
        assert!(
            result.failed && result.msg.starts_with("failed to validate"),
            "{result:?}"
        );
        assert_eq!(bench.read("/etc/app.conf"), "good\n");
        assert_eq!(
            std::fs::read_dir(bench.path("/etc")).unwrap().count(),
            1,
            "a temporary file was left"
        );
        bench.converges("copy", args("good too\n"));
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let bench = Bench::new();
        bench.write("/real/file", "a");
        std::os::unix::fs::symlink("real/file", bench.path("/link")).unwrap();
        bench.converges("copy", json!({"dest": "/link", "content": "b"}));
        assert_eq!(bench.read("/real/file"), "b");
        assert!(
            std::fs::symlink_metadata(bench.path("/link"))
                .unwrap()
                .is_symlink()
        );
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let result = Bench::new().run("copy", json!({"dest": "/no/such/file", "content": ""}));
        assert!(
            result.failed && result.msg.contains("/no/such/file"),
            "{result:?}"
        );
    }
}
