//! Runs one task: in this process, or in a child of its own if it is to run as another user.
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_protocol::task::{Task, TaskResult};
use modules::Context;
use serde_json::Value;

use super::child;

/// Runs the task to its end. It cannot panic its way out of the daemon: a module's faults are results.
pub fn run(task: &Task, cancel: &AtomicBool, output: &mut dyn FnMut(&str)) -> TaskResult {
    let mut silent = |_: &str| {};
    let output: &mut dyn FnMut(&str) = if task.no_log { &mut silent } else { output };
    match task.become_user.as_deref() {
        None | Some("root" | "") => here(task, cancel, output),
        // An agent that is not root's can be nobody else, and need not.
        Some(user) if is_own(user) => here(task, cancel, output),
        Some(user) => child::run(task, user, cancel).unwrap_or_else(|error| TaskResult {
            failed: true,
            msg: error.to_string(),
            ..TaskResult::default()
        }),
    }
}

/// Whether this process already runs as that user.
fn is_own(user: &str) -> bool {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .is_ok_and(|found| found.is_some_and(|found| found.name == user))
}

/// Runs the task in this process.
pub fn here(task: &Task, cancel: &AtomicBool, output: &mut dyn FnMut(&str)) -> TaskResult {
    let mut context = Context {
        root: PathBuf::from("/"),
        check: task.check,
        diff: task.diff && !task.no_log,
        environment: environment(task),
        deadline: deadline(task),
        cancel,
        output,
    };
    modules::run(&mut context, task)
}

pub fn deadline(task: &Task) -> Instant {
    Instant::now() + Duration::from_secs(u64::from(task.timeout_seconds).max(1))
}

/// Programs answer in plain English, as modules read what they say; the task's own variables come last.
fn environment(task: &Task) -> Vec<(String, String)> {
    let mut out = vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())];
    if std::env::var_os("HOME").is_none() {
        // A daemon of systemd has none, and programs such as git insist on it.
        out.push(("HOME".into(), "/root".into()));
    }
    let own = task.environment.iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        (name.clone(), text)
    });
    out.extend(own);
    out
}

/// Whether the task was asked to stop.
pub fn is_cancelled(cancel: &AtomicBool) -> bool {
    cancel.load(Ordering::Relaxed)
}
