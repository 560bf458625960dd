//! `copy` and `template`: a file with a given content. The controller reads `src` and renders templates;
//! what arrives is text (`content`), for other bytes base64 (`content_base64`), and for folders a list (`tree`).
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use agent_protocol::task::TaskResult;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::digest;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place_as};

pub const COPY: Module = Module::new(
    "copy",
    "Put a file in place",
    Effect::Converges,
    COPY_ARGS,
    run,
)
.file_args()
.exclusive(&[&["src", "content"], &["content", "content_base64", "tree"]])
.one_of(&[&["src", "content", "content_base64", "tree"]]);
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

const FOLLOW: Arg = Arg::new("follow", Kind::Flag, "write through a link at dest").default("false");

const COPY_ARGS: &[Arg] = &[
    Arg::new(
        "src",
        Kind::Path,
        "file or folder on the controller; on the node with remote_src",
    ),
    DEST,
    Arg::new(
        "content",
        Kind::Any,
        "the file's content; what is no text becomes JSON",
    ),
    BASE64,
    Arg::new(
        "tree",
        Kind::Any,
        "a folder's files: a list of path, mode, and content, content_base64 or neither for a folder; the controller fills it in",
    ),
    Arg::new("remote_src", Kind::Flag, "src lies on the node").default("false"),
    FORCE,
    BACKUP,
    VALIDATE,
    Arg::new(
        "directory_mode",
        Kind::Mode,
        "permission bits of folders made on the way",
    ),
    FOLLOW,
    Arg::new("local_follow", Kind::Flag, "follow links in src").default("true"),
    Arg::new("checksum", Kind::Text, "SHA-1 that the content must have"),
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
    Arg::new("newline_sequence", Kind::Text, "end of a line").choices(&["\\n", "\\r", "\\r\\n"]),
    Arg::new("output_encoding", Kind::Text, "of the file").choices(&["utf-8", "UTF-8"]),
    FOLLOW,
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if let Some(tree) = args.value("tree") {
        return plant(context, args, &received(tree).map_err(Fault::new)?);
    }
    if let Some(src) = args.text("src").filter(|_| args.flag("remote_src"))
        && context.path(src).is_dir()
    {
        let tree = found(context, args, src)?;
        return plant(context, args, &tree);
    }
    let mut content = content(context, args)?;
    // What the controller renders has plain ends of lines.
    match args.text("newline_sequence") {
        Some("\\r\\n") => content = replaced(&content, b"\r\n"),
        Some("\\r") => content = replaced(&content, b"\r"),
        _ => {}
    }
    if let Some(wanted) = args.text("checksum").filter(|sum| !sum.is_empty()) {
        let sum = digest::of_bytes("sha1", &content);
        if sum != wanted.to_ascii_lowercase() {
            return Err(Fault::new(format!(
                "Copied file does not match the expected checksum: {sum}, not {wanted}"
            )));
        }
    }
    let dest = destination(context, args);
    if !args.flag("force") && context.path(&dest).exists() {
        return Ok(TaskResult {
            msg: "file already exists".into(),
            ..TaskResult::default()
        });
    }
    let mut attributes = Attributes::of(context, args)?;
    if let (Some("preserve"), Some(src)) = (args.text("mode"), args.text("src"))
        && let Ok(found) = fs::metadata(context.path(src))
    {
        let mode = format!("{:04o}", found.mode() & 0o7777);
        attributes = Attributes::new(Some(&mode), attributes.uid, attributes.gid);
    }
    if args.need("dest").ends_with('/')
        && let Some(folder) = context
            .path(&dest)
            .parent()
            .filter(|folder| !folder.exists())
        && !context.check
    {
        fs::create_dir_all(folder).map_err(Fault::io(format!("make {}", folder.display())))?;
        folder_attributes(args, &attributes).apply(context, folder)?;
    }
    let result = place_as(
        context,
        Wish {
            dest: &dest,
            content: &content,
            attributes,
            validate: args.text("validate"),
            backup: args.flag("backup"),
        },
        args.flag("follow"),
    )?;
    Ok(match args.text("src") {
        Some(src) => result.with("src", src),
        None => result,
    })
}

fn folder_attributes(args: &Args, files: &Attributes) -> Attributes {
    Attributes::new(args.text("directory_mode"), files.uid, files.gid)
}

fn replaced(content: &[u8], end: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for byte in content {
        match byte {
            b'\n' => out.extend_from_slice(end),
            byte => out.push(*byte),
        }
    }
    out
}

/// One thing of a folder that is copied, by its path below it.
struct Leaf {
    path: String,
    mode: Option<String>,
    /// `None` of a folder.
    content: Option<Vec<u8>>,
    /// Where a link leads.
    link: Option<String>,
}

/// What the controller sent.
fn received(tree: &Value) -> Result<Vec<Leaf>, String> {
    let items = tree.as_array().ok_or("tree must be a list")?;
    items
        .iter()
        .map(|item| {
            let text = |name: &str| item.get(name).and_then(Value::as_str);
            let path = text("path").ok_or("what is in tree needs a path")?;
            if !is_inside(path) {
                return Err(format!("{path} leads out of the folder"));
            }
            let content = match (text("content"), text("content_base64")) {
                (Some(content), _) => Some(content.as_bytes().to_vec()),
                (None, Some(coded)) => {
                    let bytes = BASE64_STANDARD.decode(coded);
                    Some(bytes.map_err(|error| format!("{path} is not base64: {error}"))?)
                }
                (None, None) => None,
            };
            Ok(Leaf {
                path: path.to_owned(),
                mode: text("mode").map(str::to_owned),
                content,
                link: text("link").map(str::to_owned),
            })
        })
        .collect()
}

fn is_inside(path: &str) -> bool {
    !path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// What lies below a folder of the node. Without a slash at its end the folder itself is copied, too.
fn found(context: &Context<'_>, args: &Args, src: &str) -> Result<Vec<Leaf>, Fault> {
    let top = context.path(src);
    let name = match src.ends_with('/') {
        true => String::new(),
        false => top
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    };
    let mut out = Vec::new();
    walk(context, args, &top, &name, &mut out)?;
    Ok(out)
}

fn walk(
    context: &Context<'_>,
    args: &Args,
    folder: &Path,
    name: &str,
    out: &mut Vec<Leaf>,
) -> Result<(), Fault> {
    context.go_on()?;
    let io = || Fault::io(format!("read {}", folder.display()));
    let leaf = |path: &str, found: &fs::Metadata| Leaf {
        path: path.to_owned(),
        mode: Some(format!("{:04o}", found.mode() & 0o7777)),
        content: None,
        link: None,
    };
    if !name.is_empty() {
        out.push(leaf(name, &fs::metadata(folder).map_err(io())?));
    }
    let mut entries: Vec<_> = fs::read_dir(folder).map_err(io())?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let below = format!("{name}/{}", entry.file_name().to_string_lossy());
        let below = below.trim_start_matches('/');
        if path.is_symlink() && !args.flag("local_follow") {
            let target = fs::read_link(&path).map_err(io())?;
            out.push(Leaf {
                link: Some(target.to_string_lossy().into_owned()),
                mode: None,
                path: below.to_owned(),
                content: None,
            });
        } else if path.is_dir() {
            walk(context, args, &path, below, out)?;
        } else if path.is_file() {
            let found = fs::metadata(&path).map_err(io())?;
            out.push(Leaf {
                content: Some(fs::read(&path).map_err(io())?),
                ..leaf(below, &found)
            });
        }
    }
    Ok(())
}

/// Puts a whole folder in place.
fn plant(context: &mut Context<'_>, args: &Args, tree: &[Leaf]) -> Result<TaskResult, Fault> {
    let dest = args.need("dest").trim_end_matches('/');
    let attributes = Attributes::of(context, args)?;
    let folders = folder_attributes(args, &attributes);
    let mut result = changed(false);
    let mut wanted = vec![String::new()];
    wanted.extend(
        tree.iter()
            .filter(|leaf| leaf.content.is_none() && leaf.link.is_none())
            .map(|leaf| leaf.path.clone()),
    );
    for folder in wanted {
        let path = context.path(format!("{dest}/{folder}").trim_end_matches('/'));
        if !path.is_dir() {
            result.changed = true;
            if !context.check {
                fs::create_dir_all(&path).map_err(Fault::io(format!("make {}", path.display())))?;
                folders.apply(context, &path)?;
            }
        } else if args.text("directory_mode").is_some() {
            result.changed |= folders.apply(context, &path)?;
        }
    }
    for leaf in tree {
        let target = format!("{dest}/{}", leaf.path);
        if let Some(link) = &leaf.link {
            let path = context.path(&target);
            result.changed |= super::file::link(context, &path, link, false, args.flag("force"))?;
        }
        let Some(content) = &leaf.content else {
            continue;
        };
        if !args.flag("force") && context.path(&target).exists() {
            continue;
        }
        let preserve = args.text("mode") == Some("preserve");
        let attributes = match leaf.mode.as_deref().filter(|_| preserve) {
            Some(mode) => Attributes::new(Some(mode), attributes.uid, attributes.gid),
            None => attributes.clone(),
        };
        let placed = place_as(
            context,
            Wish {
                dest: &target,
                content,
                attributes,
                validate: args.text("validate"),
                backup: args.flag("backup"),
            },
            args.flag("follow"),
        )?;
        result.changed |= placed.changed;
        result.diff.extend(placed.diff);
    }
    Ok(result.with("dest", dest).with("src", args.text("src")))
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
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let result = Bench::new().run("copy", json!({"dest": "/no/such/file", "content": ""}));
        assert!(
            result.failed && result.msg.contains("/no/such/file"),
            "{result:?}"
        );
    }

    #[test]
    fn folders_are_copied_with_all_below_them() {
        let bench = Bench::new();
        bench.write("/from/a/b.txt", "b\n");
        bench.write("/from/c.sh", "#!/bin/sh\n");
        bench.run("file", json!({"path": "/from/c.sh", "mode": "0755"}));
        std::os::unix::fs::symlink("c.sh", bench.path("/from/link")).unwrap();
        bench.converges(
            "copy",
            json!({"src": "/from/", "dest": "/to", "remote_src": true, "mode": "preserve", "directory_mode": "0700", "local_follow": false}),
        );
        assert_eq!(bench.read("/to/a/b.txt"), "b\n");
        assert_eq!(
            std::fs::read_link(bench.path("/to/link")).unwrap().to_str(),
            Some("c.sh")
        );
        let mode = |path: &str| {
            std::fs::metadata(bench.path(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!((mode("/to/c.sh"), mode("/to/a")), (0o755, 0o700));
        bench.converges(
            "copy",
            json!({"src": "/from", "dest": "/else", "remote_src": true}),
        );
        assert_eq!(bench.read("/else/from/a/b.txt"), "b\n");
        let tree = json!([{"path": "empty"}, {"path": "x/y", "content": "y"}, {"path": "x"}, {"path": "z", "content_base64": "AAE=", "mode": "0600"}]);
        bench.converges(
            "copy",
            json!({"dest": "/sent", "tree": tree, "mode": "preserve"}),
        );
        assert!(bench.path("/sent/empty").is_dir());
        assert_eq!(std::fs::read(bench.path("/sent/z")).unwrap(), [0, 1]);
        for path in ["../x", "/x"] {
            let tree = json!([{"path": path, "content": ""}]);
            assert!(
                bench
                    .run("copy", json!({"dest": "/sent", "tree": tree}))
                    .failed
            );
        }
    }

    #[test]
    fn a_link_is_replaced_unless_it_is_followed() {
        let bench = Bench::new();
        bench.write("/run/stub", "stub\n");
        bench.write("/etc/keep", "");
        let link = bench.path("/etc/resolv.conf");
        std::os::unix::fs::symlink("../run/stub", &link).unwrap();
        bench.converges(
            "copy",
            json!({"dest": "/etc/resolv.conf", "content": "x\n", "follow": true}),
        );
        assert_eq!(
            (bench.read("/run/stub").as_str(), link.is_symlink()),
            ("x\n", true)
        );
        bench.converges(
            "copy",
            json!({"dest": "/etc/resolv.conf", "content": "x\n"}),
        );
        assert!(!link.is_symlink());
        let wrong = json!({"dest": "/etc/x", "content": "x", "checksum": "00"});
        assert!(bench.run("copy", wrong).msg.contains("expected checksum"));
        bench.converges(
            "template",
            json!({"src": "t", "dest": "/etc/dos", "content": "a\n", "newline_sequence": "\\r\\n"}),
        );
        assert_eq!(bench.read("/etc/dos"), "a\r\n");
    }
}
