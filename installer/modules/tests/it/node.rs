//! Runs single tasks here as the agent would on a node.
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use agent_protocol::task::{Task, TaskResult};
use modules::Context;
use serde_json::Value;

/// Where tasks run: paths of arguments are below `root`, programs see `environment`.
pub struct Node {
    pub root: PathBuf,
    pub environment: Vec<(String, String)>,
    /// Arguments that every task gets which does not have them: those of a login.
    pub login: Value,
}

impl Node {
    pub fn new(root: &Path) -> Self {
        Node {
            root: root.to_owned(),
            environment: vec![("LC_ALL".into(), "C.UTF-8".into())],
            login: Value::Object(Default::default()),
        }
    }

    pub fn run(&self, module: &str, args: Value) -> TaskResult {
        self.run_with(module, args, false)
    }

    pub fn check(&self, module: &str, args: Value) -> TaskResult {
        self.run_with(module, args, true)
    }

    fn run_with(&self, module: &str, args: Value, check: bool) -> TaskResult {
        let mut all = self.login.as_object().unwrap().clone();
        all.extend(args.as_object().unwrap().clone());
        let task = Task {
            id: "run/node/task/0".into(),
            module: module.into(),
            args: all,
            check,
            diff: true,
            become_user: None,
            environment: Default::default(),
            no_log: true,
            timeout_seconds: 600,
        };
        let cancel = AtomicBool::new(false);
        let mut context = Context {
            root: self.root.clone(),
            check,
            diff: true,
            environment: self.environment.clone(),
            deadline: Instant::now() + Duration::from_secs(600),
            cancel: &cancel,
            output: &mut |_| {},
        };
        modules::run(&mut context, &task)
    }

    /// Foretold, done, then nothing left to do. Gives what doing it gave.
    ///
    /// That check mode changes nothing is seen by the change that is still to be made after it.
    pub fn settles(&self, module: &str, args: Value) -> TaskResult {
        let foretold = self.check(module, args.clone());
        assert!(
            foretold.changed && !foretold.failed,
            "check of {module} {args}: {foretold:?}"
        );
        let done = self.run(module, args.clone());
        assert!(done.changed && !done.failed, "{module} {args}: {done:?}");
        let again = self.run(module, args.clone());
        assert!(
            !again.changed && !again.failed,
            "second run of {module} {args}: {again:?}"
        );
        let checked = self.check(module, args.clone());
        assert!(
            !checked.changed && !checked.failed,
            "second check of {module} {args}: {checked:?}"
        );
        done
    }

    /// The same, with a diff.
    pub fn converges(&self, module: &str, args: Value) -> TaskResult {
        let done = self.settles(module, args.clone());
        assert!(
            !done.diff.is_empty(),
            "{module} {args} has no diff: {done:?}"
        );
        done
    }

    /// The message of a task that has to fail.
    pub fn refuses(&self, module: &str, args: Value) -> String {
        let result = self.run(module, args.clone());
        assert!(result.failed, "{module} {args} did not fail: {result:?}");
        result.msg
    }
}
