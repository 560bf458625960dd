//! Telling what became of a task: counts, and events without what `no_log` hides.
use agent_protocol::task::{Diff, TaskResult};
use serde_json::Value as Json;

use super::item::{CENSORED, RoundEnd};
use super::node::lock;
use super::walk::Walk;
use crate::event::{Event, Status, TaskDone};
use crate::parse::Task;

impl Walk {
    pub(super) async fn tell_round(
        &self,
        task: &Task,
        item: Option<String>,
        ended: &RoundEnd,
        no_log: bool,
        seconds: f64,
    ) {
        let (msg, diff) = match no_log {
            true if ended.result.msg.is_empty() => (String::new(), Vec::new()),
            true => (CENSORED.to_owned(), Vec::new()),
            false => (describe(&ended.result), ended.result.diff.clone()),
        };
        self.tell_done(
            task,
            item,
            ended.status.clone(),
            &msg,
            diff,
            seconds,
            ended.resumed,
        )
        .await;
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    pub(super) async fn tell_done(
        &self,
        task: &Task,
        item: Option<String>,
        status: Status,
        msg: &str,
        diff: Vec<Diff>,
        seconds: f64,
        resumed: bool,
    ) {
        {
            let mut recap = lock(&self.node.recap);
            match &status {
                Status::Ok => recap.ok += 1,
                Status::Changed => recap.changed += 1,
                Status::Skipped => recap.skipped += 1,
                Status::Failed => recap.failed += 1,
                Status::Ignored => recap.ignored += 1,
                Status::Unknown { .. } => recap.unknown += 1,
            }
        }
        if self.engine.check() && matches!(status, Status::Changed | Status::Unknown { .. }) {
            *lock(&self.node.would_change) = Some(task.title());
        }
        let done = TaskDone {
            node: self.node.spec.name.clone(),
            role: self.work.label.clone(),
            task: task.title(),
            item,
            status,
            handler: self.in_handler,
            resumed,
            msg: msg.to_owned(),
            diff,
            seconds,
            place: task.place.to_string(),
        };
        self.engine.tell(Event::TaskDone(done)).await;
    }
}

/// One message for people: what the module says, and of a failed command what it wrote.
fn describe(result: &TaskResult) -> String {
    let text = |key: &str| {
        result
            .data
            .get(key)
            .and_then(Json::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    match (result.failed, text("stderr").or(text("stdout"))) {
        (true, Some(output)) => {
            let lines: Vec<&str> = output.lines().collect();
            let last = lines[lines.len().saturating_sub(8)..].join("\n");
            if result.msg.is_empty() {
                last
            } else {
                format!("{}: {last}", result.msg)
            }
        }
        _ => result.msg.clone(),
    }
}
