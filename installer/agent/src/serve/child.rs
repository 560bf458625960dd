//! A task as another user: `wright-agent run-task` reads it from standard input as that user and answers
//! with the result. The whole module runs with that user's rights, as `become_user` means it.
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use agent_protocol::task::{Task, TaskResult};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Pid, Uid, setgid, setgroups, setuid};

use super::runner;

#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("become_user: there is no account `{0}` on the node")]
    NoAccount(String),
    #[error("the task's own process failed")]
    Io(#[from] io::Error),
    #[error("the task's own process did not answer as expected")]
    Json(#[from] serde_json::Error),
    #[error("the task was cancelled")]
    Cancelled,
    #[error("the task took longer than its timeout")]
    TimedOut,
}

/// An account as `/etc/passwd` and `/etc/group` have it.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    home: String,
    groups: Vec<u32>,
}

/// The child's side: runs the task from standard input and writes the result to standard output.
pub fn main() -> Result<(), ChildError> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let task: Task = serde_json::from_str(&input)?;
    let result = runner::here(&task, &AtomicBool::new(false), &mut |_| {});
    io::stdout().write_all(&serde_json::to_vec(&result)?)?;
    Ok(())
}

/// The daemon's side.
pub fn run(task: &Task, user: &str, cancel: &AtomicBool) -> Result<TaskResult, ChildError> {
    let account = account(
        &fs::read_to_string("/etc/passwd")?,
        &fs::read_to_string("/etc/group")?,
        user,
    )
    .ok_or_else(|| ChildError::NoAccount(user.to_owned()))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("run-task")
        .env("HOME", &account.home)
        .env("USER", user)
        .env("LOGNAME", user)
        .current_dir("/");
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let groups: Vec<Gid> = account
        .groups
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    // SAFETY: between fork and exec only these three system calls are made; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            setgroups(&groups)?;
            setgid(gid)?;
            setuid(uid)?;
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    let result = talk(&mut child, task, cancel);
    if result.is_err() {
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    }
    let _ = child.wait();
    result
}

fn talk(child: &mut Child, task: &Task, cancel: &AtomicBool) -> Result<TaskResult, ChildError> {
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&serde_json::to_vec(task)?)?;
    }
    let (sender, answer) = std::sync::mpsc::channel();
    if let Some(mut stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = stdout.read_to_end(&mut text).map(|_| text);
            let _ = sender.send(read);
        });
    }
    // The child keeps the task's time itself; this is for one that hangs.
    let deadline: Instant = runner::deadline(task) + Duration::from_secs(15);
    loop {
        match answer.recv_timeout(Duration::from_millis(50)) {
            Ok(text) => return Ok(serde_json::from_slice(&text?)?),
            Err(_) if runner::is_cancelled(cancel) => return Err(ChildError::Cancelled),
            Err(_) if Instant::now() > deadline => return Err(ChildError::TimedOut),
            Err(_) => {}
        }
    }
}

fn account(passwd: &str, group: &str, user: &str) -> Option<Account> {
    let fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == user && fields.len() >= 7)?;
    let gid = fields[3].parse().ok()?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, id, members] = fields[..]
            && members.split(',').any(|member| member == user)
        {
            groups.extend(id.parse::<u32>().ok().filter(|id| *id != gid));
        }
    }
    Some(Account {
        uid: fields[2].parse().ok()?,
        gid,
        home: fields[5].to_owned(),
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_all_its_groups() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnova:x:900:900::/var/lib/nova:/bin/false\n";
        let group = "nova:x:900:nova\nkvm:x:50:nova,root\nlibvirt:x:51:root\n";
        assert_eq!(
            account(passwd, group, "nova"),
            Some(Account {
                uid: 900,
                gid: 900,
                home: "/var/lib/nova".into(),
                groups: vec![900, 50]
            })
        );
        assert_eq!(account(passwd, group, "nov"), None);
    }
}
