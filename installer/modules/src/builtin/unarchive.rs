//! `unarchive`: a tar archive of the node, unpacked by the node's own tar.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const UNARCHIVE: Module = Module::new(
    "unarchive",
    "Unpack an archive",
    Effect::Converges,
    ARGS,
    run,
)
.file_args();

const ARGS: &[Arg] = &[
    Arg::new("src", Kind::Path, "the archive; it must lie on the node").required(),
    Arg::new("dest", Kind::Path, "the folder").required(),
    Arg::new("remote_src", Kind::Flag, "src lies on the node").default("false"),
    Arg::new("creates", Kind::Path, "do nothing if this is there"),
    Arg::new("extra_opts", Kind::List, "more arguments for tar"),
    Arg::new("exclude", Kind::List, "names left out"),
    Arg::new("keep_newer", Kind::Flag, "do not replace newer files").default("false"),
    Arg::new("list_files", Kind::Flag, "answer with the names").default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (src, dest) = (args.need("src"), args.need("dest"));
    if let Some(creates) = args
        .text("creates")
        .filter(|path| context.path(path).exists())
    {
        return Ok(TaskResult {
            msg: format!("skipped, since {creates} exists"),
            ..changed(false)
        });
    }
    if !args.flag("remote_src") {
        return Err(Fault::new(
            "unarchive takes archives that lie on the node: copy it first and say remote_src=true",
        ));
    }
    let (archive, folder) = (
        context.path(src).display().to_string(),
        context.path(dest).display().to_string(),
    );
    if !context.path(dest).is_dir() {
        return Err(Fault::new(format!("dest '{dest}' must be an existing dir")));
    }
    let mut options: Vec<String> = args
        .list("exclude")
        .unwrap_or_default()
        .iter()
        .map(|name| format!("--exclude={name}"))
        .collect();
    options.extend(
        args.list("extra_opts")
            .unwrap_or_default()
            .iter()
            .map(|option| (*option).to_owned()),
    );
    let tar = |verb: &'static str| {
        ["tar", verb, "-C", &folder]
            .into_iter()
            .map(str::to_owned)
            .chain(options.iter().cloned())
            .chain(["-f".to_owned(), archive.clone()])
            .collect::<Vec<_>>()
    };
    let run_tar = |context: &mut Context<'_>, argv: &[String]| {
        context.output(&argv.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Status 1 of --diff: something differs; 2: a file is missing, or the archive cannot be read.
    let compared = run_tar(context, &tar("--diff"))?;
    let mut result = changed(compared.rc != 0)
        .with("dest", dest)
        .with("src", src);
    if result.changed {
        let listed = run_tar(context, &tar("--list"))?;
        if listed.rc != 0 {
            return Err(Fault::WithData {
                msg: format!("Failed to read {src}: {}", listed.stderr.trim()),
                data: listed.data(),
            });
        }
        if args.flag("list_files") {
            result = result.with("files", listed.stdout.lines().collect::<Vec<_>>());
        }
        if !context.check {
            let mut argv = tar("--extract");
            if args.flag("keep_newer") {
                argv.insert(2, "--keep-newer-files".into());
            }
            let unpacked = run_tar(context, &argv)?;
            if unpacked.rc != 0 {
                return Err(Fault::WithData {
                    msg: format!("Failed to unpack {src}: {}", unpacked.stderr.trim()),
                    data: unpacked.data(),
                });
            }
        }
    }
    result.changed |= Attributes::of(context, args)?.apply(context, &context.path(dest))?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn an_archive_is_unpacked_once() {
        let bench = Bench::new();
        bench.write("/in/a/b.txt", "text");
        bench.write("/out/keep", "");
        let made = std::process::Command::new("tar")
            .args(["-czf"])
            .arg(bench.path("/a.tgz"))
            .arg("-C")
            .arg(bench.path("/in"))
            .arg("a")
            .status()
            .unwrap();
        assert!(made.success());
        bench.converges(
            "unarchive",
            json!({"src": "/a.tgz", "dest": "/out", "remote_src": true}),
        );
        assert_eq!(bench.read("/out/a/b.txt"), "text");
        bench.write("/bad.tgz", "no archive");
        assert!(
            bench
                .run(
                    "unarchive",
                    json!({"src": "/bad.tgz", "dest": "/out", "remote_src": true})
                )
                .msg
                .starts_with("Failed to read")
        );
        assert!(
            bench
                .run(
                    "unarchive",
                    json!({"src": "/a.tgz", "dest": "/none", "remote_src": true})
                )
                .failed
        );
    }
}
