//! `wright lab ssh`: OpenSSH on the lab's wires, with the environment's key and the host key that the node's
//! installation reported.
use super::{must_be_up, planned};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::Context;
use diagnostics::ExitStatus;
use inventory::NetworkName;
use state::EnvironmentFolder;
use std::os::unix::process::CommandExt;

pub async fn run(
    node: &str,
    command: &[String],
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    must_be_up(&planned.lab, settings)?;
    let Some(plan) = planned.environment.plan.nodes.get(node) else {
        let names: Vec<&str> = planned
            .environment
            .plan
            .nodes
            .keys()
            .map(String::as_str)
            .collect();
        return Err(CommandError::failed(format!("there is no node `{node}`"))
            .hint(format!("there are: {}", names.join(", "))));
    };
    let address = plan
        .addresses
        .get(&NetworkName::Pxe)
        .or_else(|| plan.addresses.get(&NetworkName::Mgmt))
        .ok_or_else(|| CommandError::failed(format!("node `{node}` has no address")))?;
    let record = match &planned.store {
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
    ssh.arg(format!("root@{address}")).arg("--").args(command);
    let error = ssh.exec();
    Err(CommandError::failed(format!("cannot run `ssh`: {error}"))
        .hint("it is in the package openssh-client"))
}
