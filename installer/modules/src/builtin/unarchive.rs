//! `unarchive`: an archive, unpacked by the node's own tar or unzip.
//!
//! The archive lies on the node (`remote_src`), is fetched (an address), or comes with the task.
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use agent_protocol::task::TaskResult;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::args::Args;
use crate::attributes::{Attributes, with_file};
use crate::context::{Context, Fault, With, changed};
use crate::http;
use crate::process::Output;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::glob;

pub const UNARCHIVE: Module = Module::new(
    "unarchive",
    "Unpack an archive",
    Effect::Converges,
    ARGS,
    run,
)
.file_args()
.exclusive(&[&["include", "exclude"]]);

const ARGS: &[Arg] = &[
    Arg::new(
        "src",
        Kind::Path,
        "the archive; with remote_src on the node, or an address",
    )
    .required(),
    Arg::new("dest", Kind::Path, "the folder").required(),
    Arg::new(
        "content_base64",
        Kind::Text,
        "an archive of the controller; the controller fills it in",
    ),
    Arg::new("remote_src", Kind::Flag, "src lies on the node").default("false"),
    Arg::new("copy", Kind::Flag, "the opposite of remote_src"),
    Arg::new("creates", Kind::Path, "do nothing if this is there"),
    Arg::new("extra_opts", Kind::List, "more arguments for tar or unzip"),
    Arg::new("exclude", Kind::List, "names left out"),
    Arg::new("include", Kind::List, "only these"),
    Arg::new("keep_newer", Kind::Flag, "do not replace newer files").default("false"),
    Arg::new("list_files", Kind::Flag, "answer with the names").default("false"),
    Arg::new("io_buffer_size", Kind::Int, "accepted for compatibility"),
    http::VALIDATE_CERTS,
];

/// A result has to fit into one frame.
const FILES_MAX: usize = 20_000;
const ARCHIVE_BYTES_MAX: u64 = 16 << 30;

/// An archive on the node; one that was put there for this task goes with this value.
struct Archive {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_file(&self.path);
        }
    }
}

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
    if !context.path(dest).is_dir() {
        if context.check {
            // An earlier task may be about to make it.
            return Ok(TaskResult {
                msg: format!("dest '{dest}' is not there yet"),
                ..changed(true)
            });
        }
        return Err(Fault::new(format!("dest '{dest}' must be an existing dir")));
    }
    let Some(archive) = fetch(context, args)? else {
        return Ok(TaskResult {
            msg: format!("{src} is not there yet"),
            ..changed(true)
        });
    };
    let folder = context.path(dest);
    let tool = match is_zip(&archive.path) {
        true => Tool::Unzip,
        false => Tool::Tar,
    };
    let shown = http::without_credentials(src).0;
    let names = tool.list(context, args, &archive.path, &shown)?;
    let differs = tool.differs(context, args, &archive.path, &folder, &names)?;
    let mut result = changed(differs)
        .with("dest", dest)
        .with("src", shown.as_str())
        .with("handler", tool.handler());
    if differs && !context.check {
        let unpacked = tool.unpack(context, args, &archive.path, &folder)?;
        if unpacked.rc != 0 {
            return Err(Fault::WithData {
                msg: format!("Failed to unpack {shown}: {}", unpacked.stderr.trim()),
                data: unpacked.data(),
            });
        }
    }
    let attributes = Attributes::of(context, args)?;
    if attributes.uid.is_some() || attributes.gid.is_some() || attributes.has_mode() {
        for path in names
            .iter()
            .map(|name| folder.join(name))
            .filter(|path| path.exists())
        {
            result.changed |= attributes.apply(context, &path)?;
        }
    }
    if args.flag("list_files") {
        result = result.with(
            "files",
            names.into_iter().take(FILES_MAX).collect::<Vec<_>>(),
        );
    }
    Ok(with_file(context, result, &folder))
}

/// `None` in check mode if it is not there yet.
fn fetch(context: &mut Context<'_>, args: &Args) -> Result<Option<Archive>, Fault> {
    let src = args.need("src");
    let temporary = |context: &Context<'_>| -> Result<(Archive, fs::File), Fault> {
        let path = context.path(&format!("/tmp/.wright-archive-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Fault::io("write the archive"))?;
        let archive = Archive {
            path,
            temporary: true,
        };
        Ok((archive, file))
    };
    if let Some(coded) = args.text("content_base64") {
        let bytes = BASE64_STANDARD
            .decode(coded)
            .map_err(|error| Fault::new(format!("content_base64 is not base64: {error}")))?;
        let (archive, mut file) = temporary(context)?;
        file.write_all(&bytes)
            .map_err(Fault::io("write the archive"))?;
        return Ok(Some(archive));
    }
    let remote = args.flag("remote_src") || args.given_flag("copy") == Some(false);
    if !remote {
        return Err(Fault::new("the archive did not come with the task"));
    }
    if src.starts_with("http://") || src.starts_with("https://") {
        let (archive, mut file) = temporary(context)?;
        http::fetch_into(context, args, src, &mut file, ARCHIVE_BYTES_MAX)?;
        return Ok(Some(archive));
    }
    let path = context.path(src);
    if !path.exists() {
        return match context.check {
            true => Ok(None),
            false => Err(Fault::new(format!("Source '{src}' does not exist"))),
        };
    }
    Ok(Some(Archive {
        path,
        temporary: false,
    }))
}

fn is_zip(path: &Path) -> bool {
    let mut start = [0; 4];
    fs::File::open(path)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
        .is_ok_and(|()| &start == b"PK\x03\x04" || &start == b"PK\x05\x06")
}

#[derive(Clone, Copy)]
enum Tool {
    Tar,
    Unzip,
}

impl Tool {
    fn handler(self) -> &'static str {
        match self {
            Tool::Tar => "TgzArchive",
            Tool::Unzip => "ZipArchive",
        }
    }

    fn tar(
        self,
        context: &mut Context<'_>,
        args: &Args,
        verb: &[&str],
        archive: &Path,
        folder: Option<&Path>,
    ) -> Result<Output, Fault> {
        let mut argv: Vec<String> = vec!["tar".into()];
        argv.extend(verb.iter().map(|word| (*word).to_owned()));
        if let Some(folder) = folder {
            argv.extend(["-C".to_owned(), folder.display().to_string()]);
        }
        for name in args.list("exclude").unwrap_or_default() {
            argv.push(format!("--exclude={name}"));
        }
        argv.extend(
            args.list("extra_opts")
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned),
        );
        argv.extend(["-f".to_owned(), archive.display().to_string()]);
        let include = args.list("include").unwrap_or_default();
        if !include.is_empty() {
            argv.push("--wildcards".into());
            argv.extend(include.into_iter().map(str::to_owned));
        }
        context.output(&argv.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Paths of what is unpacked, below the folder.
    fn list(
        self,
        context: &mut Context<'_>,
        args: &Args,
        archive: &Path,
        shown: &str,
    ) -> Result<Vec<String>, Fault> {
        let path = archive.display().to_string();
        let output = match self {
            // Verbose output would be something else than names; --show-transformed-names has those after --strip-components.
            Tool::Tar => self.tar(
                context,
                args,
                &[
                    "--list",
                    "--show-transformed-names",
                    "--quoting-style=literal",
                ],
                archive,
                None,
            )?,
            Tool::Unzip => context.output(&["unzip", "-Z1", &path])?,
        };
        if output.rc != 0 {
            return Err(Fault::WithData {
                msg: format!("Failed to read {shown}: {}", output.stderr.trim()),
                data: output.data(),
            });
        }
        let (exclude, include) = (args.list("exclude"), args.list("include"));
        let names = output
            .stdout
            .lines()
            .map(|name| name.trim_start_matches("./").trim_end_matches('/'));
        Ok(names
            .filter(|name| !name.is_empty())
            .filter(|name| match self {
                Tool::Tar => true,
                Tool::Unzip => {
                    let any = |list: &Option<Vec<&str>>| {
                        list.as_ref()
                            .is_some_and(|list| list.iter().any(|glob| glob::matches(glob, name)))
                    };
                    !any(&exclude) && (include.is_none() || any(&include))
                }
            })
            .map(str::to_owned)
            .collect())
    }

    fn differs(
        self,
        context: &mut Context<'_>,
        args: &Args,
        archive: &Path,
        folder: &Path,
        names: &[String],
    ) -> Result<bool, Fault> {
        match self {
            Tool::Tar => {
                let output = self.tar(context, args, &["--diff"], archive, Some(folder))?;
                if output.rc == 0 {
                    return Ok(false);
                }
                // What the arguments themselves set is no difference to the archive.
                let attributes = Attributes::of(context, args)?;
                let own = [
                    (attributes.has_mode(), "Mode differs"),
                    (attributes.uid.is_some(), "Uid differs"),
                    (attributes.gid.is_some(), "Gid differs"),
                    (args.flag("keep_newer"), "Mod time differs"),
                ];
                let said = format!("{}\n{}", output.stdout, output.stderr);
                let told = said.lines().filter(|line| !line.trim().is_empty());
                Ok(told
                    .filter(|line| !line.contains("Exiting with failure status"))
                    // A name of which --strip-components leaves nothing.
                    .filter(|line| !line.starts_with("tar: : "))
                    .any(|line| {
                        !own.iter()
                            .any(|(given, text)| *given && line.contains(text))
                    }))
            }
            Tool::Unzip => {
                // The archive's own word on each file: its size and checksum.
                let path = archive.display().to_string();
                let listed = context.must(&["unzip", "-v", &path])?;
                for name in names {
                    let target = folder.join(name);
                    let Ok(found) = fs::metadata(&target) else {
                        return Ok(true);
                    };
                    if found.is_dir() {
                        continue;
                    }
                    let entry = listed
                        .lines()
                        .find(|line| line.ends_with(&format!("  {name}")));
                    let words: Vec<&str> = entry.unwrap_or_default().split_whitespace().collect();
                    let [size, .., crc, _] = words.as_slice() else {
                        return Ok(true);
                    };
                    let crc = u32::from_str_radix(crc, 16).unwrap_or(0);
                    if size.parse() != Ok(found.len()) || crc32(&target) != Some(crc) {
                        return Ok(!args.flag("keep_newer"));
                    }
                }
                Ok(false)
            }
        }
    }

    fn unpack(
        self,
        context: &mut Context<'_>,
        args: &Args,
        archive: &Path,
        folder: &Path,
    ) -> Result<Output, Fault> {
        match self {
            Tool::Tar if args.flag("keep_newer") => self.tar(
                context,
                args,
                &["--extract", "--keep-newer-files"],
                archive,
                Some(folder),
            ),
            Tool::Tar => self.tar(context, args, &["--extract"], archive, Some(folder)),
            Tool::Unzip => {
                let mut argv: Vec<String> = vec!["unzip".into(), "-o".into()];
                if args.flag("keep_newer") {
                    argv.push("-u".into());
                }
                argv.extend(
                    args.list("extra_opts")
                        .unwrap_or_default()
                        .into_iter()
                        .map(str::to_owned),
                );
                argv.push(archive.display().to_string());
                argv.extend(
                    args.list("include")
                        .unwrap_or_default()
                        .into_iter()
                        .map(str::to_owned),
                );
                let exclude = args.list("exclude").unwrap_or_default();
                if !exclude.is_empty() {
                    argv.push("-x".into());
                    argv.extend(exclude.into_iter().map(str::to_owned));
                }
                argv.extend(["-d".to_owned(), folder.display().to_string()]);
                context.output(&argv.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }
}

/// The checksum that zip files have.
fn crc32(path: &Path) -> Option<u32> {
    let mut file = fs::File::open(path).ok()?;
    let mut buffer = vec![0; 64 << 10];
    let mut crc = u32::MAX;
    loop {
        let length = std::io::Read::read(&mut file, &mut buffer).ok()?;
        if length == 0 {
            return Some(!crc);
        }
        for byte in &buffer[..length] {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::{Bench, has};
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
        std::fs::create_dir_all(bench.path("/mode")).unwrap();
        let listed = bench.converges(
            "unarchive",
            json!({"src": "/a.tgz", "dest": "/mode", "remote_src": true, "mode": "u=rwX,go=", "list_files": true, "extra_opts": "--strip-components=1"}),
        );
        assert_eq!(listed.data["files"], json!(["b.txt"]));
        assert_eq!(bench.read("/mode/b.txt"), "text");
        std::fs::create_dir_all(bench.path("/tmp")).unwrap();
        std::fs::create_dir_all(bench.path("/sent")).unwrap();
        let coded = BASE64_STANDARD.encode(std::fs::read(bench.path("/a.tgz")).unwrap());
        bench.converges(
            "unarchive",
            json!({"src": "a.tgz", "dest": "/sent", "content_base64": coded, "exclude": "*.txt"}),
        );
        assert!(bench.path("/sent/a").is_dir() && !bench.path("/sent/a/b.txt").exists());
        assert_eq!(std::fs::read_dir(bench.path("/tmp")).unwrap().count(), 0);
        assert!(
            bench
                .run("unarchive", json!({"src": "a.tgz", "dest": "/sent"}))
                .failed
        );
    }

    #[test]
    fn a_zip_is_unpacked_once() {
        if !has("unzip") || !has("python3") {
            return eprintln!("skipped: unzip or python3 is not there");
        }
        let bench = Bench::new();
        bench.write("/out/keep", "");
        let script = "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as z: z.writestr('a/b.txt', 'text'); z.writestr('c', 'more')";
        let made = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(bench.path("/a.zip"))
            .status();
        assert!(made.unwrap().success());
        bench.converges(
            "unarchive",
            json!({"src": "/a.zip", "dest": "/out", "remote_src": true, "exclude": "c"}),
        );
        assert_eq!(bench.read("/out/a/b.txt"), "text");
        assert!(!bench.path("/out/c").exists());
        bench.write("/out/a/b.txt", "lies");
        assert!(
            bench
                .run(
                    "unarchive",
                    json!({"src": "/a.zip", "dest": "/out", "remote_src": true})
                )
                .changed
        );
        assert_eq!(bench.read("/out/a/b.txt"), "text");
    }
}
