//! Running roles: from the playbook to what the run came to, with a line for each thing worth knowing.
use super::images;
use crate::args::deploy::DeployArgs;
use crate::error::CommandError;
use crate::printer::Printer;
use serde_json::Map;
use state::{EnvironmentFolder, Store};
use std::path::Path;
use std::sync::Arc;
use task_engine::journal::StateJournal;
use task_engine::parse::{Catalogue, Playbook};
use task_engine::{Event, HostSpec, Limits, Mode, RunReport, RunSpec, Ssh, Status};
use tokio::sync::mpsc;

/// Events that may wait for the terminal.
const BACKLOG: usize = 1024;

/// Reads the playbook and all its roles; every fault at once.
pub fn parse(playbook: &Path) -> Result<Playbook, CommandError> {
    Ok(task_engine::parse::playbook(
        playbook,
        &[],
        &Catalogue::of_modules(),
    )?)
}

/// Runs the roles, going on with a run that was interrupted.
pub async fn run(
    args: &DeployArgs,
    folder: &EnvironmentFolder,
    store: &Store,
    hosts: Vec<HostSpec>,
    playbook: Playbook,
    printer: &Printer,
) -> Result<RunReport, CommandError> {
    let name = args.playbook.display().to_string();
    let interrupted = store
        .interrupted_run(&name)
        .await
        .map_err(anyhow::Error::from)?;
    let run = match interrupted {
        Some(run) => {
            printer.say(&format!("going on with the interrupted run {}", run.id));
            run.id
        }
        None => chrono::Utc::now().format("%Y%m%dT%H%M%S").to_string(),
    };
    store
        .begin_run(&run, &name, false)
        .await
        .map_err(anyhow::Error::from)?;
    let agent = images::agent()?;
    let ssh = Ssh::new(&folder.ssh_key(), Some(&agent)).map_err(anyhow::Error::from)?;
    let spec = RunSpec {
        run: run.clone(),
        playbook: args.playbook.clone(),
        role_folders: Vec::new(),
        hosts,
        limit: args.limit.clone(),
        mode: Mode::Apply,
        diff: false,
        tags: Vec::new(),
        skip_tags: Vec::new(),
        extra_vars: Map::new(),
        limits: Limits::default(),
        transport: Arc::new(ssh),
        journal: Arc::new(StateJournal::new(store.clone())),
    };
    let (events, mut inbox) = mpsc::channel(BACKLOG);
    let printer = *printer;
    let teller = tokio::spawn(async move {
        while let Some(event) = inbox.recv().await {
            tell(&printer, &event);
        }
    });
    let report = task_engine::run_parsed(spec, playbook, events).await;
    let _ = teller.await;
    let report = match report {
        Ok(report) => report,
        Err(task_engine::RunError::Input(faults)) => return Err(faults.into()),
        Err(error) => return Err(anyhow::Error::from(error).into()),
    };
    let value = serde_json::to_value(&report).map_err(anyhow::Error::from)?;
    store
        .end_run(&run, report.is_success(), &value)
        .await
        .map_err(anyhow::Error::from)?;
    Ok(report)
}

/// Fails with the causes, if there are any.
pub fn judge(report: &RunReport) -> Result<(), CommandError> {
    if report.is_success() {
        return Ok(());
    }
    let causes: Vec<String> = report
        .failures
        .iter()
        .map(|failure| {
            format!(
                "{}: role {}, task `{}`: {}",
                failure.node, failure.role, failure.task, failure.msg
            )
        })
        .collect();
    Err(
        CommandError::failed(format!("roles failed:\n  {}", causes.join("\n  ")))
            .hint("mend the cause and run `deploy` again: it goes on from there"),
    )
}

fn tell(printer: &Printer, event: &Event) {
    let text = match event {
        Event::RunStarted {
            run, nodes, roles, ..
        } => format!("run {run}: {roles} roles on {} nodes", nodes.len()),
        Event::NodeConnected { node } => format!("{node}: connected"),
        Event::NodeWaiting { node, reason } => format!("{node}: waiting ({reason})"),
        Event::RoleStarted { node, role } => format!("{node}: role {role}"),
        Event::TaskDone(done) => {
            let word = match &done.status {
                Status::Changed => "changed",
                Status::Failed => "FAILED",
                Status::Ignored => "failed, ignored",
                Status::Unknown { .. } | Status::Ok | Status::Skipped => return,
            };
            let item = done
                .item
                .as_ref()
                .map(|item| format!(" ({item})"))
                .unwrap_or_default();
            let why = if done.msg.is_empty() || done.status == Status::Changed {
                String::new()
            } else {
                format!(": {}", done.msg)
            };
            format!(
                "{}: {word}: {}{item}{why} [{:.1} s]",
                done.node, done.task, done.seconds
            )
        }
        Event::NodeFailed {
            node,
            role,
            task,
            msg,
        } => format!("{node}: role {role} failed at `{task}`: {msg}"),
        Event::NotRun {
            node,
            roles,
            because,
        } => format!("{node}: not run: {} (because {because})", roles.join(", ")),
        Event::RunDone(report) => {
            let rows: Vec<String> = report
                .nodes
                .iter()
                .map(|(node, recap)| {
                    format!(
                        "{node}: {} ok, {} changed, {} skipped, {} failed",
                        recap.ok, recap.changed, recap.skipped, recap.failed
                    )
                })
                .collect();
            rows.join("\n")
        }
        Event::TaskStarted { .. } | Event::RoleDone { .. } | Event::Output { .. } => return,
    };
    printer.event("roles", &text, event);
}
