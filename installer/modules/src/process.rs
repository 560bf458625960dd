//! Runs programs: own process group, bounded output, deadline and cancel.
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use agent_protocol::task::TaskResult;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value};

use crate::context::{Context, Fault, changed};

/// What is kept of each of standard output and error; the rest is read and dropped.
const CAPTURE_BYTES_MAX: usize = 2 << 20;
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// A program that is gone but whose children hold its output open is not waited for longer.
const DRAIN: Duration = Duration::from_secs(1);
/// How often a program that is still open for writing is tried, [`POLL`] apart.
const BUSY_TRIES: usize = 20;

/// What a program left.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Exit status; the negative signal number if a signal ended it.
    pub rc: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Ansible's fields of a finished command.
    pub fn data(&self) -> Map<String, Value> {
        let (stdout, stderr) = (
            self.stdout.trim_end_matches('\n'),
            self.stderr.trim_end_matches('\n'),
        );
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        Map::from_iter([
            ("rc".to_owned(), self.rc.into()),
            ("stdout".to_owned(), stdout.into()),
            ("stderr".to_owned(), stderr.into()),
            ("stdout_lines".to_owned(), lines(stdout).into()),
            ("stderr_lines".to_owned(), lines(stderr).into()),
        ])
    }
}

/// Words of a command as a plan holds them.
pub fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

/// Options that a user wrote in one line, as a shell would part them.
pub fn options(argument: &str, text: &str) -> Result<Vec<String>, Fault> {
    shlex::split(text).ok_or_else(|| {
        Fault::new(format!(
            "{argument} has a quote without its partner: {text}"
        ))
    })
}

/// How a program is started.
#[derive(Default)]
pub struct Start<'a> {
    pub argv: Vec<&'a str>,
    pub folder: Option<&'a str>,
    pub stdin: Option<Vec<u8>>,
    /// Pass output on as it comes.
    pub live: bool,
}

/// A program that was just written may be open for writing a moment longer: in a child that
/// somebody forked in between and that has not begun its own program yet.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    for _ in 1..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(POLL);
            }
            other => return other,
        }
    }
    command.spawn()
}

impl Context<'_> {
    /// Runs a program to its end, whatever its exit status.
    pub fn output(&mut self, argv: &[&str]) -> Result<Output, Fault> {
        self.start(Start {
            argv: argv.to_vec(),
            ..Start::default()
        })
    }

    /// Does what was planned, one command after another, each of which has to succeed. In check mode
    /// nothing is run; the diff shows the commands.
    pub fn carry_out(&mut self, header: &str, plan: &[Vec<String>]) -> Result<TaskResult, Fault> {
        let mut result = changed(!plan.is_empty());
        let lines: Vec<String> = plan.iter().map(|argv| argv.join(" ") + "\n").collect();
        result.diff = self.diff_of(header, "", &lines.concat());
        if !self.check {
            for argv in plan {
                self.must(&argv.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
        }
        Ok(result)
    }

    /// Runs a program that has to succeed and gives its standard output.
    pub fn must(&mut self, argv: &[&str]) -> Result<String, Fault> {
        let output = self.output(argv)?;
        if output.rc == 0 {
            return Ok(output.stdout);
        }
        let said = if output.stderr.trim().is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        let msg = format!(
            "`{}` ended with status {}: {}",
            argv.first().unwrap_or(&""),
            output.rc,
            said.trim()
        );
        Err(Fault::WithData {
            msg,
            data: output.data(),
        })
    }

    pub fn start(&mut self, start: Start<'_>) -> Result<Output, Fault> {
        self.go_on()?;
        let Some((program, arguments)) = start.argv.split_first() else {
            return Err(Fault::new("no command was given"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .process_group(0);
        command
            .stdin(if start.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = start.folder {
            command.current_dir(self.path(folder));
        }
        let mut child = spawn(&mut command).map_err(|source| {
            // As a shell would say it: 127 for a program that is not there.
            let data = Map::from_iter([(
                "rc".to_owned(),
                Value::from(if source.kind() == std::io::ErrorKind::NotFound {
                    127
                } else {
                    126
                }),
            )]);
            Fault::WithData {
                msg: format!("`{program}` could not be run: {source}"),
                data,
            }
        })?;
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), start.stdin) {
            // In a thread: a program that first writes and then reads must not be blocked by us.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let result = self.watch(&mut child, start.live);
        if result.is_err() {
            stop(&mut child);
        }
        result
    }

    fn watch(&mut self, child: &mut Child, live: bool) -> Result<Output, Fault> {
        let (sender, pieces) = mpsc::sync_channel(16);
        read_in_thread(child.stdout.take(), Stream::Out, sender.clone());
        read_in_thread(child.stderr.take(), Stream::Err, sender);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut gone_since = None;
        loop {
            match pieces.recv_timeout(POLL) {
                Ok((stream, bytes)) => {
                    if live {
                        (self.output)(&String::from_utf8_lossy(&bytes));
                    }
                    let kept = if stream == Stream::Out {
                        &mut stdout
                    } else {
                        &mut stderr
                    };
                    let room = CAPTURE_BYTES_MAX.saturating_sub(kept.len());
                    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                // Both ends of output are closed: nearly always because the program ended.
                Err(RecvTimeoutError::Disconnected) => {
                    if child
                        .try_wait()
                        .map_err(Fault::io("wait for the program"))?
                        .is_some()
                    {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if child
                        .try_wait()
                        .map_err(Fault::io("wait for the program"))?
                        .is_some()
                    {
                        let since = *gone_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > DRAIN {
                            break;
                        }
                    }
                }
            }
            self.go_on()?;
        }
        let status = child.wait().map_err(Fault::io("wait for the program"))?;
        Ok(Output {
            rc: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(1)),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

fn read_in_thread(
    pipe: Option<impl Read + Send + 'static>,
    stream: Stream,
    sender: SyncSender<(Stream, Vec<u8>)>,
) {
    let Some(mut pipe) = pipe else { return };
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if sender.send((stream, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// Ends the program and all it started.
fn stop(child: &mut Child) {
    let group = Pid::from_raw(child.id() as i32);
    let _ = killpg(group, Signal::SIGTERM);
    let since = Instant::now();
    while since.elapsed() < GRACE {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Also when the leader is gone: its children may have ignored the first signal.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use std::sync::atomic::Ordering;

    #[test]
    fn output_status_and_input_come_through() {
        let bench = Bench::new();
        let output = bench.context(|context| {
            context.start(Start {
                argv: vec!["sh", "-c", "cat; echo err >&2; exit 3"],
                stdin: Some(b"in".to_vec()),
                ..Start::default()
            })
        });
        let output = output.unwrap();
        assert_eq!(
            (output.rc, output.stdout.as_str(), output.stderr.as_str()),
            (3, "in", "err\n")
        );
    }

    #[test]
    fn a_program_that_is_open_for_writing_is_waited_for() {
        use std::os::unix::fs::OpenOptionsExt;
        let bench = Bench::new();
        let path = bench.path("program");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&path)
            .unwrap();
        file.write_all(b"#!/bin/sh\necho ran\n").unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(3 * POLL);
            drop(file);
        });
        let program = path.to_str().unwrap();
        let output = bench.context(|context| context.output(&[program])).unwrap();
        assert_eq!(output.stdout, "ran\n");
    }

    #[test]
    fn a_program_that_is_not_there_has_status_127() {
        let fault = Bench::new()
            .context(|context| context.output(&["/nowhere/program"]))
            .unwrap_err();
        assert_eq!(fault.into_result().data["rc"], 127);
    }

    #[test]
    fn a_cancel_ends_the_whole_process_group() {
        let bench = Bench::new();
        let pid_file = bench.root().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let fault = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !std::fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n')) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                bench.cancel.store(true, Ordering::Relaxed);
            });
            bench
                .context(|context| context.output(&["sh", "-c", &script]))
                .unwrap_err()
        });
        assert!(matches!(fault, Fault::Cancelled));
        let pid: i32 = std::fs::read_to_string(&pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        // Gone, or a zombie that waits for whoever inherited it.
        while std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            assert!(
                Instant::now() < deadline,
                "the grandchild outlived the cancel"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_open_does_not_hold_the_task() {
        let output = Bench::new()
            .context(|context| context.output(&["sh", "-c", "setsid sleep 8 & echo done"]))
            .unwrap();
        assert_eq!(output.stdout, "done\n");
    }
}
