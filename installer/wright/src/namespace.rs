//! Entering a network namespace: that of a lab, whose wires only exist there, or the one that
//! `WRIGHT_NETNS` names. So the deployment of a lab runs by the very same code as any other.

use crate::error::CommandError;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

const VARIABLE: &str = "WRIGHT_NETNS";

/// The namespace that this process was started in, if it has left it.
static OUTSIDE: OnceLock<File> = OnceLock::new();

/// Enters `/run/netns/$WRIGHT_NETNS` if the variable is set; else, for commands that talk to the nodes of
/// `env`, that environment's lab if there is one. Only for the calling thread, and those that it starts
/// afterwards.
pub fn enter(env: &str, talks_to_nodes: bool) -> Result<(), CommandError> {
    let given = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    let name = match given {
        Some(name) => name.to_string_lossy().into_owned(),
        None => {
            let lab = lab::namespace(env);
            if !talks_to_nodes || !Path::new("/run/netns").join(&lab).exists() {
                return Ok(());
            }
            lab
        }
    };
    enter_named(&name)
}

fn enter_named(name: &str) -> Result<(), CommandError> {
    if name.contains('/') || name.starts_with('.') {
        return Err(CommandError::failed(format!(
            "{VARIABLE} is `{name}`, which is no namespace's name"
        ))
        .hint("`ip netns list` shows the names"));
    }
    let path = format!("/run/netns/{name}");
    let file = File::open(&path).map_err(|cause| {
        CommandError::failed(format!(
            "cannot open the network namespace `{path}`: {cause}"
        ))
        .hint(format!(
            "unset {VARIABLE}, or start the lab: `wright lab up`"
        ))
    })?;
    let outside = File::open("/proc/thread-self/ns/net").map_err(anyhow::Error::from)?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|cause| {
        CommandError::failed(format!(
            "cannot enter the network namespace `{name}`: {cause}"
        ))
        .hint("this needs root's rights")
    })?;
    OUTSIDE.get_or_init(|| outside);
    Ok(())
}

/// Does work in the namespace that this process was started in: from a lab's no package can be fetched. By a thread of
/// its own; programs that it starts are there, too.
pub fn outside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, CommandError> {
    let Some(outside) = OUTSIDE.get() else {
        return Ok(work());
    };
    let leave_and_work = || {
        setns(outside, CloneFlags::CLONE_NEWNET).map_err(|cause| {
            CommandError::failed(format!(
                "cannot return to the machine's own network namespace: {cause}"
            ))
        })?;
        Ok(work())
    };
    thread::scope(|scope| match scope.spawn(leave_and_work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn work_outside_is_done_where_the_process_was_started() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: only root enters namespaces");
            return;
        }
        let name = format!("wright-outside-{}", std::process::id());
        let ip = |word: &str| {
            Command::new("ip")
                .args(["netns", word, &name])
                .status()
                .unwrap()
        };
        let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert!(ip("add").success());
        let seen = thread::scope(|scope| {
            let inside = || {
                let before = here();
                enter_named(&name).unwrap();
                (before, here(), outside(here).unwrap(), here())
            };
            scope.spawn(inside).join().unwrap()
        });
        assert!(ip("delete").success());
        let (before, inside, outside, after) = seen;
        assert_ne!(before, inside);
        assert_eq!(before, outside);
        assert_eq!(inside, after);
    }
}
