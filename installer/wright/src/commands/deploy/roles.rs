//! Running roles: from the playbook to what the run came to, with a line for each thing worth knowing.
use super::run_log::{self, RunLog};
use super::{images, telling};
use crate::error::CommandError;
use crate::printer::Printer;
use serde_json::{Map, Value, json};
use state::{EnvironmentFolder, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use task_engine::hidden::Hidden;
use task_engine::journal::{Journal, StateJournal};
use task_engine::parse::{Catalogue, Playbook};
use task_engine::plan_file::{Selection, World};
use task_engine::{Event, HostSpec, Mode, RunReport, RunSpec, Ssh};
use tokio::sync::mpsc;

/// Events that may wait for the terminal.
const BACKLOG: usize = 1024;

/// Runs that are kept in `state.db` and `logs/runs`; older ones are forgotten.
const RUNS_KEPT: u32 = 50;

/// Reads the playbook and all its roles; every fault at once.
pub fn parse(playbook: &Path) -> Result<Playbook, CommandError> {
    Ok(task_engine::parse::playbook(
        playbook,
        &[],
        &Catalogue::of_modules(),
    )?)
}

/// What is run, and as what.
pub struct Order<'a> {
    pub selection: &'a Selection,
    pub mode: Mode,
    pub diff: bool,
    pub world: &'a World,
    /// Names the run; else it gets the time as its name, or that of the interrupted run which it continues.
    pub name: Option<String>,
    /// Is shown everything that the run tells.
    pub watch: Box<dyn FnMut(&Event) + Send>,
}

/// Runs the roles. A run that changes things goes on with the one that was interrupted, and is what `wright log` shows.
pub async fn run(
    order: Order<'_>,
    folder: &EnvironmentFolder,
    store: &Store,
    hosts: Vec<HostSpec>,
    playbook: Playbook,
    printer: &Printer,
) -> Result<RunReport, CommandError> {
    let name = order.selection.playbook.display().to_string();
    let check = order.mode == Mode::Check;
    let (run, continues) = match &order.name {
        Some(name) => (name.clone(), false),
        None => new_or_interrupted(store, &name, check, printer).await?,
    };
    if !check {
        // Whatever comes of it: plans that were made before are stale now.
        store.bump_generation().await.map_err(anyhow::Error::from)?;
    }
    store
        .begin_run(&run, &name, check)
        .await
        .map_err(anyhow::Error::from)?;
    let agent = images::agent()?;
    let ssh = Ssh::new(&folder.ssh_key(), Some(&agent)).map_err(anyhow::Error::from)?;
    let journal: Arc<dyn Journal> = match check {
        true => Arc::new(StateJournal::of_facts_only(store.clone())),
        false => Arc::new(StateJournal::new(store.clone())),
    };
    let spec = RunSpec {
        limit: order.selection.limit.clone(),
        mode: order.mode,
        diff: order.diff,
        tags: order.selection.tags.clone(),
        skip_tags: order.selection.skip_tags.clone(),
        start_at_task: order.selection.start_at_task.clone(),
        facts: facts(store).await?,
        blank: blank(&hosts),
        hidden: Arc::new(hidden(&hosts)),
        continues,
        ..RunSpec::new(
            run.clone(),
            order.selection.playbook.clone(),
            hosts,
            Arc::new(ssh),
            journal,
        )
    };
    let (events, mut inbox) = mpsc::channel(BACKLOG);
    let (mut log, unwritten) = RunLog::open(folder, &run);
    if let Some(error) = unwritten {
        printer.warn(&format!("the log of the run cannot be written: {error}"));
    }
    let (printer, mut watch) = (*printer, order.watch);
    let teller = tokio::spawn(async move {
        let mut live = printer.live();
        while let Some(event) = inbox.recv().await {
            watch(&event);
            telling::tell(&printer, &mut live, &mut log, &event, check);
        }
    });
    let report = task_engine::run_parsed(spec, playbook, events).await;
    let _ = teller.await;
    let report = match report {
        Ok(report) => report,
        Err(task_engine::RunError::Input(faults)) => {
            let value = json!({"refused": faults.to_json()});
            store
                .end_run(&run, false, &value)
                .await
                .map_err(anyhow::Error::from)?;
            return Err(faults.into());
        }
        Err(error) => return Err(anyhow::Error::from(error).into()),
    };
    let mut value = serde_json::to_value(&report).map_err(anyhow::Error::from)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("world".to_owned(), json!(order.world));
        fields.insert("selection".to_owned(), json!(order.selection));
    }
    store
        .end_run(&run, report.is_success(), &value)
        .await
        .map_err(anyhow::Error::from)?;
    let forgotten = store
        .forget_runs(RUNS_KEPT)
        .await
        .map_err(anyhow::Error::from)?;
    run_log::forget(folder, &forgotten);
    Ok(report)
}

/// The run's id, and whether it is one that was interrupted.
async fn new_or_interrupted(
    store: &Store,
    playbook: &str,
    check: bool,
    printer: &Printer,
) -> Result<(String, bool), CommandError> {
    let interrupted = match check {
        true => None,
        false => store
            .interrupted_run(playbook)
            .await
            .map_err(anyhow::Error::from)?,
    };
    Ok(match interrupted {
        Some(run) => {
            printer.say(&format!("going on with the interrupted run {}", run.id));
            (run.id, true)
        }
        None => {
            // Some deployments are several runs, one right after the other.
            let now = chrono::Utc::now().format("%Y%m%dT%H%M%S%.3f");
            let id = match check {
                true => format!("{now}-check"),
                false => now.to_string(),
            };
            (id, false)
        }
    })
}

/// What nodes said of themselves in earlier runs.
async fn facts(store: &Store) -> Result<BTreeMap<String, Map<String, Value>>, CommandError> {
    let facts = store.facts().await.map_err(anyhow::Error::from)?;
    Ok(facts
        .into_iter()
        .map(|(node, facts)| (node, facts.facts))
        .collect())
}

/// Nodes of which no host key is known were not installed yet.
pub fn blank(hosts: &[HostSpec]) -> BTreeSet<String> {
    hosts
        .iter()
        .filter(|host| host.host_key.is_empty())
        .map(|host| host.name.clone())
        .collect()
}

/// The environment's generated secrets, and each node's own.
fn hidden(hosts: &[HostSpec]) -> Hidden {
    let hidden = Hidden::default();
    // They are the same for all nodes.
    if let Some(secrets) = hosts
        .first()
        .and_then(|host| host.shared.get("wright")?.get("secrets"))
    {
        hidden.add_all(secrets);
    }
    let keys = hosts
        .iter()
        .filter_map(|host| host.vars.get("wright")?.get("tls")?.get("key")?.as_str());
    hidden.add(keys);
    hidden
}

/// Fails with the causes, if there are any.
pub fn judge(report: &RunReport, again: &str) -> Result<(), CommandError> {
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
    Err(CommandError::failed(format!("roles failed:\n  {}", causes.join("\n  "))).hint(again))
}
