//! What a run tells: a line for each thing worth knowing, to the user and to the run's log.
use super::run_log::RunLog;
use crate::live::Live;
use crate::printer::Printer;
use task_engine::{Event, Status, TaskDone};

pub fn tell(printer: &Printer, live: &mut Live, log: &mut RunLog, event: &Event, check: bool) {
    show(live, event);
    let Some(text) = text(event, check) else {
        return;
    };
    log.line(&text);
    let quiet = match event {
        // What a check finds is told at its end, as a plan.
        Event::TaskDone(_) | Event::RunDone(_) => check,
        // A live line says the same.
        Event::NodeConnected { .. } => live.is_shown(),
        Event::RoleStarted { .. } => check || live.is_shown(),
        _ => false,
    };
    if !quiet {
        printer.event("roles", &text, event);
    }
}

/// Keeps the live line of a node true.
pub fn show(live: &mut Live, event: &Event) {
    match event {
        Event::NodeConnected { node } => live.resume(node),
        Event::NodeWaiting { node, reason } => live.hold(node, &format!("waiting ({reason})")),
        Event::RoleStarted { node, role } => live.set(node, role),
        Event::TaskStarted {
            node, role, task, ..
        } if role.is_empty() => live.set(node, task),
        Event::TaskStarted {
            node, role, task, ..
        } => live.set(node, &format!("{role}: {task}")),
        Event::RoleDone { node, .. } => live.set(node, "waiting for other nodes"),
        Event::NodeFailed { node, .. } => live.end(node),
        _ => {}
    }
}

fn text(event: &Event, check: bool) -> Option<String> {
    Some(match event {
        Event::RunStarted {
            run, nodes, roles, ..
        } => {
            let what = if check { "check" } else { "run" };
            format!("{what} {run}: {roles} roles on {} nodes", nodes.len())
        }
        Event::NodeConnected { node } => format!("{node}: connected"),
        Event::NodeWaiting { node, reason } => format!("{node}: waiting ({reason})"),
        Event::RoleStarted { node, role } => format!("{node}: role {role}"),
        Event::TaskDone(done) => task(done, check)?,
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
        Event::TaskStarted { .. } | Event::RoleDone { .. } | Event::Output { .. } => return None,
    })
}

fn task(done: &TaskDone, check: bool) -> Option<String> {
    let word = match &done.status {
        Status::Changed if check => "would change",
        Status::Changed => "changed",
        Status::Failed => "FAILED",
        Status::Ignored => "failed, ignored",
        Status::Unknown { .. } | Status::Ok | Status::Skipped => return None,
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
    Some(format!(
        "{}: {word}: {}{item}{why} [{:.1} s]",
        done.node, done.task, done.seconds
    ))
}
