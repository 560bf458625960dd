//! Commands on nodes with a stream in or out. How a node is reached is the caller's ([`Nodes`]); here is that a stream
//! which breaks is noticed, that nothing piles up in memory, and that no thread and no process is left behind.
use crate::BackupError;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How nodes are reached.
pub trait Nodes: Sync {
    /// A process by which `sh -c SCRIPT sh ARGS...` runs on the node as root. It ends with the script's status, and with
    /// another one than 0 when the connection breaks.
    ///
    /// # Errors
    /// The node is not one of ours.
    fn command(&self, node: &str, script: &str, args: &[&str]) -> Result<Command, String>;
}

/// Kept of what a command says.
const SAID: usize = 64 * 1024;
/// Longest answer that is read, as of a list of tables.
const ANSWER: u64 = 16 << 20;

/// A work on a node: what it is called in a message, its script, its arguments.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub doing: &'static str,
    pub script: &'a str,
    pub args: &'a [&'a str],
    /// After this it is ended.
    pub limit: Duration,
}

/// Runs it; what it printed.
pub fn run(nodes: &dyn Nodes, node: &str, work: Work) -> Result<String, BackupError> {
    let running = Running::start(nodes, node, work, Stdio::null())?;
    running.collect()
}

/// Runs it and hands what it prints to `sink`, piece by piece.
pub fn pull<T>(
    nodes: &dyn Nodes,
    node: &str,
    work: Work,
    sink: impl FnOnce(&mut dyn Read) -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    let mut running = Running::start(nodes, node, work, Stdio::null())?;
    let mut stdout = running
        .child
        .stdout
        .take()
        .ok_or_else(|| running.failed("it has no output"))?;
    let taken = sink(&mut stdout);
    drop(stdout);
    // A stream that broke ends like a whole one: only the status tells.
    running.end()?;
    taken
}

/// Runs it and feeds it with what `source` writes; what it printed.
pub fn push(
    nodes: &dyn Nodes,
    node: &str,
    work: Work,
    source: impl FnOnce(&mut dyn Write) -> Result<(), BackupError>,
) -> Result<String, BackupError> {
    let mut running = Running::start(nodes, node, work, Stdio::piped())?;
    let mut stdin = running
        .child
        .stdin
        .take()
        .ok_or_else(|| running.failed("it has no input"))?;
    let given = source(&mut stdin);
    // A receiver that ended early has said why; what it got from a source that failed is not whole, and it must not take
    // its input's end for the end of it all.
    let its_fault = |error: &BackupError| matches!(error, BackupError::File { source, .. } if source.kind() == io::ErrorKind::BrokenPipe);
    if given.as_ref().is_err_and(|error| !its_fault(error)) {
        running.kill();
        return given.map(|()| String::new());
    }
    drop(stdin);
    let answer = running.collect()?;
    given?;
    Ok(answer)
}

/// The same work on several nodes at the same time; the first failure, after all have ended.
pub fn everywhere(
    nodes: &dyn Nodes,
    names: &[String],
    work: Work,
    done: &(dyn Fn(&str) + Sync),
) -> Result<Vec<String>, BackupError> {
    let results: Vec<Result<String, BackupError>> = thread::scope(|scope| {
        let one = |name: &String| {
            let answer = run(nodes, name, work)?;
            done(name);
            Ok(answer)
        };
        let threads: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || one(name)))
            .collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    results.into_iter().collect()
}

struct Running<'a> {
    child: Child,
    node: &'a str,
    doing: &'static str,
    errors: Option<thread::JoinHandle<String>>,
    /// Dropped when the child has ended, which lets its watchman go.
    watch: Option<mpsc::Sender<()>>,
}

impl<'a> Running<'a> {
    fn start(
        nodes: &dyn Nodes,
        node: &'a str,
        work: Work,
        stdin: Stdio,
    ) -> Result<Self, BackupError> {
        let failed = |reason: String| BackupError::Node {
            node: node.to_owned(),
            doing: work.doing,
            reason,
        };
        let mut command = nodes
            .command(node, work.script, work.args)
            .map_err(failed)?;
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                failed(format!(
                    "cannot run `{}`: {error}",
                    command.get_program().display()
                ))
            })?;
        let errors = child
            .stderr
            .take()
            .map(|stderr| thread::spawn(move || tail(stderr)));
        let (watch, ended) = mpsc::channel::<()>();
        let pid = child.id();
        let limit = work.limit;
        thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Nobody has waited for it yet, so the number is still its own.
                let _ = Command::new("kill").arg(pid.to_string()).status();
            }
        });
        Ok(Running {
            child,
            node,
            doing: work.doing,
            errors,
            watch: Some(watch),
        })
    }

    fn failed(&self, reason: impl Into<String>) -> BackupError {
        BackupError::Node {
            node: self.node.to_owned(),
            doing: self.doing,
            reason: reason.into(),
        }
    }

    fn collect(mut self) -> Result<String, BackupError> {
        let mut answer = Vec::new();
        if let Some(stdout) = self.child.stdout.take() {
            let read = stdout.take(ANSWER).read_to_end(&mut answer);
            read.map_err(|error| self.failed(error.to_string()))?;
        }
        self.end()?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn end(&mut self) -> Result<(), BackupError> {
        let status = self
            .child
            .wait()
            .map_err(|error| self.failed(error.to_string()))?;
        self.watch = None;
        let said = self
            .errors
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = lines[lines.len().saturating_sub(4)..].join("\n");
        Err(self.failed(match last.is_empty() {
            true => format!("it ended with {status}"),
            false => last,
        }))
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.watch = None;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.watch.is_some() {
            self.kill();
        }
    }
}

/// The end of what a stream says, however much it is.
fn tail(mut stream: impl Read) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 8192];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * SAID {
            kept.drain(..kept.len() - SAID);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every node is this machine, and its scripts are run by its shell.
    pub struct Here;

    impl Nodes for Here {
        fn command(&self, _: &str, script: &str, args: &[&str]) -> Result<Command, String> {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).args(args);
            Ok(command)
        }
    }

    pub fn work(script: &str) -> Work<'_> {
        Work {
            doing: "a trial",
            script,
            args: &[],
            limit: Duration::from_secs(20),
        }
    }

    #[test]
    fn a_stream_that_breaks_is_a_failure_though_all_was_read() {
        let read = |script: &str| {
            pull(&Here, "node-1", work(script), |stream| {
                let mut text = String::new();
                stream
                    .read_to_string(&mut text)
                    .map_err(BackupError::file("text"))?;
                Ok(text)
            })
        };
        assert_eq!(read("echo whole").unwrap(), "whole\n");
        insta::assert_snapshot!(read("echo half; echo the disk is full >&2; exit 3").unwrap_err(), @"node-1: a trial: the disk is full");
    }

    #[test]
    fn a_receiver_never_sees_the_end_of_half_a_stream() {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let script = format!("cat > /dev/null; touch {}", seen.display());
        let given = push(&Here, "node-1", work(&script), |stream| {
            stream
                .write_all(b"half")
                .map_err(BackupError::file("stream"))?;
            Err(BackupError::Refused("damaged".into()))
        });
        assert_eq!(given.unwrap_err().to_string(), "damaged");
        assert!(!seen.exists());
        let told = push(
            &Here,
            "node-1",
            work("echo no room >&2; exit 1"),
            |stream| {
                let piece = [0; 65536];
                for _ in 0..64 {
                    stream
                        .write_all(&piece)
                        .map_err(BackupError::file("stream"))?;
                }
                Ok(())
            },
        );
        insta::assert_snapshot!(told.unwrap_err(), @"node-1: a trial: no room");
    }

    #[test]
    fn work_has_an_end() {
        let mut slow = work("exec sleep 60");
        slow.limit = Duration::from_millis(200);
        assert!(run(&Here, "node-1", slow).is_err());
    }
}
