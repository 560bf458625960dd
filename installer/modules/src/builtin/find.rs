//! `find`: files below folders.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use agent_protocol::task::TaskResult;
use regex::Regex;

use super::stat::describe;
use crate::args::Args;
use crate::attributes::parse_mode;
use crate::context::{Context, Fault, With, changed};
use crate::digest;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::{glob, lines::pattern};

pub const FIND: Module = Module::new("find", "Find files", Effect::Reads, ARGS, run);

const ARGS: &[Arg] = &[
    Arg::new("paths", Kind::List, "folders to look in")
        .aliases(&["path", "name"])
        .required(),
    Arg::new("patterns", Kind::List, "patterns of names").aliases(&["pattern"]),
    Arg::new("excludes", Kind::List, "patterns of names left out").aliases(&["exclude"]),
    Arg::new(
        "use_regex",
        Kind::Flag,
        "the patterns are regular expressions",
    )
    .default("false"),
    Arg::new(
        "contains",
        Kind::Text,
        "pattern that a line of the file must match",
    ),
    Arg::new("file_type", Kind::Text, "what is looked for")
        .choices(&["file", "directory", "link", "any"])
        .default("file"),
    Arg::new("recurse", Kind::Flag, "look below folders too").default("false"),
    Arg::new("depth", Kind::Int, "how far below"),
    Arg::new("hidden", Kind::Flag, "names that begin with a dot too").default("false"),
    Arg::new(
        "age",
        Kind::Text,
        "older than (younger with -): seconds, or a number with m, h, d, w",
    ),
    Arg::new(
        "size",
        Kind::Text,
        "larger than (smaller with -): bytes, or a number with k, m, g, t",
    ),
    Arg::new("age_stamp", Kind::Text, "which time is meant by age")
        .choices(&["atime", "ctime", "mtime"])
        .default("mtime"),
    Arg::new("mode", Kind::Mode, "permission bits"),
    Arg::new("exact_mode", Kind::Flag, "no other bits").default("true"),
    Arg::new("follow", Kind::Flag, "go into links to folders").default("false"),
    Arg::new(
        "read_whole_file",
        Kind::Flag,
        "contains may match across lines",
    )
    .default("false"),
    Arg::new("get_checksum", Kind::Flag, "with their checksums").default("false"),
    Arg::new("checksum_algorithm", Kind::Text, "which")
        .aliases(&["checksum", "checksum_algo"])
        .choices(digest::NAMES)
        .default("sha1"),
    Arg::new("limit", Kind::Int, "no more files than this"),
    Arg::new("encoding", Kind::Text, "accepted for compatibility"),
];

/// A result has to fit into one frame.
const FILES_MAX: usize = 20_000;

struct Wanted<'a> {
    patterns: Vec<Regex>,
    globs: Vec<&'a str>,
    excludes: Vec<&'a str>,
    contains: Option<Regex>,
    age: Option<i64>,
    size: Option<i64>,
    kind: &'a str,
    hidden: bool,
    depth: u64,
    stamp: &'a str,
    mode: Option<(u32, bool)>,
    follow: bool,
    checksum: Option<&'a str>,
    limit: usize,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let names = args.list("patterns").unwrap_or_default();
    let regexes = args.flag("use_regex");
    let depth = if args.flag("recurse") {
        args.int("depth").unwrap_or(i64::MAX)
    } else {
        1
    };
    let wanted = Wanted {
        patterns: if regexes {
            names
                .iter()
                .map(|text| pattern(&format!("^(?:{text})$")))
                .collect::<Result<_, _>>()
                .map_err(Fault::new)?
        } else {
            Vec::new()
        },
        globs: if regexes { Vec::new() } else { names },
        excludes: args.list("excludes").unwrap_or_default(),
        contains: args
            .text("contains")
            .map(pattern)
            .transpose()
            .map_err(Fault::new)?,
        age: args
            .text("age")
            .map(|text| {
                number(
                    text,
                    &[
                        ("s", 1),
                        ("m", 60),
                        ("h", 3600),
                        ("d", 86_400),
                        ("w", 604_800),
                    ],
                )
            })
            .transpose()?,
        size: args
            .text("size")
            .map(|text| {
                number(
                    text,
                    &[
                        ("b", 1),
                        ("k", 1 << 10),
                        ("m", 1 << 20),
                        ("g", 1 << 30),
                        ("t", 1 << 40),
                    ],
                )
            })
            .transpose()?,
        kind: args.need("file_type"),
        hidden: args.flag("hidden"),
        depth: depth.max(1) as u64,
        stamp: args.need("age_stamp"),
        mode: args
            .text("mode")
            .and_then(|text| parse_mode(text, 0, false))
            .map(|mode| (mode, args.flag("exact_mode"))),
        follow: args.flag("follow"),
        checksum: args
            .flag("get_checksum")
            .then(|| args.need("checksum_algorithm")),
        limit: args
            .int("limit")
            .map_or(usize::MAX, |limit| limit.max(1) as usize),
    };
    let (mut files, mut examined) = (Vec::new(), 0);
    let mut skipped = serde_json::Map::new();
    for path in args.list("paths").unwrap_or_default() {
        if !context.path(path).is_dir() {
            let why = format!("'{path}' is not a directory");
            skipped.insert(path.to_owned(), why.into());
            continue;
        }
        walk(
            context,
            &context.path(path),
            path,
            1,
            &wanted,
            &mut files,
            &mut examined,
        )?;
    }
    let matched = files.len();
    Ok(changed(false)
        .with("files", files)
        .with("matched", matched)
        .with("examined", examined)
        .with("skipped_paths", skipped))
}

fn walk(
    context: &Context<'_>,
    folder: &Path,
    shown: &str,
    level: u64,
    wanted: &Wanted<'_>,
    files: &mut Vec<serde_json::Value>,
    examined: &mut u64,
) -> Result<(), Fault> {
    context.go_on()?;
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if files.len() >= wanted.limit {
            break;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let (path, shown) = (
            entry.path(),
            format!("{}/{name}", shown.trim_end_matches('/')),
        );
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        *examined += 1;
        if (wanted.hidden || !name.starts_with('.')) && fits(&name, &path, &found, wanted) {
            if files.len() >= FILES_MAX {
                return Err(Fault::new(format!("more than {FILES_MAX} files match")));
            }
            let mut about = describe(&shown, &found);
            if let Some(algorithm) = wanted.checksum.filter(|_| found.is_file()) {
                let digest = digest::of_file(algorithm, &path);
                about.insert("checksum".into(), digest.ok().into());
            }
            files.push(about.into());
        }
        let is_folder = found.is_dir() || (wanted.follow && path.is_dir());
        if is_folder && level < wanted.depth && (wanted.hidden || !name.starts_with('.')) {
            walk(context, &path, &shown, level + 1, wanted, files, examined)?;
        }
    }
    Ok(())
}

fn fits(name: &str, path: &Path, found: &fs::Metadata, wanted: &Wanted<'_>) -> bool {
    let kind = match wanted.kind {
        "file" => found.is_file(),
        "directory" => found.is_dir(),
        "link" => found.is_symlink(),
        _ => true,
    };
    let named = (wanted.globs.is_empty() && wanted.patterns.is_empty())
        || wanted.globs.iter().any(|glob| glob::matches(glob, name))
        || wanted.patterns.iter().any(|pattern| pattern.is_match(name));
    let beyond = |value: i64, limit: i64| {
        if limit < 0 {
            value <= -limit
        } else {
            value >= limit
        }
    };
    let age = || {
        found
            .stamp(wanted.stamp)
            .and_then(|time| SystemTime::now().duration_since(time).ok())
            .unwrap_or(Duration::ZERO)
            .as_secs() as i64
    };
    let mode = found.mode() & 0o7777;
    kind && named
        && wanted.mode.is_none_or(|(bits, exact)| match exact {
            true => mode == bits,
            false => mode & bits != 0,
        })
        && !wanted.excludes.iter().any(|glob| glob::matches(glob, name))
        && wanted.age.is_none_or(|limit| beyond(age(), limit))
        && wanted
            .size
            .is_none_or(|limit| beyond(found.len() as i64, limit))
        && wanted.contains.as_ref().is_none_or(|pattern| {
            found.is_file()
                && fs::read(path)
                    .is_ok_and(|bytes| pattern.is_match(&String::from_utf8_lossy(&bytes)))
        })
}

trait Stamp {
    fn stamp(&self, name: &str) -> Option<SystemTime>;
}

impl Stamp for fs::Metadata {
    fn stamp(&self, name: &str) -> Option<SystemTime> {
        let since = |seconds: i64| {
            let seconds = u64::try_from(seconds).ok()?;
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        };
        match name {
            "atime" => since(self.atime()),
            "ctime" => since(self.ctime()),
            _ => since(self.mtime()),
        }
    }
}

/// A number with a unit behind it; without, it counts ones.
fn number(text: &str, units: &[(&str, i64)]) -> Result<i64, Fault> {
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    digits
        .trim()
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| Fault::new(format!("`{text}` is no number with a unit")))
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use crate::digest;
    use serde_json::json;

    #[test]
    fn files_are_found_by_name_kind_and_content() {
        let bench = Bench::new();
        for (path, content) in [
            ("/a/x.conf", "one\n"),
            ("/a/b/y.conf", "two\n"),
            ("/a/z.txt", "one\n"),
            ("/a/.h.conf", ""),
        ] {
            bench.write(path, content);
        }
        let find = |args| {
            let result = bench.run("find", args);
            result.data["files"]
                .as_array()
                .unwrap()
                .iter()
                .map(|file| file["path"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            find(json!({"paths": "/a", "patterns": "*.conf"})),
            ["/a/x.conf"]
        );
        assert_eq!(
            find(json!({"paths": "/a", "patterns": "*.conf", "recurse": true})),
            ["/a/b/y.conf", "/a/x.conf"]
        );
        assert_eq!(
            find(json!({"paths": ["/a"], "contains": "^one", "excludes": "x*"})),
            ["/a/z.txt"]
        );
        assert_eq!(
            find(json!({"paths": "/a", "file_type": "directory"})),
            ["/a/b"]
        );
        assert_eq!(
            find(
                json!({"paths": "/a", "patterns": "[xz]\\..*", "use_regex": true, "size": "-1k", "age": "-1d"})
            ),
            ["/a/x.conf", "/a/z.txt"]
        );
        assert!(find(json!({"paths": "/none"})).is_empty());
        let none = bench.run("find", json!({"paths": "/none"}));
        assert!(
            none.data["skipped_paths"]
                .as_object()
                .unwrap()
                .contains_key("/none")
        );
        bench.run("file", json!({"path": "/a/z.txt", "mode": "0600"}));
        assert_eq!(find(json!({"paths": "/a", "mode": "0600"})), ["/a/z.txt"]);
        assert_eq!(
            find(json!({"paths": "/a", "recurse": true, "limit": 1})).len(),
            1
        );
        let sums = bench.run("find", json!({"paths": "/a", "patterns": "z*", "get_checksum": true, "age_stamp": "ctime", "age": "-1h"}));
        assert_eq!(
            sums.data["files"][0]["checksum"],
            digest::of_bytes("sha1", b"one\n")
        );
    }
}
