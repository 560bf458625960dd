//! `wright log`: runs, the tasks of a run, all that a task gave.
use crate::args::log::LogArgs;
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::table;
use diagnostics::ExitStatus;
use serde::Serialize;
use serde_json::Value;
use state::Store;
use state::journal::{JournalFilter, JournalRecord};
use state::runs::RunRecord;
use std::fmt::{self, Display, Formatter};

pub async fn run(
    args: LogArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let Some(store) = environment::open_store(settings).await? else {
        return Err(nothing(settings));
    };
    match &args.run {
        None => runs(&store, &args, settings, printer).await?,
        Some(name) => {
            let run = find(&store, name, settings).await?;
            match &args.task {
                None => tasks(&store, run, &args, printer).await?,
                Some(task) => one_task(&store, &run, task, printer).await?,
            }
        }
    }
    Ok(ExitStatus::Done)
}

fn nothing(settings: &Settings) -> CommandError {
    CommandError::failed(format!("environment `{}` has no runs yet", settings.env)).hint(format!(
        "`wright -e {} deploy` makes the first",
        settings.env
    ))
}

/// A run by its name, by the beginning of it, or the newest that changed things.
async fn find(store: &Store, name: &str, settings: &Settings) -> Result<RunRecord, CommandError> {
    let all = store.runs(0, u32::MAX).await.map_err(anyhow::Error::from)?;
    if name == "last" {
        let last = all.into_iter().find(|run| !run.check);
        return last.ok_or_else(|| nothing(settings));
    }
    if let Some(run) = all.iter().find(|run| run.id == name) {
        return Ok(run.clone());
    }
    let mut like: Vec<&RunRecord> = all.iter().filter(|run| run.id.starts_with(name)).collect();
    match (like.pop(), like.is_empty()) {
        (Some(run), true) => Ok(run.clone()),
        (None, _) => Err(
            CommandError::failed(format!("there is no run `{name}`")).hint(match all.first() {
                Some(newest) => format!("the newest is `{}`; `wright log` lists them", newest.id),
                None => "`wright log` lists them".to_owned(),
            }),
        ),
        (Some(_), false) => Err(CommandError::failed(format!(
            "more than one run begins with `{name}`"
        ))
        .hint("`wright log` lists them")),
    }
}

#[derive(Serialize)]
struct Runs {
    page: u32,
    more: bool,
    runs: Vec<RunRow>,
}

#[derive(Serialize)]
struct RunRow {
    run: String,
    playbook: String,
    check: bool,
    started_at: String,
    /// `null`: it goes on, or was interrupted.
    ended_at: Option<String>,
    success: Option<bool>,
    nodes: usize,
    changed: u64,
    failed: u64,
}

async fn runs(
    store: &Store,
    args: &LogArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<(), CommandError> {
    let (skip, most) = ((args.page - 1).saturating_mul(args.lines), args.lines);
    let all = store.runs(0, u32::MAX).await.map_err(anyhow::Error::from)?;
    if all.is_empty() {
        return Err(nothing(settings));
    }
    let mut rows: Vec<RunRow> = all
        .into_iter()
        .filter(|run| !args.failed || run.success == Some(false))
        .skip(skip as usize)
        .take(most as usize + 1)
        .map(row)
        .collect();
    let more = rows.len() > most as usize;
    rows.truncate(most as usize);
    printer.data(&Runs {
        page: args.page,
        more,
        runs: rows,
    })
}

fn row(run: RunRecord) -> RunRow {
    let nodes = run
        .report
        .as_ref()
        .and_then(|report| report.get("nodes")?.as_object());
    let sum = |what: &str| {
        let counts = nodes.into_iter().flat_map(|nodes| nodes.values());
        counts.filter_map(|node| node.get(what)?.as_u64()).sum()
    };
    RunRow {
        nodes: nodes.map_or(0, serde_json::Map::len),
        changed: sum("changed"),
        failed: sum("failed"),
        playbook: run.playbook,
        check: run.check,
        started_at: time(&run.started_at.to_rfc3339()),
        ended_at: run.ended_at.map(|at| time(&at.to_rfc3339())),
        success: run.success,
        run: run.id,
    }
}

/// Whole seconds are enough to find one's way.
fn time(text: &str) -> String {
    text.get(..19)
        .map_or_else(|| text.to_owned(), |text| text.replace('T', " "))
}

impl Display for Runs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            [
                "run",
                "began (UTC)",
                "ended",
                "result",
                "nodes",
                "changed",
                "failed",
            ]
            .map(str::to_owned),
        ];
        for run in &self.runs {
            let result = match (run.check, run.success) {
                (_, None) => "not ended",
                (true, Some(_)) => "check",
                (false, Some(true)) => "done",
                (false, Some(false)) => "FAILED",
            };
            rows.push([
                run.run.clone(),
                run.started_at.clone(),
                run.ended_at.clone().unwrap_or_else(|| "-".to_owned()),
                result.to_owned(),
                run.nodes.to_string(),
                run.changed.to_string(),
                run.failed.to_string(),
            ]);
        }
        f.write_str(&table::columns(&rows))?;
        match self.more {
            true => write!(f, "older ones: --page {}", self.page + 1),
            false => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Tasks {
    #[serde(flatten)]
    run: RunRow,
    page: u32,
    more: bool,
    tasks: Vec<TaskRow>,
}

#[derive(Serialize)]
struct TaskRow {
    /// For `--task`.
    id: String,
    node: String,
    role: String,
    task: String,
    started_at: Option<String>,
    /// `null`: it goes on, or was interrupted.
    ended_at: Option<String>,
    failed: Option<bool>,
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

fn task_row(run: &str, record: JournalRecord) -> TaskRow {
    let prefix = format!("{run}/");
    TaskRow {
        id: record
            .id
            .strip_prefix(&prefix)
            .unwrap_or(&record.id)
            .to_owned(),
        node: record.node,
        role: record.role,
        task: record.title,
        started_at: record.started_at.as_deref().map(time),
        ended_at: record.ended_at.as_deref().map(time),
        failed: record.failed,
        changed: record.changed,
        result: record
            .result
            .and_then(|text| serde_json::from_str(&text).ok()),
    }
}

impl TaskRow {
    fn word(&self) -> &'static str {
        match (self.failed, self.changed) {
            (Some(true), _) => "FAILED",
            (_, Some(true)) => "changed",
            (Some(false), _) => "ok",
            (None, _) => "not ended",
        }
    }
}

async fn tasks(
    store: &Store,
    run: RunRecord,
    args: &LogArgs,
    printer: &Printer,
) -> Result<(), CommandError> {
    let filter = JournalFilter {
        node: args.node.clone(),
        failed: args.failed,
        changed: args.changed,
    };
    let (skip, most) = (
        u64::from(args.page - 1) * u64::from(args.lines),
        u64::from(args.lines),
    );
    let records = store
        .journal_list(&run.id, &filter, skip, most + 1)
        .await
        .map_err(anyhow::Error::from)?;
    let more = records.len() as u64 > most;
    let tasks = records
        .into_iter()
        .take(args.lines as usize)
        .map(|record| task_row(&run.id, record))
        .collect();
    printer.data(&Tasks {
        run: row(run),
        page: args.page,
        more,
        tasks,
    })
}

impl Display for Tasks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows =
            vec![["began (UTC)", "node", "result", "role: task", "id"].map(str::to_owned)];
        for task in &self.tasks {
            rows.push([
                task.started_at
                    .as_ref()
                    .or(task.ended_at.as_ref())
                    .cloned()
                    .unwrap_or_else(|| "-".to_owned()),
                task.node.clone(),
                task.word().to_owned(),
                format!("{}: {}", task.role, task.task),
                task.id.clone(),
            ]);
        }
        writeln!(f, "run {} of {}", self.run.run, self.run.playbook)?;
        match self.tasks.is_empty() {
            true => write!(f, "no such tasks")?,
            false => f.write_str(&table::columns(&rows))?,
        }
        match self.more {
            true => write!(f, "more: --page {}", self.page + 1),
            false => Ok(()),
        }
    }
}

/// More tasks than this with the same beginning of their ids are not one that is meant.
const ALIKE_MAX: u32 = 20;

async fn one_task(
    store: &Store,
    run: &RunRecord,
    id: &str,
    printer: &Printer,
) -> Result<(), CommandError> {
    let prefix = format!("{}/", run.id);
    let whole = match id.starts_with(&prefix) {
        true => id.to_owned(),
        false => format!("{prefix}{id}"),
    };
    let mut found = store
        .journal_tasks(&run.id, &whole, ALIKE_MAX)
        .await
        .map_err(anyhow::Error::from)?;
    if let Some(at) = found.iter().position(|record| record.id == whole) {
        found = vec![found.swap_remove(at)];
    }
    match found.len() {
        0 => Err(
            CommandError::failed(format!("run {} has no task `{id}`", run.id))
                .hint(format!("`wright log {}` lists them", run.id)),
        ),
        1 => printer.data(&One(task_row(&run.id, found.remove(0)))),
        _ => {
            let ids: Vec<String> = found
                .iter()
                .map(|record| record.id.replace(&prefix, ""))
                .collect();
            Err(CommandError::failed(format!(
                "more than one task begins with `{id}`:\n  {}",
                ids.join("\n  ")
            )))
        }
    }
}

#[derive(Serialize)]
struct One(TaskRow);

impl Display for One {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let task = &self.0;
        writeln!(f, "{}: {}", task.role, task.task)?;
        writeln!(f, "node:    {}", task.node)?;
        writeln!(f, "id:      {}", task.id)?;
        let dash = || "-".to_owned();
        writeln!(
            f,
            "began:   {}",
            task.started_at.clone().unwrap_or_else(dash)
        )?;
        writeln!(f, "ended:   {}", task.ended_at.clone().unwrap_or_else(dash))?;
        writeln!(f, "result:  {}", task.word())?;
        let Some(Value::Object(fields)) = &task.result else {
            return write!(f, "output:  not kept (`no_log`, or the task has not ended)");
        };
        for (name, value) in fields {
            // Said above, or said twice by modules.
            if matches!(name.as_str(), "changed" | "failed" | "skipped") || name.ends_with("_lines")
            {
                continue;
            }
            match value {
                Value::String(text) if text.contains('\n') => {
                    writeln!(f, "{name}:")?;
                    for line in text.lines() {
                        writeln!(f, "    {line}")?;
                    }
                }
                Value::String(text) => writeln!(f, "{name}: {text}")?,
                other => writeln!(f, "{name}: {other}")?,
            }
        }
        Ok(())
    }
}
