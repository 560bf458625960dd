//! A module's call on a node: arguments resolved, sent, tried again, judged by `failed_when` and `changed_when`, and
//! noted in the journal.
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::task::{Task as Call, TaskResult};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::context::Context;
use super::files;
use super::item::{At, RoundEnd, Row, registered};
use super::node::{Node, lock};
use super::reboot;
use super::walk::Walk;
use crate::event::{Event, Status};
use crate::journal::{Entry, Step};
use crate::link::LinkError;
use crate::parse::{Args, Condition, Task};
use crate::template::{TemplateError, display};
use crate::vars::{Layer, Scope};

/// How many interruptions of a run may each have made a task fail.
const FAILED_BEFORE_MAX: usize = 2;

impl Walk {
    /// A module, tried again while `until` does not hold.
    pub(super) async fn attempts(
        &self,
        task: &Arc<Task>,
        context: &Context,
        scope: &Arc<Scope>,
        (module, args): (&str, &Args),
        at: At,
    ) -> Result<RoundEnd, TemplateError> {
        let templates = &self.engine.templates;
        let retries = match (&task.retries, &task.until) {
            // Nothing changes while it is waited.
            _ if self.engine.check() => 0,
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
        let target = match self.target(context, scope)? {
            Ok(target) => target,
            Err(failed) => return Ok(failed),
        };
        let call = match self.call(task, context, scope, (module, args), at.no_log, &target)? {
            Ok(call) => call,
            Err(failed) => return Ok(failed),
        };
        let id = self.id_of(&call, at);
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
                Some(until) if !ended.result.skipped && ended.pending.is_none() => {
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

    /// The same in every run of the same input, so that what was done is not done again.
    pub(super) fn id_of(&self, call: &Call, at: At) -> String {
        let hash = hex::encode(&Sha256::digest(hash_input(call))[..6]);
        self.id(&hash, at)
    }

    fn id(&self, which: &str, at: At) -> String {
        let suffix = if self.in_handler { "h" } else { "" };
        format!(
            "{}/{}/{}.{suffix}{}-{which}/{}",
            self.engine.spec.run,
            self.node.spec.name,
            self.work.id(),
            at.number,
            at.index
        )
    }

    /// The call of a module with everything resolved; `Err` is a fault that no template is to blame for.
    pub(super) fn call(
        &self,
        task: &Task,
        context: &Context,
        scope: &Arc<Scope>,
        (module, args): (&str, &Args),
        no_log: bool,
        target: &Node,
    ) -> Result<Result<Call, RoundEnd>, TemplateError> {
        let templates = &self.engine.templates;
        let defaults = context
            .inherited
            .module_defaults
            .iter()
            .filter_map(|all| all.get(module)?.as_object());
        let mut given = Map::new();
        for map in defaults {
            given.extend(map.clone());
        }
        let args = match args {
            Args::Map(map) => {
                given.extend(map.clone());
                templates.value(&Json::Object(given), scope)?
            }
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
            (Some(user), true) => Some(display(&templates.value(user, scope)?)),
            // The agent is root's where any task needs that; the others run as who logged in.
            (_, false) => Some(target.spec.user.clone()),
            (None, true) => None,
        };
        let user = user.filter(|user| user != "root" && !user.is_empty());
        let timeout = match &task.timeout {
            Some(timeout) => integer(&templates.value(timeout, scope)?)
                .and_then(|seconds| u32::try_from(seconds).ok()),
            None => None,
        };
        Ok(Ok(Call {
            id: String::new(),
            module: module.to_owned(),
            args,
            check: match context.inherited.check_mode {
                Some(false) if self.engine.check() => !is_reading(module, task),
                wanted => wanted.unwrap_or(self.engine.check()),
            },
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
    pub(super) fn target(
        &self,
        context: &Context,
        scope: &Arc<Scope>,
    ) -> Result<Result<Arc<Node>, RoundEnd>, TemplateError> {
        let Some(raw) = &context.inherited.delegate_to else {
            return Ok(Ok(self.node.clone()));
        };
        let name = display(&self.engine.templates.value(raw, scope)?);
        let found = self.engine.node(&name).or_else(|| {
            let here = matches!(name.as_str(), "127.0.0.1" | "::1");
            self.engine.node("localhost").filter(|_| here)
        });
        Ok(match found {
            Some(node) => Ok(node),
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
    pub(super) async fn send(&self, task: &Task, target: &Node, call: Call) -> RoundEnd {
        if let Some(result) = self.engine.finished.get(&call.id) {
            return RoundEnd {
                resumed: true,
                row: Some(Row::of(call.id, result)),
                ..RoundEnd::ok(result.clone())
            };
        }
        if call.check && self.engine.spec.blank.contains(&target.spec.name) {
            return RoundEnd::unknown(
                super::INSTALLATION.to_owned(),
                format!("`{}` is not installed yet", target.spec.name),
            );
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
        let args = call.args.clone();
        // Arguments can be whole files: they are copied only where they may be wanted again.
        let call_again = self.engine.spec.continues.then(|| call.clone());
        let mut answer = target.link.run(call).await;
        if let Some(call) = call_again {
            // Under ids by which a third part of the run finds them, too.
            for again in 1..=FAILED_BEFORE_MAX {
                if !answer.as_ref().is_ok_and(|result| result.failed) {
                    break;
                }
                let id = format!("{id}+{again}");
                answer = target.link.run(Call { id, ..call.clone() }).await;
            }
        }
        if let Ok(result) = &answer
            && reboot::has_begun(result, check)
        {
            answer = reboot::finish(target, &id, &args, result.clone()).await;
        }
        lock(&self.engine.titles).remove(&id);
        let mut ended = match answer {
            Ok(result) if result.failed => RoundEnd::new(Status::Failed, result),
            // What a command does cannot be foreseen.
            Ok(result) if result.skipped && check => match never_changes(task) {
                // It changes nothing, but what it would say is not known.
                true => RoundEnd {
                    pending: Some(title.clone()),
                    ..RoundEnd::ok(result)
                },
                false => RoundEnd {
                    result,
                    ..RoundEnd::unknown(title.clone(), "what it does cannot be foreseen")
                },
            },
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
        self.note_end(&id, &title, &ended.result, no_log).await;
        ended.row = Some(Row::of(id, &ended.result));
        ended
    }

    /// The journal's last word on a round: a row for what was done on the deployment host or came to no question to an
    /// agent; of the others the verdict, where it is another than the agent's.
    pub(super) async fn note_round(&self, task: &Task, ended: &RoundEnd, at: At) {
        if self.engine.check() || matches!(ended.status, Status::Skipped | Status::Unknown { .. }) {
            return;
        }
        let title = task.title();
        let (failed, changed) = (ended.result.failed, ended.result.changed);
        match &ended.row {
            None => {
                let id = self.id("here", at);
                self.note_end(&id, &title, &ended.result, at.no_log).await;
            }
            Some(row) if (row.failed, row.changed) != (failed, changed) => {
                let step = Step::Judged { failed, changed };
                self.note(&row.id, &title, step).await;
            }
            Some(_) => {}
        }
    }

    /// Notes a task's end, without what is hidden.
    async fn note_end(&self, id: &str, title: &str, result: &TaskResult, no_log: bool) {
        let (failed, changed) = (result.failed, result.changed);
        let (mut result, mut whole) = ((!no_log).then(|| result.clone()), true);
        if let Some(result) = &mut result {
            whole = !self.engine.spec.hidden.result(result);
        }
        let step = Step::Ended {
            failed,
            changed,
            result,
            whole,
        };
        self.note(id, title, step).await;
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
            title: self.engine.spec.hidden.text(title).into_owned(),
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
    pub(super) fn verdict(
        &self,
        task: &Task,
        scope: &Arc<Scope>,
        ended: RoundEnd,
        attempt: i64,
    ) -> Result<RoundEnd, TemplateError> {
        let mut ended = ended;
        let decides = ended.pending.is_none()
            && ended.status != Status::Skipped
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
}

impl Row {
    fn of(id: String, result: &TaskResult) -> Self {
        Row {
            id,
            failed: result.failed,
            changed: result.changed,
        }
    }
}

fn integer(value: &Json) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| display(value).trim().parse().ok())
}

/// `changed_when: false`: whoever wrote the task says that it only reads.
fn never_changes(task: &Task) -> bool {
    matches!(
        task.changed_when.as_deref(),
        Some([Condition::Literal(false)])
    )
}

/// `check_mode: false` makes Ansible run a task in check mode. A plan must not change a node, so this is done only
/// where the module, or whoever wrote the task, says that it reads.
fn is_reading(module: &str, task: &Task) -> bool {
    let reads = |module: &modules::Module| module.effect == modules::Effect::Reads;
    never_changes(task) || modules::find(module).is_some_and(reads)
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
