//! A node in a temporary folder, and the controller's end of `attach`.
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use agent_protocol::PROTOCOL;
use agent_protocol::frame::{decode, encode};
use agent_protocol::task::{FromAgent, Task, TaskResult, ToAgent};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Generous: the machine may be busy with other builds.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn task(id: &str, module: &str, args: Value) -> Task {
    Task {
        id: id.into(),
        module: module.into(),
        args: args.as_object().unwrap().clone(),
        check: false,
        diff: false,
        become_user: None,
        environment: Default::default(),
        no_log: false,
        timeout_seconds: 300,
    }
}

pub struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    pub fn new() -> Self {
        let node = Node {
            folder: tempfile::tempdir().unwrap(),
        };
        node.renew_binary();
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a copy of the agent in place by rename, as an upload does.
    pub fn renew_binary(&self) {
        // By a process of its own: a descriptor that writes here would be inherited by whatever
        // another test starts at that moment, and the copy could not be executed until then.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_wright-agent"))
            .arg(self.path("agent.new"))
            .status()
            .unwrap();
        assert!(copied.success());
        fs::rename(self.path("agent.new"), self.path("agent")).unwrap();
    }

    pub fn attach(&self) -> Controller {
        let mut child = Command::new(self.path("agent"))
            .args(["attach", "--root"])
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut buffer, mut piece) = (Vec::new(), [0; 4096]);
            while let Ok(length @ 1..) = stdout.read(&mut piece) {
                buffer.extend_from_slice(&piece[..length]);
                while let Some(message) = decode::<FromAgent>(&mut buffer).unwrap() {
                    if sender.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        let stdin = child.stdin.take();
        let mut controller = Controller {
            child,
            stdin,
            answers: Some(answers),
        };
        assert!(
            matches!(controller.answer(), FromAgent::Hello { protocol: PROTOCOL, agent_sha256, .. } if agent_sha256.len() == 64)
        );
        controller.message(&ToAgent::Hello {
            protocol: PROTOCOL,
            run: "r".into(),
            node: "n".into(),
        });
        controller
    }

    pub fn wait_for(&self, path: &Path) {
        let since = Instant::now();
        while !path.exists() {
            assert!(
                since.elapsed() < PATIENCE,
                "{} did not appear",
                path.display()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The one process that runs this folder's agent as a daemon.
    pub fn daemon_pid(&self) -> i32 {
        self.daemons().first().copied().expect("no daemon runs")
    }

    pub fn kill_daemon(&self) {
        let pid = self.daemon_pid();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let since = Instant::now();
        while self.daemons().contains(&pid) {
            assert!(since.elapsed() < PATIENCE, "the daemon outlived SIGKILL");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn daemons(&self) -> Vec<i32> {
        let root = self.folder.path().display().to_string();
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let words: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
                words.get(1) == Some(&&b"serve"[..]) && words.get(3) == Some(&root.as_bytes())
            })
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for pid in self.daemons() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

pub struct Controller {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Option<Receiver<FromAgent>>,
}

impl Controller {
    pub fn send(&mut self, task: &Task) {
        self.message(&ToAgent::Task(Box::new(task.clone())));
    }

    pub fn cancel(&mut self, id: &str) {
        self.message(&ToAgent::Cancel { id: id.into() });
    }

    fn message(&mut self, message: &ToAgent) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(&encode(message).unwrap()).unwrap();
        stdin.flush().unwrap();
    }

    /// The next message that is not mere output.
    pub fn answer(&mut self) -> FromAgent {
        loop {
            match self
                .answers
                .as_ref()
                .unwrap()
                .recv_timeout(PATIENCE)
                .expect("the agent did not answer")
            {
                FromAgent::Output { .. } => {}
                message => return message,
            }
        }
    }

    pub fn done(&mut self) -> (String, TaskResult) {
        match self.answer() {
            FromAgent::Done { id, result } => (id, result),
            other => panic!("{other:?} instead of a result"),
        }
    }

    pub fn reader(&mut self) -> Receiver<FromAgent> {
        self.answers.take().unwrap()
    }

    /// As when the SSH session dies.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
