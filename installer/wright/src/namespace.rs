//! Entering the network namespace that `WRIGHT_NETNS` names: how `wright lab` lets the deployment
//! run on the lab's wires by the very same code.

use crate::error::CommandError;
use nix::sched::{CloneFlags, setns};
use std::fs::File;

const VARIABLE: &str = "WRIGHT_NETNS";

/// Enters `/run/netns/$WRIGHT_NETNS` if the variable is set. Only for the calling thread, and those
/// that it starts afterwards.
pub fn enter_from_environment() -> Result<(), CommandError> {
    let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let name = name.to_string_lossy().into_owned();
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
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|cause| {
        CommandError::failed(format!(
            "cannot enter the network namespace `{name}`: {cause}"
        ))
        .hint("this needs root's rights")
    })
}
