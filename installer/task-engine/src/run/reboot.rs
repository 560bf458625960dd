//! The controller's part of `reboot`: the module answers and the node goes down; whether it came up again only we see.
use std::time::Duration;

use agent_protocol::task::{Task as Call, TaskResult};
use serde_json::{Map, Value as Json};
use tokio::time::{Instant, sleep};

use super::node::Node;
use crate::link::LinkError;
use crate::template::display;

/// Between two tries of the test command.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a result says that the node is about to go down.
pub(super) fn has_begun(result: &TaskResult, check: bool) -> bool {
    !check && !result.failed && result.data.get("rebooting") == Some(&Json::Bool(true))
}

/// Waits until the node is up in another boot and its test command says so; the result as Ansible gives it.
pub(super) async fn finish(
    target: &Node,
    id: &str,
    args: &Map<String, Json>,
    mut result: TaskResult,
) -> Result<TaskResult, LinkError> {
    let began = Instant::now();
    let seconds = |names: &[&str], otherwise: u64| {
        let given = names.iter().find_map(|name| args.get(*name));
        let given = given.and_then(|value| display(value).trim().parse::<f64>().ok());
        given.map_or(otherwise, |seconds| seconds.clamp(0.0, 86_400.0) as u64)
    };
    let timeout = seconds(&["reboot_timeout", "reboot_timeout_sec"], 600);
    let before = seconds(&["pre_reboot_delay", "pre_reboot_delay_sec"], 0);
    let after = seconds(&["post_reboot_delay", "post_reboot_delay_sec"], 0);
    let deadline = began + Duration::from_secs(timeout.saturating_add(before));
    result.data.remove("rebooting");
    let boot_id = result.data.remove("boot_id").map(|id| display(&id));
    let within = deadline.saturating_duration_since(Instant::now());
    let up = target
        .link
        .rebooted(&boot_id.unwrap_or_default(), within)
        .await;
    let tested = match up {
        Ok(()) => {
            sleep(Duration::from_secs(after)).await;
            test(target, id, args, deadline).await?
        }
        Err(_) => false,
    };
    result
        .data
        .insert("elapsed".to_owned(), began.elapsed().as_secs().into());
    result.data.insert("rebooted".to_owned(), tested.into());
    if !tested {
        result.failed = true;
        result.msg = format!("Timed out waiting for last boot time check (timeout={timeout})");
    }
    Ok(result)
}

/// The test command, until it ends well.
async fn test(
    target: &Node,
    id: &str,
    args: &Map<String, Json>,
    deadline: Instant,
) -> Result<bool, LinkError> {
    let command = args
        .get("test_command")
        .map_or("whoami".to_owned(), display);
    for attempt in 1.. {
        let call = Call {
            id: format!("{id}t{attempt}"),
            module: "command".to_owned(),
            args: Map::from_iter([("cmd".to_owned(), Json::from(command.as_str()))]),
            check: false,
            diff: false,
            become_user: None,
            environment: Map::new(),
            no_log: false,
            timeout_seconds: 60,
        };
        match target.link.run(call).await {
            Ok(result) if !result.failed => return Ok(true),
            // Just up, a node may drop a connection once more.
            Ok(_) | Err(LinkError::Timeout(_) | LinkError::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(PAUSE).await;
    }
    Ok(false)
}
