//! Running the programs that do the heavy work: with argument vectors, at low priority, their output in a
//! log file, and gone with us whatever happens. What they are run for, the callers know.
use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::error::{At, ImageError, MissingTool};

/// How much of a log is shown when its command failed.
const TAIL_BYTES: u64 = 2000;

/// Programs that building calls, with their Debian packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("unshare", "util-linux"),
    ("cp", "coreutils"),
    ("sfdisk", "fdisk"),
    ("mke2fs", "e2fsprogs"),
    ("mformat", "mtools"),
    ("mmd", "mtools"),
    ("mcopy", "mtools"),
    ("grub-mkimage", "grub-common"),
    ("zstd", "zstd"),
    ("qemu-img", "qemu-utils"),
];
/// Files of GRUB that the disk images are made from.
const FILES: &[(&str, &str)] = &[
    ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    ("/usr/lib/grub/x86_64-efi/linux.mod", "grub-efi-amd64-bin"),
];

/// Everything that building images needs and this machine lacks.
pub fn missing_tools() -> Vec<MissingTool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // A plain user's PATH lacks these on Debian.
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    let programs = PROGRAMS
        .iter()
        .filter(|(name, _)| !folders.iter().any(|f| f.join(name).is_file()));
    let files = FILES.iter().filter(|(file, _)| !Path::new(file).is_file());
    programs
        .chain(files)
        .map(|(tool, package)| MissingTool {
            tool: (*tool).into(),
            package,
        })
        .collect()
}

/// A program that runs in its own mount and process namespaces: its mounts and its children are gone as
/// soon as it is, even after `kill -9`.
pub(super) fn isolated(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nice");
    command
        .args([
            "-n",
            "10",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(program);
    command
}

/// [`isolated`], with `tree` as the root folder.
pub(super) fn chrooted(tree: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nice");
    command.args([
        "-n",
        "10",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
    ]);
    let mut root = std::ffi::OsString::from("--root=");
    root.push(tree);
    command.arg(root).args(["--mount-proc", "--"]).arg(program);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .env("HOME", "/root");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs `command`, its output appended to `log`.
///
/// # Errors
/// When it cannot be started or fails; the error carries the end of what it said.
pub(super) fn run(command: &mut Command, log: &Path) -> Result<(), ImageError> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .at("open log", log)?;
    let begin = file.seek(SeekFrom::End(0)).at("read log", log)?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().at("open log", log)?)
        .stderr(file);
    die_with_us(command);
    let shown = format!("{command:?}").replace('"', "");
    let program = Path::new(command.get_program()).to_owned();
    let status = command.status().at("run", &program)?;
    if status.success() {
        return Ok(());
    }
    Err(ImageError::Command {
        command: shown,
        status,
        log: log.into(),
        tail: tail(log, begin),
    })
}

/// Runs `command` and gives its standard output; what it says on standard error is appended to `log`.
///
/// # Errors
/// As [`run`].
pub(super) fn output(command: &mut Command, log: &Path) -> Result<String, ImageError> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .at("open log", log)?;
    let begin = file.seek(SeekFrom::End(0)).at("read log", log)?;
    command.stdin(Stdio::null()).stderr(file);
    die_with_us(command);
    let shown = format!("{command:?}").replace('"', "");
    let program = Path::new(command.get_program()).to_owned();
    let output = command.output().at("run", &program)?;
    if !output.status.success() {
        return Err(ImageError::Command {
            command: shown,
            status: output.status,
            log: log.into(),
            tail: tail(log, begin),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The child is killed when we die, so that nothing goes on writing into a folder that the next run removes.
fn die_with_us(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(Into::into)
        });
    }
}

/// The end of what was written to `log` after `begin`.
fn tail(log: &Path, begin: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_says_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "earlier\n").unwrap();
        let told = run(
            Command::new("sh").args(["-c", "echo no space >&2; exit 3"]),
            &log,
        )
        .unwrap_err()
        .to_string();
        assert!(
            told.contains("no space")
                && told.contains("exit status: 3")
                && !told.contains("earlier"),
            "{told}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let told = run(
            &mut Command::new("/no/such/program"),
            &folder.path().join("log"),
        )
        .unwrap_err()
        .to_string();
        assert!(told.contains("cannot run /no/such/program"), "{told}");
    }
}
