//! Entering a network namespace: that of a lab, whose wires only exist there, or the one that
//! `WRIGHT_NETNS` names. So the deployment of a lab runs by the very same code as any other.

use crate::error::CommandError;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::Path;

const VARIABLE: &str = "WRIGHT_NETNS";

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
