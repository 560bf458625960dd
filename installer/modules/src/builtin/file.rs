//! `file`: folders, links, empty files, attributes, and their absence.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::{Attributes, with_file};
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const FILE: Module = Module::new(
    "file",
    "Make or remove folders, links and empty files; set attributes",
    Effect::Converges,
    ARGS,
    run,
)
.file_args();

const ARGS: &[Arg] = &[
    Arg::new("path", Kind::Path, "what is managed")
        .aliases(&["dest", "name"])
        .required(),
    Arg::new("state", Kind::Text, "file: only attributes").choices(&[
        "file",
        "directory",
        "absent",
        "touch",
        "link",
        "hard",
    ]),
    Arg::new("src", Kind::Path, "what a link leads to"),
    Arg::new(
        "recurse",
        Kind::Flag,
        "attributes of all below a folder too",
    )
    .default("false"),
    Arg::new("force", Kind::Flag, "replace what is no link").default("false"),
    Arg::new("follow", Kind::Flag, "attributes of what a link leads to").default("true"),
    Arg::new(
        "modification_time",
        Kind::Text,
        "preserve: touch changes no time",
    )
    .choices(&["preserve", "now"]),
    Arg::new("access_time", Kind::Text, "preserve: touch changes no time")
        .choices(&["preserve", "now"]),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("path");
    let path = context.path(name);
    let attributes = Attributes::of(context, args)?;
    let was = attributes.picture(&path);
    let is_folder = path.is_dir();
    let default = if args.text("src").is_some() {
        "link"
    } else if is_folder {
        "directory"
    } else {
        "file"
    };
    let state = args.text("state").unwrap_or(default);
    let done = match state {
        "absent" => remove(context, &path)?,
        "directory" => {
            folder(context, &path, &attributes)?
                | apply(context, &path, &attributes, args.flag("recurse"))?
        }
        "touch" => touch(context, &path, args)? | attributes.apply(context, &path)?,
        "link" | "hard" => {
            let src = args
                .text("src")
                .ok_or_else(|| Fault::new("src is required for creating links"))?;
            let hard = state == "hard";
            let target = match src.starts_with(['/', '~']) || hard {
                true => context.path(src),
                false => path.parent().unwrap_or(Path::new("/")).join(src),
            };
            let is_there = target.symlink_metadata().is_ok();
            if !is_there && !args.flag("force") && !context.check {
                return Err(Fault::new(format!(
                    "src file does not exist, use \"force=yes\" if you really want to create the link: {src}"
                )));
            }
            let linked = link(context, &path, src, hard, args.flag("force"))?;
            let reached = hard || (args.flag("follow") && target.exists());
            linked
                | match reached {
                    true => attributes.apply(context, &path)?,
                    false => attributes.apply_to_link(context, &path)?,
                }
        }
        _ => {
            if !path.exists() {
                if context.check {
                    return Ok(TaskResult {
                        msg: format!("file ({name}) is absent, cannot continue"),
                        ..changed(true)
                    });
                }
                return Err(Fault::new(format!(
                    "file ({name}) is absent, cannot continue"
                )));
            }
            apply(context, &path, &attributes, args.flag("recurse"))?
        }
    };
    let now = attributes.picture(&path);
    let mut result = changed(done)
        .with("path", name)
        .with("dest", name)
        .with("state", state);
    if done && matches!(state, "absent" | "directory") {
        let (before, after) = if state == "absent" {
            ("present\n", "absent\n")
        } else {
            ("absent\n", "directory\n")
        };
        result.diff = context.diff_of(name, before, after);
    }
    if state != "absent" {
        let after = match context.check {
            true => attributes.wished(&path),
            false => now,
        };
        result.diff.extend(context.diff_of(name, &was, &after));
        result = with_file(context, result, &path);
        if let Some(src) = args.text("src") {
            result = result.with("src", src);
        }
        result = result.with(
            "state",
            if path.exists() || path.is_symlink() {
                kind_of(&path)
            } else {
                state
            },
        );
    }
    Ok(result)
}

fn remove(context: &Context<'_>, path: &Path) -> Result<bool, Fault> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(false);
    };
    if context.check {
        return Ok(true);
    }
    let removed = if found.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(Fault::io(format!("remove {}", path.display())))?;
    Ok(true)
}

fn kind_of(path: &Path) -> &'static str {
    use std::os::unix::fs::MetadataExt;
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => "directory",
        Ok(found) if found.is_symlink() => "link",
        Ok(found) if found.nlink() > 1 => "hard",
        Ok(_) => "file",
        Err(_) => "absent",
    }
}

/// Makes the folder and those above it, all new ones with these attributes.
fn folder(context: &Context<'_>, path: &Path, attributes: &Attributes) -> Result<bool, Fault> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(false),
        Ok(_) => {
            return Err(Fault::new(format!(
                "{} already exists as a file",
                path.display()
            )));
        }
        Err(_) => {}
    }
    if !context.check {
        if let Some(above) = path.parent().filter(|above| !above.exists()) {
            folder(context, above, attributes)?;
        }
        match fs::create_dir(path) {
            // Another one may have made it in this moment.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Fault::io(format!("make {}", path.display()))(error));
            }
            _ => attributes.apply(context, path)?,
        };
    }
    Ok(true)
}

/// Attributes of one path, and of all below it.
fn apply(
    context: &Context<'_>,
    path: &Path,
    attributes: &Attributes,
    recurse: bool,
) -> Result<bool, Fault> {
    let mut done = attributes.apply(context, path)?;
    if !recurse || !path.is_dir() {
        return Ok(done);
    }
    context.go_on()?;
    for entry in fs::read_dir(path)
        .map_err(Fault::io(format!("read {}", path.display())))?
        .flatten()
    {
        // A link may lead out of the folder that was meant.
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            done |= apply(context, &entry.path(), attributes, true)?;
        }
    }
    Ok(done)
}

fn touch(context: &Context<'_>, path: &Path, args: &Args) -> Result<bool, Fault> {
    let preserve = args.text("modification_time") == Some("preserve")
        && args.text("access_time") == Some("preserve");
    if path.exists() && preserve {
        return Ok(false);
    }
    if !context.check {
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(Fault::io(format!("touch {}", path.display())))?;
        let now = std::time::SystemTime::now();
        file.set_times(fs::FileTimes::new().set_accessed(now).set_modified(now))
            .map_err(Fault::io(format!("touch {}", path.display())))?;
    }
    Ok(true)
}

pub fn link(
    context: &Context<'_>,
    path: &Path,
    src: &str,
    hard: bool,
    force: bool,
) -> Result<bool, Fault> {
    let target = if hard { context.path(src) } else { src.into() };
    match fs::symlink_metadata(path) {
        Ok(_) if !hard && fs::read_link(path).is_ok_and(|now| now == target) => return Ok(false),
        // A link that leads elsewhere is led here without being asked twice.
        Ok(found) if !hard && found.is_symlink() => {}
        Ok(_) if hard && is_same_file(path, &target) => return Ok(false),
        Ok(found) if found.is_dir() && !force => {
            return Err(Fault::new(format!(
                "refusing to convert from directory to link: {}",
                path.display()
            )));
        }
        Ok(_) if !force => {
            return Err(Fault::new(format!(
                "refusing to convert from file to link without force: {}",
                path.display()
            )));
        }
        _ => {}
    }
    if context.check {
        return Ok(true);
    }
    let what = format!("link {}", path.display());
    // Made beside and moved over: the name never leads nowhere.
    let temporary = path.with_file_name(format!(
        ".{}.wright-{}",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let _ = fs::remove_file(&temporary);
    let made = if hard {
        fs::hard_link(&target, &temporary)
    } else {
        symlink(&target, &temporary)
    };
    made.map_err(Fault::io(what.clone()))?;
    if force && path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path).map_err(Fault::io(what.clone()))?;
    }
    fs::rename(&temporary, path).map_err(Fault::io(what))?;
    Ok(true)
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| {
        fs::metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .ok()
    };
    id(a).is_some() && id(a) == id(b)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn folders_links_and_absence_converge() {
        let bench = Bench::new();
        bench.converges(
            "file",
            json!({"path": "/etc/wright/x", "state": "directory", "mode": "0750"}),
        );
        bench.write("/etc/wright/x/a/b", "");
        bench.converges("file", json!({"path": "/etc/wright/x", "state": "directory", "mode": "u=rwX,go=", "recurse": true}));
        bench.converges(
            "file",
            json!({"path": "/etc/link", "src": "wright/x", "state": "link"}),
        );
        bench.converges(
            "file",
            json!({"path": "/etc/link", "src": "wright", "state": "link"}),
        );
        bench.converges(
            "file",
            json!({"path": "/etc/hard", "src": "/etc/wright/x/a/b", "state": "hard"}),
        );
        bench.converges("file", json!({"dest": "/etc/touched", "state": "touch", "modification_time": "preserve", "access_time": "preserve"}));
        bench.converges("file", json!({"path": "/etc/touched", "mode": "0600"}));
        bench.converges("file", json!({"path": "/etc/wright", "state": "absent"}));
        assert!(!bench.path("/etc/wright").exists());
    }

    #[test]
    fn what_would_lose_data_is_refused() {
        let bench = Bench::new();
        bench.write("/etc/file", "");
        assert!(
            bench
                .run("file", json!({"path": "/etc/file", "state": "directory"}))
                .failed
        );
        assert!(
            bench
                .run(
                    "file",
                    json!({"path": "/etc/file", "state": "link", "src": "x"})
                )
                .failed
        );
        assert!(
            bench
                .run("file", json!({"path": "/etc/other", "mode": "0600"}))
                .failed
        );
        bench.converges(
            "file",
            json!({"path": "/etc/file", "state": "link", "src": "x", "force": true}),
        );
        let dangling = bench.run(
            "file",
            json!({"path": "/etc/new", "state": "link", "src": "none"}),
        );
        assert!(dangling.msg.contains("force=yes"), "{dangling:?}");
    }

    #[test]
    fn attributes_are_told_before_and_after() {
        let bench = Bench::new();
        bench.write("/etc/x", "");
        bench.run("file", json!({"path": "/etc/x", "mode": "0644"}));
        let foretold = bench.check("file", json!({"path": "/etc/x", "mode": "0600"}));
        let done = bench.run("file", json!({"path": "/etc/x", "mode": "0600"}));
        assert_eq!(foretold.diff, done.diff);
        assert!(
            done.diff[0].before.contains("0644") && done.diff[0].after.contains("0600"),
            "{done:?}"
        );
        assert_eq!(
            (&done.data["mode"], &done.data["state"]),
            (&json!("0600"), &json!("file"))
        );
        // All folders that are made get the mode, those that are there keep theirs.
        bench.run(
            "file",
            json!({"path": "/etc/a/b/c", "state": "directory", "mode": "0700"}),
        );
        assert_eq!(
            bench.run("stat", json!({"path": "/etc/a/b"})).data["stat"]["mode"],
            "0700"
        );
    }
}
