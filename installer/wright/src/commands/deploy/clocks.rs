//! The nodes' clocks against this host's, before roles run: certificates, tokens and clusters of databases want one time. A node
//! that was just installed gets this host's; one that runs is left alone and told, for a clock that jumps does harm there.
use crate::cloud::SshShell;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::printer::Printer;
use chrono::Utc;
use diagnostics::{Diagnostic, Diagnostics};
use futures::StreamExt;
use provision::NodeState;
use serde_json::json;
use state::{EnvironmentFolder, Store};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// Seconds that a node's clock may be off.
pub const OFF_MOST: f64 = 5.0;
/// Nodes asked at the same time.
const AT_ONCE: usize = 50;
/// For a node to let us in, and for its answer.
const REACH: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(20);
/// Says that it is there, and when it is asked, what time it has.
const ASK: &str = "echo; read line; date +%s.%N";

/// A node's clock, seen from here.
#[derive(Debug, Clone, PartialEq)]
struct Offset {
    node: String,
    /// Seconds ahead of this host; behind where it is less than nothing.
    seconds: f64,
    /// What the way of question and answer leaves open.
    within: f64,
    /// Installed, and no role has run on it.
    is_new: bool,
}

impl Offset {
    fn is_far(&self) -> bool {
        self.seconds.abs() - self.within > OFF_MOST
    }
}

/// Compares the clocks of all installed nodes; sets those of new ones.
///
/// # Errors
/// A clock that is too far off on a node that runs, or that cannot be set; with the node's place in the inventory. A node that
/// does not answer is none: what comes after says so better.
pub async fn compare(
    folder: &EnvironmentFolder,
    store: &Store,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), CommandError> {
    let shell = SshShell::new(folder, environment, store).await?;
    let records = store.nodes().await.map_err(anyhow::Error::from)?;
    let installed = records
        .iter()
        .filter(|record| record.ssh_host_key.is_some())
        .filter(|record| environment.plan.nodes.contains_key(&record.name));
    let look = |record: &state::NodeRecord| {
        let (node, is_new) = (
            record.name.clone(),
            record.state == NodeState::Provisioned.as_str(),
        );
        let shell = &shell;
        async move {
            let (seconds, within) = ask(shell, &node).await.ok()?;
            Some(Offset {
                node,
                seconds,
                within,
                is_new,
            })
        }
    };
    let offsets: Vec<Offset> = futures::stream::iter(installed.map(look))
        .buffered(AT_ONCE)
        .filter_map(async |offset| offset)
        .collect()
        .await;
    let mut faults = judge(&offsets, environment);
    for offset in offsets.iter().filter(|o| o.is_far() && o.is_new) {
        match set(&shell, &offset.node).await {
            Ok(()) => printer.event(
                "clock",
                &format!(
                    "{}: its clock was {} and is set to this host's",
                    offset.node,
                    told(offset.seconds)
                ),
                &json!({ "node": offset.node, "seconds": offset.seconds }),
            ),
            Err(why) => faults.push(fault(offset, environment).hint(format!(
                "it cannot be set from here ({why}): set it in the machine's firmware"
            ))),
        }
    }
    faults.into_result(()).map_err(CommandError::from)
}

/// What is refused: clocks of nodes that run already.
fn judge(offsets: &[Offset], environment: &Environment) -> Diagnostics {
    let far: Vec<&Offset> = offsets.iter().filter(|offset| offset.is_far()).collect();
    let all = far.len() == offsets.len() && offsets.len() > 1;
    let mut faults = Diagnostics::new();
    for offset in far.iter().filter(|offset| !offset.is_new) {
        let hint = match all {
            true => {
                "every node says so: look at this host's own clock first (`timedatectl`)".to_owned()
            }
            false => format!(
                "on {}, `chronyc sources` says whom it follows and `chronyc makestep` sets it at once; a node of the database \
                 better does that with `systemctl stop wright-database mariadb` before. Then deploy again",
                offset.node
            ),
        };
        faults.push(fault(offset, environment).hint(hint));
    }
    faults
}

fn fault(offset: &Offset, environment: &Environment) -> Diagnostic {
    let fault = Diagnostic::error(format!(
        "the clock of `{}` is {}",
        offset.node,
        told(offset.seconds)
    ))
    .expected(format!("at most {OFF_MOST} s off the deployment host's"));
    match environment.inventory.hosts.get(&offset.node) {
        Some(host) => fault.at(&host.span),
        None => fault,
    }
}

fn told(seconds: f64) -> String {
    let way = match seconds > 0.0 {
        true => "ahead",
        false => "behind",
    };
    format!("{:.1} s {way}", seconds.abs())
}

/// Seconds that the node is ahead, and how exactly that is known.
async fn ask(shell: &SshShell, node: &str) -> Result<(f64, f64), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut child = Command::from(shell.ssh(node, &["sh", "-c", ASK])?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("ssh has no pipes".to_owned());
    };
    let mut lines = BufReader::new(output).lines();
    let late = |_| "no answer in time".to_owned();
    timeout(REACH, lines.next_line())
        .await
        .map_err(late)?
        .map_err(failed)?
        .ok_or("it does not let us in")?;
    let (asked, began) = (Utc::now(), Instant::now());
    input.write_all(b"\n").await.map_err(failed)?;
    let line = timeout(ANSWER, lines.next_line())
        .await
        .map_err(late)?
        .map_err(failed)?
        .unwrap_or_default();
    let took = began.elapsed().as_secs_f64();
    let theirs: f64 = line
        .trim()
        .parse()
        .map_err(|_| format!("`{line}` is no time"))?;
    let ours = asked.timestamp_micros() as f64 / 1e6 + took / 2.0;
    Ok((theirs - ours, took / 2.0))
}

/// Gives a node this host's time, for its hardware's clock, too, where it has one.
async fn set(shell: &SshShell, node: &str) -> Result<(), String> {
    // What the login takes is off by less than what is refused.
    let now = format!("@{}", Utc::now().timestamp() + 1);
    let script =
        format!("date -s {now} >/dev/null && {{ hwclock --systohc 2>/dev/null || true; }}");
    match health::NodeShell::run(shell, node, &["sh", "-c", &script]).await? {
        (0, _) => {}
        (code, said) => return Err(format!("`date` ended with {code} {}", said.trim())),
    }
    let (seconds, within) = ask(shell, node).await?;
    match seconds.abs() - within > OFF_MOST {
        true => Err(format!("it is {} still", told(seconds))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn environment() -> Environment {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inventories/lab-ha");
        Environment::for_tests(&root)
    }

    fn offset(node: &str, seconds: f64, is_new: bool) -> Offset {
        Offset {
            node: node.to_owned(),
            seconds,
            within: 0.1,
            is_new,
        }
    }

    fn text(faults: &Diagnostics) -> String {
        // The folder of the sources is another one elsewhere.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../");
        faults.to_string().replace(&root.display().to_string(), "")
    }

    #[test]
    fn a_clock_that_is_far_off_is_refused_with_its_place() {
        let offsets = [
            offset("node-1", 0.3, false),
            offset("node-2", 3605.21, false),
            offset("node-3", -5.05, false),
            offset("node-4", -86_400.0, true),
        ];
        insta::assert_snapshot!(text(&judge(&offsets, &environment())));
    }

    #[test]
    fn where_all_are_off_it_is_this_host() {
        let offsets = [
            offset("node-1", -900.0, false),
            offset("node-2", -901.0, false),
        ];
        insta::assert_snapshot!(text(&judge(&offsets, &environment())));
    }
}
