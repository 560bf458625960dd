//! A folder that stands for a node's root, for the modules' tests.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use agent_protocol::task::{Task, TaskResult};
use serde_json::Value;

use crate::context::Context;

pub struct Bench {
    folder: tempfile::TempDir,
    pub cancel: AtomicBool,
}

impl Bench {
    pub fn new() -> Self {
        Bench {
            folder: tempfile::tempdir().unwrap(),
            cancel: AtomicBool::new(false),
        }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// A program that tasks find before those of the system. It sees the root as `$ROOT`.
    pub fn program(&self, name: &str, script: &str) {
        self.write(
            &format!("/test-bin/{name}"),
            &format!("#!/bin/sh\n{script}"),
        );
        fs::set_permissions(
            self.path(&format!("/test-bin/{name}")),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
    }

    pub fn context<T>(&self, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.context_with(false, work)
    }

    fn context_with<T>(&self, check: bool, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.path("/test-bin").display()
        );
        let mut context = Context {
            root: self.root().to_owned(),
            check,
            diff: true,
            environment: vec![
                ("PATH".into(), path),
                ("ROOT".into(), self.root().display().to_string()),
            ],
            deadline: Instant::now() + Duration::from_secs(300),
            cancel: &self.cancel,
            output: &mut |_| {},
        };
        work(&mut context)
    }

    pub fn run(&self, module: &str, args: Value) -> TaskResult {
        self.run_with(module, args, false)
    }

    /// What check mode says.
    pub fn check(&self, module: &str, args: Value) -> TaskResult {
        self.run_with(module, args, true)
    }

    fn run_with(&self, module: &str, args: Value, check: bool) -> TaskResult {
        let task = Task {
            id: "run/node/task/0".into(),
            module: module.into(),
            args: args.as_object().unwrap().clone(),
            check,
            diff: true,
            become_user: None,
            environment: Default::default(),
            no_log: false,
            timeout_seconds: 300,
        };
        self.context_with(check, |context| crate::run(context, &task))
    }

    /// Foretold, then done, then nothing left to do. Returns what doing it gave.
    pub fn converges(&self, module: &str, args: Value) -> TaskResult {
        let before = self.picture();
        let foretold = self.run_with(module, args.clone(), true);
        assert!(
            foretold.changed && !foretold.failed,
            "check mode of {module}: {foretold:?}"
        );
        assert_eq!(
            self.picture(),
            before,
            "check mode of {module} changed something"
        );
        let done = self.run(module, args.clone());
        assert!(done.changed && !done.failed, "{module}: {done:?}");
        let after = self.picture();
        let again = self.run(module, args.clone());
        assert!(
            !again.changed && !again.failed,
            "second run of {module}: {again:?}"
        );
        let checked = self.run_with(module, args, true);
        assert!(
            !checked.changed && !checked.failed,
            "check mode of {module} after it was done: {checked:?}"
        );
        assert_eq!(
            self.picture(),
            after,
            "the second run of {module} changed something"
        );
        done
    }

    /// Every path below the root with its mode and content; logs of test programs are left out.
    fn picture(&self) -> Vec<(PathBuf, u32, Vec<u8>)> {
        fn walk(folder: &Path, out: &mut Vec<(PathBuf, u32, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                let kind = fs::symlink_metadata(&path).unwrap();
                if path.ends_with("test-bin")
                    || path
                        .extension()
                        .is_some_and(|extension| extension == "log" || extension == "lock")
                {
                    continue;
                }
                let content = if kind.is_symlink() {
                    fs::read_link(&path)
                        .unwrap()
                        .into_os_string()
                        .into_encoded_bytes()
                } else if kind.is_file() {
                    fs::read(&path).unwrap()
                } else {
                    Vec::new()
                };
                out.push((path.clone(), kind.permissions().mode(), content));
                if kind.is_dir() {
                    walk(&path, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(self.root(), &mut out);
        out.sort();
        out
    }
}

/// Whether a program is there; tests that call it skip themselves without.
pub fn has(program: &str) -> bool {
    ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}
