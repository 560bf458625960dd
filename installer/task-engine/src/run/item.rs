//! One task on one node: its rounds, each with condition, arguments, attempts and verdict; and the sum of them.
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_protocol::task::{Diff, Task as Call, TaskResult};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::context::Context;
use super::loops::{self, Round};
use super::node::lock;
use super::walk::Walk;
use super::{controller, files, seconds};
use crate::event::{Event, Status, TaskDone};
use crate::journal::{Entry, Step};
use crate::link::LinkError;
use crate::parse::{Action, Args, Condition, Task};
use crate::template::{TemplateError, display};
use crate::vars::{Layer, Scope};

/// What a task gave, all rounds together.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskEnd {
    /// For `register`, and for the rescue of a failure.
    pub register: Json,
    /// Check mode: the value of `register` is known only after this task has run.
    pub unknown: Option<String>,
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
}

impl RoundEnd {
    pub fn new(status: Status, result: TaskResult) -> Self {
        RoundEnd {
            result,
            status,
            set: Vec::new(),
            resumed: false,
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

    fn unknown(until: String) -> Self {
        RoundEnd::new(
            Status::Unknown { until },
            TaskResult {
                skipped: true,
                ..TaskResult::default()
            },
        )
    }

    /// An evaluation that failed, or that depends on what has not run.
    fn of(error: TemplateError) -> Self {
        match error {
            TemplateError::Unknown { task } => RoundEnd::unknown(task),
            other => RoundEnd::failed(other.to_string()),
        }
    }
}

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
        let mut end = TaskEnd::default();
        let rounds = match loops::rounds(&self.engine.templates, task, &scope) {
            Ok(rounds) => rounds,
            Err(error) => {
                // A condition that needs no item can spare the loop: `when: x is defined`, `loop: "{{ x }}"`.
                let skipped = matches!(self.conditions(&context.inherited.when, &scope), Ok(false));
                let round = if skipped { skip() } else { RoundEnd::of(error) };
                let name = task.title();
                self.tell_round(task, None, &round, no_log, 0.0).await;
                self.sum(
                    task,
                    context,
                    &scope,
                    &mut end,
                    vec![(Round::default(), round)],
                    &name,
                );
                return end;
            }
        };
        let mut done = Vec::with_capacity(rounds.len());
        for (index, round) in rounds.into_iter().enumerate() {
            let began = Instant::now();
            let scope = round.scope(&scope);
            let ended = self
                .round(task, context, &scope, &round, number, index, no_log)
                .await;
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
        let name = task.title();
        self.sum(task, context, &scope, &mut end, done, &name);
        end
    }

    /// Adds up the rounds as Ansible does: `results`, and flags that say whether any changed or failed.
    fn sum(
        &self,
        task: &Task,
        context: &Context,
        scope: &Arc<Scope>,
        end: &mut TaskEnd,
        rounds: Vec<(Round, RoundEnd)>,
        name: &str,
    ) {
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
        end.unknown = rounds.iter().find_map(|(_, round)| match &round.status {
            // The cause is the task that everything waits for, not the ones between.
            Status::Unknown { until } => Some(until.clone()),
            _ => None,
        });
        if let Some((_, round)) = failed {
            end.failure = Some(match round.result.msg.is_empty() {
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
        }
        let _ = context;
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

    #[allow(
        clippy::too_many_arguments,
        reason = "what surrounds a round is needed one by one"
    )]
    async fn round(
        &self,
        task: &Arc<Task>,
        context: &Context,
        scope: &Arc<Scope>,
        round: &Round,
        number: usize,
        index: usize,
        no_log: bool,
    ) -> RoundEnd {
        match self.conditions(&context.inherited.when, scope) {
            Ok(true) => {}
            Ok(false) => return skip(),
            Err(error) => return RoundEnd::of(error),
        }
        let ended = match &task.action {
            Action::Module { name, args } => {
                match self
                    .attempts(task, context, scope, name, args, number, index, no_log)
                    .await
                {
                    Ok(ended) => ended,
                    Err(error) => RoundEnd::of(error),
                }
            }
            _ => match controller::run(self, task, context, scope).await {
                Ok(ended) => ended,
                Err(error) => RoundEnd::of(error),
            },
        };
        let _ = round;
        match self.flag(context.inherited.ignore_errors.as_ref(), scope) {
            Ok(true) if ended.status == Status::Failed => RoundEnd {
                status: Status::Ignored,
                ..ended
            },
            _ => ended,
        }
    }

    /// A module, tried again while `until` does not hold.
    #[allow(
        clippy::too_many_arguments,
        reason = "what surrounds a round is needed one by one"
    )]
    async fn attempts(
        &self,
        task: &Arc<Task>,
        context: &Context,
        scope: &Arc<Scope>,
        module: &str,
        args: &Args,
        number: usize,
        index: usize,
        no_log: bool,
    ) -> Result<RoundEnd, TemplateError> {
        let templates = &self.engine.templates;
        let retries = match (&task.retries, &task.until) {
            (Some(retries), _) => integer(&templates.value(retries, scope)?)
                .unwrap_or(3)
                .max(0),
            (None, Some(_)) => 3,
            (None, None) => 0,
        };
        let delay = match &task.delay {
            Some(delay) => integer(&templates.value(delay, scope)?)
                .unwrap_or(5)
                .clamp(0, 3600),
            None => 5,
        };
        let call = match self.call(task, context, scope, module, args, no_log)? {
            Ok(call) => call,
            Err(failed) => return Ok(failed),
        };
        let target = match self.target(context, scope)? {
            Ok(target) => target,
            Err(failed) => return Ok(failed),
        };
        let hash = hex::encode(&Sha256::digest(hash_input(&call))[..6]);
        let suffix = if self.in_handler { "h" } else { "" };
        let id = format!(
            "{}/{}/{}.{suffix}{number}-{hash}/{index}",
            self.engine.spec.run,
            self.node.spec.name,
            self.work.id()
        );
        let mut attempt = 0;
        loop {
            attempt += 1;
            let id = if attempt == 1 {
                id.clone()
            } else {
                format!("{id}r{attempt}")
            };
            let call = Call { id, ..call.clone() };
            let ended = self.send(task, &target, call).await;
            let ended = self.verdict(task, scope, ended, attempt)?;
            let again = match &task.until {
                Some(until)
                    if !ended.result.skipped && !matches!(ended.status, Status::Unknown { .. }) =>
                {
                    !self.conditions(until, &self.with_result(task, scope, &ended.result))?
                }
                // `retries` alone repeats what failed.
                _ => ended.status == Status::Failed && task.until.is_none(),
            };
            if !again {
                return Ok(ended);
            }
            if attempt > retries {
                if task.until.is_some() {
                    let msg = match ended.result.msg.is_empty() {
                        true => format!("`until` did not hold after {attempt} attempts"),
                        false => format!(
                            "`until` did not hold after {attempt} attempts: {}",
                            ended.result.msg
                        ),
                    };
                    let result = TaskResult {
                        failed: true,
                        msg,
                        ..ended.result
                    };
                    return Ok(RoundEnd {
                        status: Status::Failed,
                        result,
                        ..ended
                    });
                }
                return Ok(ended);
            }
            tokio::time::sleep(Duration::from_secs(delay.unsigned_abs())).await;
        }
    }

    /// The call of a module with everything resolved; `Err` is a fault that no template is to blame for.
    fn call(
        &self,
        task: &Task,
        context: &Context,
        scope: &Arc<Scope>,
        module: &str,
        args: &Args,
        no_log: bool,
    ) -> Result<Result<Call, RoundEnd>, TemplateError> {
        let templates = &self.engine.templates;
        let args = match args {
            Args::Map(map) => templates.value(&Json::Object(map.clone()), scope)?,
            Args::Template(text) => templates.value(&Json::from(text.as_str()), scope)?,
        };
        let Json::Object(args) = args else {
            return Ok(Err(RoundEnd::failed(format!(
                "the arguments of `{module}` are no mapping"
            ))));
        };
        let args = match files::fill_in(
            templates,
            module,
            args,
            context,
            scope,
            &self.engine.playbook.folder,
        )? {
            Ok(args) => args,
            Err(msg) => return Ok(Err(RoundEnd::failed(msg))),
        };
        let mut environment = Map::new();
        for raw in &context.inherited.environment {
            match templates.value(raw, scope)? {
                Json::Object(map) => environment.extend(map),
                Json::Null => {}
                other => {
                    return Ok(Err(RoundEnd::failed(format!(
                        "`environment` is no mapping: {}",
                        display(&other)
                    ))));
                }
            }
        }
        let becomes = self.flag(context.inherited.r#become.as_ref(), scope)?;
        let user = match (&context.inherited.become_user, becomes) {
            (Some(user), true) => {
                Some(display(&templates.value(user, scope)?)).filter(|user| user != "root")
            }
            _ => None,
        };
        let timeout = match &task.timeout {
            Some(timeout) => integer(&templates.value(timeout, scope)?)
                .and_then(|seconds| u32::try_from(seconds).ok()),
            None => None,
        };
        Ok(Ok(Call {
            id: String::new(),
            module: module.to_owned(),
            args,
            check: context.inherited.check_mode.unwrap_or(self.engine.check()),
            diff: self.engine.spec.diff && !no_log,
            become_user: user,
            environment,
            no_log,
            timeout_seconds: timeout
                .filter(|&seconds| seconds > 0)
                .unwrap_or(self.engine.spec.limits.task_seconds),
        }))
    }

    /// The node that the task runs on: this one, or the one that `delegate_to` names.
    fn target(
        &self,
        context: &Context,
        scope: &Arc<Scope>,
    ) -> Result<Result<Arc<super::Node>, RoundEnd>, TemplateError> {
        let Some(raw) = &context.inherited.delegate_to else {
            return Ok(Ok(self.node.clone()));
        };
        let name = display(&self.engine.templates.value(raw, scope)?);
        Ok(match self.engine.nodes.get(&name) {
            Some(node) => Ok(node.clone()),
            None if matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1") => {
                Err(RoundEnd::failed(
                    "`delegate_to: localhost` is not supported: the deployment host runs no tasks of roles",
                ))
            }
            None => Err(RoundEnd::failed(format!(
                "`delegate_to` names `{name}`, which is no node"
            ))),
        })
    }

    /// Sends a call, unless an earlier part of this run has its result.
    async fn send(&self, task: &Task, target: &super::Node, call: Call) -> RoundEnd {
        if let Some(result) = self.engine.finished.get(&call.id) {
            return RoundEnd {
                resumed: true,
                ..RoundEnd::ok(result.clone())
            };
        }
        let (id, no_log, check) = (call.id.clone(), call.no_log, call.check);
        let (node, role, title) = (
            self.node.spec.name.clone(),
            self.work.label.clone(),
            task.title(),
        );
        self.engine
            .tell(Event::TaskStarted {
                node: node.clone(),
                role: role.clone(),
                task: title.clone(),
                handler: self.in_handler,
            })
            .await;
        self.note(&id, &title, Step::Started).await;
        if !no_log {
            lock(&self.engine.titles).insert(id.clone(), title.clone());
        }
        let answer = target.link.run(call).await;
        lock(&self.engine.titles).remove(&id);
        let ended = match answer {
            Ok(result) if result.failed => RoundEnd::new(Status::Failed, result),
            // What a command does cannot be foreseen.
            Ok(result) if result.skipped && check => RoundEnd::new(
                Status::Unknown {
                    until: title.clone(),
                },
                result,
            ),
            Ok(result) if result.skipped => RoundEnd::new(Status::Skipped, result),
            Ok(result) => RoundEnd::ok(result),
            Err(error) => {
                if matches!(error, LinkError::Unreachable(_)) {
                    lock(&target.recap).unreachable = true;
                }
                let mut failed = RoundEnd::failed(error.to_string());
                failed.result.data.insert(
                    "unreachable".to_owned(),
                    matches!(error, LinkError::Unreachable(_)).into(),
                );
                failed
            }
        };
        let step = Step::Ended {
            failed: ended.result.failed,
            changed: ended.result.changed,
            result: (!no_log).then(|| ended.result.clone()),
        };
        self.note(&id, &title, step).await;
        ended
    }

    /// Waits until the node's agent answers.
    pub(super) async fn greet(&self, task: &Task) -> Result<(), String> {
        let id = format!(
            "{}/{}/greet.{}/0",
            self.engine.spec.run, self.node.spec.name, self.met
        );
        let call = Call {
            id,
            module: "ping".to_owned(),
            args: Map::new(),
            check: false,
            diff: false,
            become_user: None,
            environment: Map::new(),
            no_log: false,
            timeout_seconds: 60,
        };
        let ended = self.send(task, &self.node, call).await;
        if ended.result.failed {
            Err(ended.result.msg)
        } else {
            Ok(())
        }
    }

    async fn note(&self, id: &str, title: &str, step: Step) {
        let (node, role) = (self.node.spec.name.clone(), self.work.label.clone());
        let entry = Entry {
            id: id.to_owned(),
            node,
            role,
            title: title.to_owned(),
            step,
        };
        if let Err(error) = self
            .engine
            .spec
            .journal
            .note(&self.engine.spec.run, entry)
            .await
        {
            tracing::error!(%error, "the journal cannot be written");
        }
    }

    /// `failed_when` and `changed_when`.
    fn verdict(
        &self,
        task: &Task,
        scope: &Arc<Scope>,
        ended: RoundEnd,
        attempt: i64,
    ) -> Result<RoundEnd, TemplateError> {
        let mut ended = ended;
        let decides = !matches!(ended.status, Status::Unknown { .. } | Status::Skipped)
            && ended.result.data.get("unreachable") != Some(&Json::Bool(true));
        if task.until.is_some() {
            ended
                .result
                .data
                .insert("attempts".to_owned(), Json::from(attempt));
        }
        if !decides {
            return Ok(ended);
        }
        if let Some(conditions) = &task.failed_when {
            let scope = self.with_result(task, scope, &ended.result);
            let failed = !conditions.is_empty() && self.conditions(conditions, &scope)?;
            ended.result.failed = failed;
            ended
                .result
                .data
                .insert("failed_when_result".to_owned(), failed.into());
            if failed && ended.result.msg.is_empty() {
                "`failed_when` holds".clone_into(&mut ended.result.msg);
            }
        }
        if let Some(conditions) = &task.changed_when {
            let scope = self.with_result(task, scope, &ended.result);
            ended.result.changed = self.conditions(conditions, &scope)?;
        }
        ended.status = match (ended.result.failed, ended.result.changed) {
            (true, _) => Status::Failed,
            (false, true) => Status::Changed,
            (false, false) => Status::Ok,
        };
        Ok(ended)
    }

    /// The scope in which a task's own result can be asked for by its `register` name.
    fn with_result(&self, task: &Task, scope: &Arc<Scope>, result: &TaskResult) -> Arc<Scope> {
        match &task.register {
            Some(name) => scope.with(Layer::literal([(name.clone(), registered(result))])),
            None => scope.clone(),
        }
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
    fn flag(&self, raw: Option<&Json>, scope: &Arc<Scope>) -> Result<bool, TemplateError> {
        let Some(raw) = raw else { return Ok(false) };
        Ok(match self.engine.templates.value(raw, scope)? {
            Json::Bool(value) => value,
            other => matches!(
                display(&other).to_ascii_lowercase().as_str(),
                "true" | "yes" | "on" | "1"
            ),
        })
    }

    async fn tell_round(
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

fn integer(value: &Json) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| display(value).trim().parse().ok())
}

/// Everything that decides what the call does; the same input is the same task.
fn hash_input(call: &Call) -> Vec<u8> {
    let parts = json!([
        call.module,
        call.args,
        call.check,
        call.become_user,
        call.environment,
        call.no_log
    ]);
    serde_json::to_vec(&parts).unwrap_or_default()
}
