//! `tempfile`: a new empty file or folder under a name that nobody can guess.
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::with_file;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const TEMPFILE: Module = Module::new(
    "tempfile",
    "Make a temporary file or folder",
    Effect::Once,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("state", Kind::Text, "what is made")
        .choices(&["file", "directory"])
        .default("file"),
    Arg::new(
        "path",
        Kind::Path,
        "where; the system's own folder unless set",
    ),
    Arg::new("prefix", Kind::Text, "how its name begins").default("ansible."),
    Arg::new("suffix", Kind::Text, "how its name ends").default(""),
];

const TRIES_MAX: usize = 100;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    if context.check {
        return Ok(TaskResult {
            skipped: true,
            msg: "nothing is made in check mode".into(),
            ..changed(false)
        });
    }
    let (prefix, suffix) = (args.need("prefix"), args.need("suffix"));
    if prefix.contains('/') || suffix.contains('/') {
        return Err(Fault::new(
            "prefix and suffix are parts of a name, without /",
        ));
    }
    let variable = context
        .environment
        .iter()
        .rev()
        .find(|(name, _)| name == "TMPDIR");
    let folder = args
        .text("path")
        .map(|path| context.expand(path).into_owned())
        .or_else(|| variable.map(|(_, folder)| folder.clone()))
        .unwrap_or_else(|| "/tmp".into());
    for _ in 0..TRIES_MAX {
        let name = random_name().map_err(Fault::io("read random bytes"))?;
        let file = format!("{}/{prefix}{name}{suffix}", folder.trim_end_matches('/'));
        let path = context.path(&file);
        let made = match args.need("state") {
            "directory" => DirBuilder::new().mode(0o700).create(&path),
            _ => OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map(drop),
        };
        match made {
            Ok(()) => return Ok(with_file(context, changed(true).with("path", file), &path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Fault::io(format!("make {file}"))(error)),
        }
    }
    Err(Fault::new(format!("no free name was found in {folder}")))
}

fn random_name() -> io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn each_run_makes_another() {
        let bench = Bench::new();
        std::fs::create_dir(bench.path("/tmp")).unwrap();
        let make = || bench.run("tempfile", json!({"suffix": ".x"})).data["path"].clone();
        let (one, two) = (make(), make());
        assert_ne!(one, two);
        assert!(bench.path(one.as_str().unwrap()).is_file());
        let folder = bench.run("tempfile", json!({"state": "directory", "path": "/tmp"}));
        assert_eq!(folder.data["mode"], "0700");
        assert!(bench.run("tempfile", json!({"path": "/none"})).failed);
        assert!(bench.run("tempfile", json!({"prefix": "../"})).failed);
    }
}
