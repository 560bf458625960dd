//! `wright drift`: what is no longer as it was deployed.
use super::deploy::foresee::foresee;
use crate::args::plan::DriftArgs;
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use task_engine::Failure;
use task_engine::plan_file::{Entry, Verdict, World, by_node};

/// What was found.
#[derive(Debug, Serialize)]
struct Drift {
    env: String,
    /// The run that deployed what is compared with.
    since: String,
    /// Inventory or roles are others now: differences may be theirs.
    world_changed: bool,
    differences: Vec<Entry>,
    /// Tasks that cannot be checked without running them.
    unknown: usize,
    checked: usize,
    faults: Vec<Failure>,
}

impl Display for Drift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (nodes, text) in by_node(&self.differences, "differs") {
            writeln!(f, "{nodes}\n{text}")?;
        }
        for fault in &self.faults {
            let (node, role, task) = (&fault.node, &fault.role, &fault.task);
            writeln!(f, "{node} FAILED in {role}, task `{task}`: {}", fault.msg)?;
        }
        match self.differences.len() {
            0 => write!(f, "Nothing differs from run {}", self.since)?,
            1 => write!(f, "1 difference from run {}", self.since)?,
            n => write!(f, "{n} differences from run {}", self.since)?,
        }
        write!(
            f,
            " ({} tasks checked, {} cannot be checked without running them).",
            self.checked, self.unknown
        )
    }
}

pub async fn run(
    args: DriftArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let selection = args.selection.selection();
    let playbook = selection.playbook.display().to_string();
    let runs = match environment::open_store(settings).await? {
        Some(store) => store.runs(0, u32::MAX).await.map_err(anyhow::Error::from)?,
        None => Vec::new(),
    };
    let Some(last) = runs
        .into_iter()
        .find(|run| !run.check && run.success == Some(true) && run.playbook == playbook)
    else {
        return Err(CommandError::failed(format!(
            "nothing was deployed from `{playbook}` yet, so nothing can differ from it"
        ))
        .hint(format!(
            "`wright -e {} plan` shows what a deployment would do",
            settings.env
        )));
    };
    let then: Option<World> = last
        .report
        .and_then(|report| serde_json::from_value(report.get("world")?.clone()).ok());
    let plan = foresee(settings, selection, !args.no_diff, printer).await?;
    let world_changed = then.is_some_and(|then| {
        then.inventory_sha256 != plan.world.inventory_sha256
            || then.roles_sha256 != plan.world.roles_sha256
    });
    if world_changed {
        printer.warn(
            "inventory or roles are not those of the last deployment: what differs may be theirs",
        );
    }
    let counts = plan.counts();
    let drift = Drift {
        env: settings.env.clone(),
        since: last.id,
        world_changed,
        unknown: counts.unknown,
        checked: counts.change + counts.no_change,
        differences: plan
            .entries
            .into_iter()
            .filter(|entry| entry.verdict == Verdict::Change)
            .collect(),
        faults: plan.faults,
    };
    printer.data(&drift)?;
    if !drift.faults.is_empty() {
        return Err(CommandError::failed(
            "not everything could be checked: see what failed above",
        ));
    }
    Ok(match drift.differences.is_empty() {
        true => ExitStatus::Done,
        false => ExitStatus::Differences,
    })
}
