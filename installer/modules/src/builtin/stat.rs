//! `stat`: what is known of a file.
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use agent_protocol::task::TaskResult;
use nix::unistd::AccessFlags;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::attributes::name_of;
use crate::context::{Context, Fault, With, changed};
use crate::digest;
use crate::spec::{Arg, Effect, Kind, Module};

pub const STAT: Module = Module::new(
    "stat",
    "Tell what is known of a file",
    Effect::Reads,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("path", Kind::Path, "the file")
        .aliases(&["dest", "name"])
        .required(),
    Arg::new("follow", Kind::Flag, "of what a link leads to").default("false"),
    Arg::new("get_checksum", Kind::Flag, "with its checksum").default("true"),
    Arg::new("checksum_algorithm", Kind::Text, "which")
        .aliases(&["checksum", "checksum_algo"])
        .choices(digest::NAMES)
        .default("sha1"),
    Arg::new(
        "get_mime",
        Kind::Flag,
        "accepted for compatibility, not answered",
    )
    .aliases(&["mime", "mime_type", "mime-type"])
    .default("false"),
    Arg::new(
        "get_attributes",
        Kind::Flag,
        "accepted for compatibility, not answered",
    )
    .aliases(&["attr", "attributes"])
    .default("false"),
    Arg::new(
        "get_md5",
        Kind::Flag,
        "accepted for compatibility, not answered",
    )
    .default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("path");
    let path = context.path(name);
    let found = if args.flag("follow") {
        fs::metadata(&path)
    } else {
        fs::symlink_metadata(&path)
    };
    let Ok(found) = found else {
        return Ok(changed(false).with("stat", json!({"exists": false})));
    };
    let mut stat = describe(name, &found);
    if let Ok(target) = fs::read_link(&path) {
        stat.insert("lnk_target".into(), target.to_string_lossy().into());
        stat.insert(
            "lnk_source".into(),
            fs::canonicalize(&path)
                .unwrap_or(target)
                .to_string_lossy()
                .into(),
        );
    }
    for (key, mode) in [
        ("readable", AccessFlags::R_OK),
        ("writeable", AccessFlags::W_OK),
        ("executable", AccessFlags::X_OK),
    ] {
        stat.insert(key.into(), nix::unistd::access(&path, mode).is_ok().into());
    }
    for (key, file, id) in [
        ("pw_name", "/etc/passwd", found.uid()),
        ("gr_name", "/etc/group", found.gid()),
    ] {
        if let Some(name) = fs::read_to_string(context.path(file))
            .ok()
            .and_then(|table| name_of(&table, id).map(str::to_owned))
        {
            stat.insert(key.into(), name.into());
        }
    }
    if found.is_file() && args.flag("get_checksum") {
        let digest = digest::of_file(args.need("checksum_algorithm"), &path);
        stat.insert(
            "checksum".into(),
            digest.map_err(Fault::io(format!("read {name}")))?.into(),
        );
    }
    Ok(changed(false).with("stat", stat))
}

/// Ansible's fields that follow from the inode alone.
pub fn describe(path: &str, found: &fs::Metadata) -> Map<String, Value> {
    let (mode, kind) = (found.mode() & 0o7777, found.file_type());
    let bit = |bit: u32| Value::from(mode & bit != 0);
    let time =
        |seconds: i64, nanoseconds: i64| Value::from(seconds as f64 + nanoseconds as f64 / 1e9);
    Map::from_iter(
        [
            ("exists", true.into()),
            ("path", path.into()),
            ("mode", format!("{mode:04o}").into()),
            ("isdir", kind.is_dir().into()),
            ("isreg", kind.is_file().into()),
            ("islnk", kind.is_symlink().into()),
            ("issock", kind.is_socket().into()),
            ("isfifo", kind.is_fifo().into()),
            ("isblk", kind.is_block_device().into()),
            ("ischr", kind.is_char_device().into()),
            ("uid", found.uid().into()),
            ("gid", found.gid().into()),
            ("size", found.size().into()),
            ("inode", found.ino().into()),
            ("dev", found.dev().into()),
            ("nlink", found.nlink().into()),
            ("atime", time(found.atime(), found.atime_nsec())),
            ("mtime", time(found.mtime(), found.mtime_nsec())),
            ("ctime", time(found.ctime(), found.ctime_nsec())),
            ("rusr", bit(0o400)),
            ("wusr", bit(0o200)),
            ("xusr", bit(0o100)),
            ("rgrp", bit(0o40)),
            ("wgrp", bit(0o20)),
            ("xgrp", bit(0o10)),
            ("roth", bit(0o4)),
            ("woth", bit(0o2)),
            ("xoth", bit(0o1)),
            ("isuid", bit(0o4000)),
            ("isgid", bit(0o2000)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_file_is_described_by_ansibles_names() {
        let bench = Bench::new();
        assert_eq!(
            bench.run("stat", json!({"path": "/none"})).data["stat"],
            json!({"exists": false})
        );
        bench.write("/file", "text");
        bench.run("file", json!({"path": "/file", "mode": "0640"}));
        let stat = &bench.run("stat", json!({"path": "/file"})).data["stat"];
        assert_eq!(
            (&stat["mode"], &stat["size"], &stat["isreg"]),
            (&json!("0640"), &json!(4), &json!(true))
        );
        assert_eq!(stat["checksum"], "372ea08cab33e71c02c651dbc83a474d32c676ea");
    }
}
