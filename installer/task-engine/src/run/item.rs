//! One task on one node: its rounds, each with condition, arguments, attempts and verdict; and the sum of them.
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Context;
use super::loops::{self, Round};
use super::node::lock;
use super::walk::Walk;
use super::{controller, seconds};
use crate::event::Status;
use crate::parse::{Action, Condition, Task};
use crate::template::{TemplateError, display};
use crate::vars::Scope;

/// What a task gave, all rounds together.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskEnd {
    /// For `register`, and for the rescue of a failure.
    pub register: Json,
    /// Check mode: the value of `register` is known only after this task has run.
    pub unknown: Option<String>,
    /// Check mode: handlers that are notified if the task turns out to change something, with the task that this
    /// is known after.
    pub maybe: Vec<(String, String)>,
    /// Variables of `set_fact` and `include_vars`.
    pub set: Vec<(String, Json)>,
    pub facts: Vec<Map<String, Json>>,
    pub notify: Vec<String>,
    pub failure: Option<String>,
}

/// What one round gave.
pub(crate) struct RoundEnd {
    pub result: TaskResult,
    pub status: Status,
    pub set: Vec<(String, Json)>,
    pub resumed: bool,
    /// Check mode: the result is not the one that the task will have; that is known after this task.
    pub pending: Option<String>,
    /// What the journal holds of it, if an agent was asked.
    pub row: Option<Row>,
}

/// The journal's row of what an agent was asked, and what it says came of it.
pub(crate) struct Row {
    pub id: String,
    pub failed: bool,
    pub changed: bool,
}

impl RoundEnd {
    pub fn new(status: Status, result: TaskResult) -> Self {
        RoundEnd {
            result,
            status,
            set: Vec::new(),
            resumed: false,
            pending: None,
            row: None,
        }
    }

    pub fn ok(result: TaskResult) -> Self {
        let status = if result.changed {
            Status::Changed
        } else {
            Status::Ok
        };
        RoundEnd::new(status, result)
    }

    pub fn failed(msg: impl Into<String>) -> Self {
        RoundEnd::new(
            Status::Failed,
            TaskResult {
                failed: true,
                msg: msg.into(),
                ..TaskResult::default()
            },
        )
    }

    pub fn unknown(until: String, reason: impl Into<String>) -> Self {
        let result = TaskResult {
            skipped: true,
            ..TaskResult::default()
        };
        RoundEnd {
            pending: Some(until.clone()),
            ..RoundEnd::new(
                Status::Unknown {
                    until,
                    reason: reason.into(),
                },
                result,
            )
        }
    }

    /// An evaluation that failed, or that depends on what has not run.
    fn of(error: TemplateError) -> Self {
        match error {
            TemplateError::Unknown { task } => RoundEnd::unknown(task, DEPENDS),
            other => RoundEnd::failed(other.to_string()),
        }
    }
}

/// Which round of which task, and whether it may be told.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub number: usize,
    pub index: usize,
    pub no_log: bool,
}

/// Why something is unknown.
pub(crate) const DEPENDS: &str = "it depends on what that task gives";

pub(crate) const CENSORED: &str = "not shown, because the task says `no_log: true`";

impl Walk {
    /// Runs a task in all its rounds and tells each.
    pub(super) async fn perform(
        &self,
        task: &Arc<Task>,
        context: &Context,
        number: usize,
    ) -> TaskEnd {
        let scope = context.scope(&self.engine, &self.node);
        // Better too little told than too much.
        let no_log = self
            .flag(context.inherited.no_log.as_ref(), &scope)
            .unwrap_or(true);
        let rounds = match loops::rounds(&self.engine.templates, task, &scope) {
            Ok(rounds) => rounds,
            Err(error) => {
                // A condition that needs no item can spare the loop: `when: x is defined`, `loop: "{{ x }}"`.
                let skipped = matches!(self.conditions(&context.inherited.when, &scope), Ok(false));
                let round = if skipped { skip() } else { RoundEnd::of(error) };
                let round = self.foreseen(round);
                let at = At {
                    number,
                    index: 0,
                    no_log,
                };
                self.note_round(task, &round, at).await;
                self.tell_round(task, None, &round, no_log, 0.0).await;
                return self.sum(task, &scope, vec![(Round::default(), round)], no_log);
            }
        };
        let mut done = Vec::with_capacity(rounds.len());
        for (index, round) in rounds.into_iter().enumerate() {
            let began = Instant::now();
            let scope = round.scope(&scope);
            let at = At {
                number,
                index,
                no_log,
            };
            let ended = self.foreseen(self.round(task, context, &scope, at).await);
            self.note_round(task, &ended, at).await;
            let label = match task
                .r#loop
                .as_ref()
                .and_then(|looping| looping.label.as_ref())
            {
                Some(label) => self
                    .engine
                    .templates
                    .value(label, &scope)
                    .ok()
                    .map(|label| display(&label)),
                None => round.label(),
            };
            self.tell_round(
                task,
                label.filter(|_| !no_log),
                &ended,
                no_log,
                seconds(began.elapsed()),
            )
            .await;
            done.push((round, ended));
            if let Some(Json::Number(pause)) = task
                .r#loop
                .as_ref()
                .and_then(|looping| looping.pause_seconds.as_ref())
            {
                tokio::time::sleep(Duration::from_secs_f64(
                    pause.as_f64().unwrap_or(0.0).clamp(0.0, 3600.0),
                ))
                .await;
            }
        }
        self.sum(task, &scope, done, no_log)
    }

    /// Adds up the rounds as Ansible does: `results`, and flags that say whether any changed or failed.
    fn sum(
        &self,
        task: &Task,
        scope: &Arc<Scope>,
        rounds: Vec<(Round, RoundEnd)>,
        no_log: bool,
    ) -> TaskEnd {
        let mut end = TaskEnd::default();
        let name = task.title();
        let looped = task.r#loop.is_some();
        let changed = rounds
            .iter()
            .any(|(_, round)| round.status == Status::Changed || round.result.changed);
        let failed = rounds
            .iter()
            .find(|(_, round)| round.status == Status::Failed);
        let ignored = rounds
            .iter()
            .any(|(_, round)| round.status == Status::Ignored);
        let skipped = rounds
            .iter()
            .all(|(_, round)| round.status == Status::Skipped);
        // The cause is the task that everything waits for, not the ones between.
        end.unknown = rounds.iter().find_map(|(_, round)| round.pending.clone());
        if let Some((_, round)) = failed {
            end.failure = Some(match round.result.msg.is_empty() {
                _ if no_log => CENSORED.to_owned(),
                true => format!("`{name}` failed"),
                false => round.result.msg.clone(),
            });
        }
        let facts = |round: &RoundEnd| match round.result.data.get("ansible_facts") {
            Some(Json::Object(facts)) => Some(facts.clone()),
            _ => None,
        };
        end.facts = rounds
            .iter()
            .filter_map(|(_, round)| facts(round))
            .collect();
        end.set = rounds
            .iter()
            .flat_map(|(_, round)| round.set.clone())
            .collect();
        if changed && failed.is_none() {
            end.notify = self.names(&task.notify, scope);
        } else if let Some(until) = rounds.iter().find_map(|(_, round)| match &round.status {
            Status::Unknown { until, .. } => Some(until),
            _ => None,
        }) {
            let names = self.names(&task.notify, scope);
            end.maybe = names
                .into_iter()
                .map(|name| (name, until.clone()))
                .collect();
        }
        end.register = if looped {
            let variable = task
                .r#loop
                .as_ref()
                .map_or("item", |looping| looping.variable.as_str());
            let result = |(round, ended): &(Round, RoundEnd)| {
                let mut out = registered(&ended.result);
                if let Json::Object(map) = &mut out {
                    map.insert(variable.to_owned(), round.item.clone().unwrap_or_default());
                    map.insert("ansible_loop_var".to_owned(), Json::from(variable));
                }
                out
            };
            let results: Vec<Json> = rounds.iter().map(result).collect();
            let failed = failed.is_some() || ignored;
            let msg = if failed {
                "One or more items failed"
            } else {
                "All items completed"
            };
            json!({"results": results, "changed": changed, "failed": failed, "skipped": skipped, "msg": msg})
        } else {
            rounds
                .first()
                .map(|(_, ended)| registered(&ended.result))
                .unwrap_or_default()
        };
        end
    }

    /// In check mode a fault can be the consequence of what an earlier task would have done.
    fn foreseen(&self, ended: RoundEnd) -> RoundEnd {
        if !self.engine.check() || ended.status != Status::Failed {
            return ended;
        }
        let unreachable = ended.result.data.get("unreachable") == Some(&Json::Bool(true));
        match lock(&self.node.would_change).clone() {
            Some(task) if !unreachable => {
                let reason = format!("before it has run the check says: {}", ended.result.msg);
                RoundEnd::unknown(task, reason)
            }
            _ => ended,
        }
    }

    fn names(&self, names: &[String], scope: &Arc<Scope>) -> Vec<String> {
        let render = |name: &String| match self
            .engine
            .templates
            .value(&Json::from(name.as_str()), scope)
        {
            Ok(Json::Array(names)) => names.iter().map(display).collect(),
            Ok(name) => vec![display(&name)],
            Err(_) => vec![name.clone()],
        };
        names.iter().flat_map(render).collect()
    }

    /// The variables that a task sets on the controller, without a word about it.
    pub(super) async fn silent(&self, task: &Task, context: &Context) -> Vec<(String, Json)> {
        let scope = context.scope(&self.engine, &self.node);
        let mut set = Vec::new();
        for round in loops::rounds(&self.engine.templates, task, &scope).unwrap_or_default() {
            let scope = round.scope(&scope);
            if !matches!(self.conditions(&context.inherited.when, &scope), Ok(true)) {
                continue;
            }
            if let Ok(ended) = controller::run(self, task, context, &scope).await {
                set.extend(ended.set);
            }
        }
        set
    }

    async fn round(
        &self,
        task: &Arc<Task>,
        context: &Context,
        scope: &Arc<Scope>,
        at: At,
    ) -> RoundEnd {
        match self.conditions(&context.inherited.when, scope) {
            Ok(true) => {}
            Ok(false) => return skip(),
            Err(error) => return RoundEnd::of(error),
        }
        let _turn = match self.turn(task, context, scope).await {
            Ok(turn) => turn,
            Err(error) => return RoundEnd::of(error),
        };
        let ended = match &task.action {
            Action::Module { name, args } => {
                match self.attempts(task, context, scope, (name, args), at).await {
                    Ok(ended) => ended,
                    Err(error) => RoundEnd::of(error),
                }
            }
            Action::Fetch { args } => {
                let ended = self.fetch(task, context, scope, args, at).await;
                match ended.and_then(|ended| self.verdict(task, scope, ended, 1)) {
                    Ok(ended) => ended,
                    Err(error) => RoundEnd::of(error),
                }
            }
            _ => {
                let ended = controller::run(self, task, context, scope).await;
                match ended.and_then(|ended| self.verdict(task, scope, ended, 1)) {
                    Ok(ended) => ended,
                    Err(error) => RoundEnd::of(error),
                }
            }
        };
        let unreachable = ended.result.data.get("unreachable") == Some(&Json::Bool(true));
        // As in Ansible: a node that does not answer is no error that can be ignored as one.
        let ignored = match unreachable {
            true => context.inherited.ignore_unreachable.as_ref(),
            false => context.inherited.ignore_errors.as_ref(),
        };
        match self.flag(ignored, scope) {
            Ok(true) if ended.status == Status::Failed => RoundEnd {
                status: Status::Ignored,
                ..ended
            },
            _ => ended,
        }
    }

    /// `throttle`: the right to run a task that only so many nodes may run at the same time.
    async fn turn(
        &self,
        task: &Task,
        context: &Context,
        scope: &Arc<Scope>,
    ) -> Result<Option<OwnedSemaphorePermit>, TemplateError> {
        let Some(raw) = &context.inherited.throttle else {
            return Ok(None);
        };
        let value = display(&self.engine.templates.value(raw, scope)?);
        let Some(most) = value.trim().parse::<usize>().ok().filter(|most| *most > 0) else {
            return Ok(None);
        };
        let turns = lock(&self.engine.throttles)
            .entry(task.place.to_string())
            .or_insert_with(|| Arc::new(Semaphore::new(most)))
            .clone();
        // The semaphore is never closed, so this waits until it is this node's turn.
        Ok(turns.acquire_owned().await.ok())
    }

    pub(super) fn conditions(
        &self,
        conditions: &[Condition],
        scope: &Arc<Scope>,
    ) -> Result<bool, TemplateError> {
        for condition in conditions {
            let holds = match condition {
                Condition::Literal(holds) => *holds,
                Condition::Expression(source) => self.engine.templates.condition(source, scope)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A keyword that is a boolean or a template of one.
    pub(super) fn flag(
        &self,
        raw: Option<&Json>,
        scope: &Arc<Scope>,
    ) -> Result<bool, TemplateError> {
        let Some(raw) = raw else { return Ok(false) };
        Ok(match self.engine.templates.value(raw, scope)? {
            Json::Bool(value) => value,
            other => matches!(
                display(&other).to_ascii_lowercase().as_str(),
                "true" | "yes" | "on" | "1"
            ),
        })
    }
}

pub(crate) fn skip() -> RoundEnd {
    let mut result = TaskResult {
        skipped: true,
        ..TaskResult::default()
    };
    result.data.insert(
        "skip_reason".to_owned(),
        "Conditional result was False".into(),
    );
    RoundEnd::new(Status::Skipped, result)
}

/// A result as `register` gives it.
pub(crate) fn registered(result: &TaskResult) -> Json {
    let mut out = serde_json::to_value(result).unwrap_or_default();
    if let Json::Object(map) = &mut out {
        map.remove("diff");
        if !result.skipped {
            map.remove("skipped");
        }
    }
    out
}
