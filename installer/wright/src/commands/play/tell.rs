//! What a person reads while a playbook runs, and at its end.
use crate::error::CommandError;
use crate::printer::Printer;
use crate::table;
use diagnostics::ExitStatus;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use task_engine::plan_file::diff_lines;
use task_engine::{Event, RunReport, Status, TaskDone};

pub fn event(printer: &Printer, event: &Event) {
    let text = match event {
        Event::RunStarted { run, nodes, .. } => format!("run {run} on {} hosts", nodes.len()),
        Event::NodeWaiting { node, reason } => format!("{node}: waiting ({reason})"),
        Event::TaskDone(done) => match task(done) {
            Some(text) => text,
            None => return,
        },
        Event::NotRun {
            node,
            roles,
            because,
        } => format!("{node}: not run: {} (because {because})", roles.join(", ")),
        _ => return,
    };
    printer.event("play", &text, event);
}

/// A line for what changed, failed, or has something to say; the rest is in the recap.
fn task(done: &TaskDone) -> Option<String> {
    let word = match &done.status {
        Status::Changed => "changed",
        Status::Failed => "FAILED",
        Status::Ignored => "failed, ignored",
        Status::Ok if !done.msg.is_empty() => "ok",
        Status::Unknown { .. } => "unknown",
        Status::Ok | Status::Skipped => return None,
    };
    let item = done
        .item
        .as_ref()
        .map(|item| format!(" ({item})"))
        .unwrap_or_default();
    let why = match &done.status {
        Status::Unknown { until, reason } => format!(": until `{until}` has run: {reason}"),
        Status::Changed => String::new(),
        _ if done.msg.is_empty() => String::new(),
        _ => format!(": {}", done.msg),
    };
    let place = match done.status {
        Status::Failed => format!("\n  at {}", done.place),
        _ => String::new(),
    };
    let mut text = format!(
        "{}: {word}: {}{item}{why} [{:.1} s]{place}",
        done.node, done.task, done.seconds
    );
    for diff in &done.diff {
        for line in diff_lines(diff) {
            text.push_str(&format!("\n  {line}"));
        }
    }
    Some(text)
}

#[derive(Serialize)]
struct Recap<'a> {
    #[serde(flatten)]
    report: &'a RunReport,
    check: bool,
}

impl Display for Recap<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            [
                "host", "ok", "changed", "skipped", "failed", "ignored", "rescued", "unknown",
            ]
            .map(str::to_owned),
        ];
        for (node, recap) in &self.report.nodes {
            let name = match recap.unreachable {
                true => format!("{node} (unreachable)"),
                false => node.clone(),
            };
            let mut row = vec![name];
            row.extend(
                [
                    recap.ok,
                    recap.changed,
                    recap.skipped,
                    recap.failed,
                    recap.ignored,
                    recap.rescued,
                    recap.unknown,
                ]
                .map(|count| count.to_string()),
            );
            if let Ok(row) = row.try_into() {
                rows.push(row);
            }
        }
        f.write_str(&table::columns(&rows))?;
        match (self.check, self.report.changed()) {
            (_, 0) => write!(f, "\nNothing was changed ({:.1} s).", self.report.seconds),
            (true, n) => write!(
                f,
                "\n{n} tasks would change something ({:.1} s).",
                self.report.seconds
            ),
            (false, n) => write!(
                f,
                "\n{n} tasks changed something ({:.1} s).",
                self.report.seconds
            ),
        }
    }
}

/// The table of all hosts; a failure is the command's failure, a difference found by `--check` its own status.
pub fn recap(
    printer: &Printer,
    report: &RunReport,
    check: bool,
) -> Result<ExitStatus, CommandError> {
    printer.data(&Recap { report, check })?;
    if report.is_success() {
        return Ok(match check && report.changed() > 0 {
            true => ExitStatus::Differences,
            false => ExitStatus::Done,
        });
    }
    let causes: Vec<String> = report
        .failures
        .iter()
        .map(|failure| format!("{}: task `{}`: {}", failure.node, failure.task, failure.msg))
        .collect();
    Err(
        CommandError::failed(format!("the playbook failed:\n  {}", causes.join("\n  ")))
            .hint("mend the cause and run it again"),
    )
}
