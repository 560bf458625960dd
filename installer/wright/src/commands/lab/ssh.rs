//! `wright lab ssh`: OpenSSH on the lab's wires, with the environment's key and the host key that the node's
//! installation reported.
use super::{must_be_up, planned};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::Context;
use diagnostics::ExitStatus;
use inventory::NetworkName;
use state::{EnvironmentFolder, Store};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub async fn run(
    node: &str,
    command: &[String],
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    must_be_up(&planned.lab, settings)?;
    let mut ssh = login(node, settings, &planned.environment, planned.store.as_ref()).await?;
    let error = ssh.args(command).exec();
    Err(CommandError::failed(format!("cannot run `ssh`: {error}"))
        .hint("it is in the package openssh-client"))
}

/// `ssh` to a node of the lab; the command to run there is added.
pub async fn login(
    node: &str,
    settings: &Settings,
    environment: &Environment,
    store: Option<&Store>,
) -> Result<Command, CommandError> {
    let Some(plan) = environment.plan.nodes.get(node) else {
        let names: Vec<&str> = environment.plan.nodes.keys().map(String::as_str).collect();
        return Err(CommandError::failed(format!("there is no node `{node}`"))
            .hint(format!("there are: {}", names.join(", "))));
    };
    let address = plan
        .addresses
        .get(&NetworkName::Pxe)
        .or_else(|| plan.addresses.get(&NetworkName::Mgmt))
        .ok_or_else(|| CommandError::failed(format!("node `{node}` has no address")))?;
    let record = match store {
        Some(store) => store.node(node).await.map_err(anyhow::Error::from)?,
        None => None,
    };
    let Some(key) = record.and_then(|record| record.ssh_host_key) else {
        return Err(
            CommandError::failed(format!("node `{node}` is not installed yet")).hint(format!(
                "`wright -e {} lab console {node}` shows what it does",
                settings.env
            )),
        );
    };
    let folder = EnvironmentFolder::create(&settings.state_dir, &settings.env)
        .map_err(anyhow::Error::from)?;
    let hosts = folder.ssh().join(format!("known_hosts.{node}"));
    std::fs::write(&hosts, format!("{node} {key}\n"))
        .with_context(|| format!("cannot write `{}`", hosts.display()))?;
    let mut ssh = lab::inside(&settings.env, "ssh");
    ssh.arg("-i").arg(folder.ssh_key());
    ssh.arg("-o")
        .arg(format!("UserKnownHostsFile={}", hosts.display()));
    ssh.args([
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
    ]);
    ssh.args([
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "LogLevel=ERROR",
        "-F",
        "none",
    ]);
    ssh.arg("-o").arg(format!("HostKeyAlias={node}"));
    ssh.arg(format!("root@{address}")).arg("--");
    Ok(ssh)
}
