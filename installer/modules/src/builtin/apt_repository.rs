//! `apt_repository`: a repository of packages, as a line of `sources.list`.
use std::fs;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::sources::{enable, file_name, parse, remove};
use crate::write::{Wish, place};

pub const APT_REPOSITORY: Module = Module::new(
    "apt_repository",
    "Take packages from a repository",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("repo", Kind::Text, "a line as of sources.list").required(),
    Arg::new("state", Kind::Text, "whether it is used")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new(
        "filename",
        Kind::Text,
        "file below sources.list.d, without .list",
    ),
    Arg::new("mode", Kind::Mode, "permission bits of that file"),
    Arg::new(
        "update_cache",
        Kind::Flag,
        "fetch the lists of packages after a change",
    )
    .aliases(&["update-cache"])
    .default("true"),
    Arg::new("update_cache_retries", Kind::Int, "tries to fetch them").default("5"),
    Arg::new(
        "update_cache_retry_max_delay",
        Kind::Int,
        "most seconds between tries",
    )
    .default("12"),
    Arg::new(
        "codename",
        Kind::Text,
        "accepted for compatibility: only of PPAs",
    ),
    Arg::new(
        "install_python_apt",
        Kind::Flag,
        "accepted for compatibility",
    )
    .default("true"),
    Arg::new(
        "validate_certs",
        Kind::Flag,
        "accepted for compatibility: only of PPAs",
    )
    .default("true"),
];

const MAIN: &str = "/etc/apt/sources.list";
const FOLDER: &str = "/etc/apt/sources.list.d";

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let repo = args.need("repo").trim();
    if repo.starts_with("ppa:") {
        return Err(Fault::new(
            "PPAs are Ubuntu's: name the repository as `deb ADDRESS SUITE COMPONENT`",
        ));
    }
    let Some((true, source)) = parse(repo) else {
        return Err(Fault::new(format!("Invalid repository string: {repo}")));
    };
    let present = args.need("state") == "present";
    let mut files = vec![MAIN.to_owned()];
    let mut parts: Vec<String> = fs::read_dir(context.path(FOLDER))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".list"))
        .map(|name| format!("{FOLDER}/{name}"))
        .collect();
    parts.sort();
    files.extend(parts);
    // Name, what is there, what is to be there; `None`: no file.
    let mut edits: Vec<(String, Option<String>, Option<String>)> = Vec::new();
    let mut found = false;
    for file in files {
        let Ok(before) = fs::read_to_string(context.path(&file)) else {
            continue;
        };
        let after = match present {
            true => match enable(&before, &source) {
                Some(after) => {
                    found = true;
                    after
                }
                None => continue,
            },
            false => remove(&before, &source),
        };
        if before != after {
            // A file of its own that names nothing any more goes.
            let is_empty = file != MAIN && after.trim().is_empty();
            edits.push((file, Some(before), (!is_empty).then_some(after)));
        }
        if found {
            break;
        }
    }
    if present && !found {
        let name = args
            .text("filename")
            .map_or_else(|| file_name(&source), str::to_owned);
        if name.is_empty() || name.starts_with('.') {
            return Err(Fault::new(format!("`{name}` is no name of a file")));
        }
        // As in Ansible, a path is a path.
        let file = match name.starts_with('/') {
            true => name,
            false if name.contains('/') => {
                return Err(Fault::new("filename is a name, or a whole path"));
            }
            false => format!("{FOLDER}/{name}.list"),
        };
        let before = fs::read_to_string(context.path(&file)).ok();
        let mut after = before.clone().unwrap_or_default();
        if !after.is_empty() && !after.ends_with('\n') {
            after.push('\n');
        }
        after.push_str(&format!("{source}\n"));
        edits.push((file, before, Some(after)));
    }
    let mut result = changed(!edits.is_empty());
    let named = |added: bool| -> Vec<String> {
        edits
            .iter()
            .filter(|(_, before, after)| {
                if added {
                    before.is_none()
                } else {
                    after.is_none()
                }
            })
            .map(|(file, ..)| file.clone())
            .collect()
    };
    result = result
        .with("repo", repo)
        .with("state", args.need("state"))
        .with("sources_added", named(true))
        .with("sources_removed", named(false));
    for (file, before, after) in &edits {
        let (before, after) = (
            before.as_deref().unwrap_or_default(),
            after.as_deref().unwrap_or_default(),
        );
        result.diff.extend(context.diff_of(file, before, after));
    }
    if edits.is_empty() || context.check {
        return Ok(result);
    }
    let mode = args.text("mode").or(Some("0644"));
    for (file, before, after) in &edits {
        put(
            context,
            file,
            after.as_deref(),
            before.is_none().then_some(mode).flatten(),
        )?;
    }
    if args.flag("update_cache")
        && let Err(fault) = super::apt::update(context, args)
    {
        // apt could not even start with a source that it does not understand or reach.
        for (file, before, _) in &edits {
            put(context, file, before.as_deref(), None)?;
        }
        return Err(fault);
    }
    Ok(result)
}

fn put(
    context: &mut Context<'_>,
    file: &str,
    text: Option<&str>,
    mode: Option<&str>,
) -> Result<(), Fault> {
    let path = context.path(file);
    let Some(text) = text else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::io(format!("remove {file}"))(error))
            }
            _ => Ok(()),
        };
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Fault::io(format!("make {}", folder.display())))?;
    }
    place(
        context,
        Wish {
            dest: file,
            content: text.as_bytes(),
            attributes: Attributes::new(mode, None, None),
            validate: None,
            backup: false,
        },
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    const REPO: &str = "deb [arch=amd64] http://repo.example/deb stable main";

    #[test]
    fn a_repository_comes_and_goes() {
        let bench = Bench::new();
        bench.write(
            "/etc/apt/sources.list",
            "deb http://mirror.example/debian bookworm main\n",
        );
        bench.write("/etc/apt/sources.list.d/keep", "");
        bench.write("/var/lib/apt/periodic/update-success-stamp", "");
        bench.program("apt-get", "echo \"$@\" >> $ROOT/calls.log");
        let made = bench.converges("apt_repository", json!({"repo": REPO}));
        assert_eq!(
            made.data["sources_added"],
            json!(["/etc/apt/sources.list.d/repo_example_deb.list"])
        );
        assert_eq!(bench.read("/calls.log").lines().count(), 1);
        bench.converges("apt_repository", json!({"repo": REPO, "state": "absent"}));
        assert!(
            !bench
                .path("/etc/apt/sources.list.d/repo_example_deb.list")
                .exists()
        );
        assert!(
            !bench
                .run(
                    "apt_repository",
                    json!({"repo": "deb  http://mirror.example/debian bookworm   main"})
                )
                .changed
        );
        bench.converges(
            "apt_repository",
            json!({"repo": REPO, "filename": "mine", "update_cache": false}),
        );
        assert_eq!(
            bench.read("/etc/apt/sources.list.d/mine.list"),
            format!("{REPO}\n")
        );
    }

    #[test]
    fn one_that_cannot_be_reached_is_taken_back() {
        let bench = Bench::new();
        bench.write("/etc/apt/sources.list", "");
        bench.program("apt-get", "echo unreachable >&2; exit 100");
        let failed = bench.run(
            "apt_repository",
            json!({"repo": REPO, "update_cache_retries": 0}),
        );
        assert!(failed.msg.contains("unreachable"), "{failed:?}");
        assert_eq!(
            std::fs::read_dir(bench.path("/etc/apt/sources.list.d"))
                .unwrap()
                .count(),
            0
        );
        for repo in ["nonsense", "ppa:a/b", "# deb http://a b c"] {
            assert!(bench.run("apt_repository", json!({"repo": repo})).failed);
        }
    }
}
