//! `wright-agent attach`: joins standard input and output to the daemon's socket, and starts the daemon,
//! or replaces one that runs an older binary.
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;

use super::{Paths, daemon};

const UNIT: &str = "wright-agent.service";
const UNIT_FILES: [&str; 3] = [
    "/etc/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// An emulated node under load takes its time to start a process.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// An older daemon first ends the task that it runs.
const ENDS_WITHIN: Duration = Duration::from_secs(1800);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("the agent's daemon did not start within {} s", STARTS_WITHIN.as_secs())]
    NotStarted(#[source] io::Error),
    #[error("the older agent (process {0}) did not end")]
    OldStays(i32),
    #[error("the connection broke")]
    Io(#[from] io::Error),
}

pub fn run(paths: &Paths) -> Result<(), AttachError> {
    let stream = reach(paths)?;
    pump(&stream, io::stdin(), io::stdout())?;
    Ok(())
}

/// Copies both ways until the daemon hangs up. When the controller hangs up first, its tasks that have
/// begun are left to the daemon.
fn pump(
    stream: &UnixStream,
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> io::Result<()> {
    let mut to_daemon = stream.try_clone()?;
    thread::spawn(move || {
        let _ = io::copy(&mut input, &mut to_daemon);
        let _ = to_daemon.shutdown(std::net::Shutdown::Write);
        // The controller is gone, nobody reads answers: end although the daemon is still at work.
        std::process::exit(0);
    });
    let mut from_daemon = stream.try_clone()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from_daemon.read(&mut buffer)? {
            0 => return Ok(()),
            length => {
                output.write_all(&buffer[..length])?;
                // Standard output is buffered by lines, frames have none.
                output.flush()?;
            }
        }
    }
}

/// A connection to a daemon that runs the same binary as this process.
fn reach(paths: &Paths) -> Result<UnixStream, AttachError> {
    if let Ok(stream) = daemon::connect(&paths.socket) {
        let pid = getsockopt(&stream, sockopt::PeerCredentials)
            .map(|peer| peer.pid())
            .map_err(io::Error::from)?;
        if same_binary(pid) {
            return Ok(stream);
        }
        drop(stream);
        replace(pid)?;
    }
    start(paths)?;
    let since = Instant::now();
    loop {
        match daemon::connect(&paths.socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if since.elapsed() > STARTS_WITHIN => {
                return Err(AttachError::NotStarted(error));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// The file, not the path: a new binary at the same path is another file.
fn same_binary(pid: i32) -> bool {
    let file = |process: &str| {
        fs::metadata(format!("/proc/{process}/exe"))
            .map(|found| (found.dev(), found.ino()))
            .ok()
    };
    file("self") == file(&pid.to_string())
}

fn replace(pid: i32) -> Result<(), AttachError> {
    let process = Pid::from_raw(pid);
    let since = Instant::now();
    let _ = kill(process, Signal::SIGTERM);
    while kill(process, None).is_ok() && !is_zombie(pid) {
        if since.elapsed() > ENDS_WITHIN {
            return Err(AttachError::OldStays(pid));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'))
    })
}

/// By systemd where the unit is installed, else as a process of its own session.
fn start(paths: &Paths) -> io::Result<()> {
    let has_unit = paths.root.is_none()
        && Path::new("/run/systemd/system").is_dir()
        && UNIT_FILES
            .iter()
            .any(|folder| Path::new(folder).join(UNIT).exists());
    if has_unit
        && Command::new("systemctl")
            .args(["start", UNIT])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?
            .success()
    {
        return Ok(());
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("serve");
    if let Some(root) = &paths.root {
        command.arg("--root").arg(root);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    // SAFETY: setsid is one system call without allocation; it keeps the daemon when the SSH session ends.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from));
    }
    command.spawn().map(drop)
}
