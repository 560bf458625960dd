//! Walking through one unit on one node: task lists, blocks with rescue and always.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::BoxFuture;
use graph::Outcome;
use serde_json::{Map, Value as Json, json};

use super::context::Context;
use super::item::TaskEnd;
use super::node::{HELD_BYTES_MAX, Node, lock, write};
use super::{Engine, loops};
use crate::event::{Event, Failure, Status};
use crate::parse::{Action, Args, Block, Inherited, Item, Task};
use crate::plan::{Order, Part, Work};

/// Why a walk does not go on.
pub(crate) enum Stop {
    Failed {
        task: String,
        msg: String,
        result: Json,
        /// The play ends for all nodes.
        fatal: bool,
    },
    /// `meta: end_host`: the node's part in this play ends well.
    EndHost,
    /// `meta: end_role`: what is left of the role around it is not run.
    EndRole,
    /// Other nodes have failed, and this one is not to go on.
    Halted { because: String },
}

pub(crate) type Flow = Result<(), Stop>;

pub(crate) struct Walk {
    pub engine: Arc<Engine>,
    pub node: Arc<Node>,
    pub work: Arc<Work>,
    /// Counts tasks as they are met: part of their ids, the same in every walk with the same results.
    pub met: usize,
    pub in_handler: bool,
    pub(super) depth: usize,
}

impl Walk {
    pub fn new(engine: Arc<Engine>, node: Arc<Node>, work: Arc<Work>) -> Self {
        Walk {
            engine,
            node,
            work,
            met: 0,
            in_handler: false,
            depth: 0,
        }
    }

    pub async fn run(mut self) -> Outcome {
        let (node, role) = (self.node.spec.name.clone(), self.work.label.clone());
        self.engine
            .tell(Event::RoleStarted {
                node: node.clone(),
                role: role.clone(),
            })
            .await;
        let work = self.work.clone();
        self.node.learn("", &work.play.handlers);
        if let Part::Role(role) = &work.part {
            self.node.learn(&role.role.name, &role.role.handlers);
        }
        let context = Context::of(&work);
        match self.all(&work, &context).await {
            Ok(()) | Err(Stop::EndRole) => {}
            Err(Stop::EndHost) => {
                lock(&self.node.ended).insert(work.play_number);
                // What it had notified is this play's alone.
                lock(&self.node.handlers).notified.clear();
            }
            Err(Stop::Failed {
                task, msg, fatal, ..
            }) => {
                if fatal {
                    lock(&self.engine.fatal)
                        .entry(work.play_number)
                        .or_insert(node.clone());
                }
                let failure = Failure {
                    node: node.clone(),
                    role: role.clone(),
                    task: task.clone(),
                    msg: msg.clone(),
                    tolerated: false,
                };
                lock(&self.engine.failures).push((failure, work.budgets.clone()));
                work.budgets.iter().for_each(|budget| budget.fail(&node));
                self.engine
                    .tell(Event::NodeFailed {
                        node,
                        role,
                        task,
                        msg,
                    })
                    .await;
                return Outcome::Failed;
            }
            Err(Stop::Halted { because }) => {
                lock(&self.node.recap).not_run += 1;
                self.engine
                    .tell(Event::NotRun {
                        node,
                        roles: vec![role],
                        because,
                    })
                    .await;
                return Outcome::Failed;
            }
        }
        self.engine.tell(Event::RoleDone { node, role }).await;
        Outcome::Done
    }

    async fn all(&mut self, work: &Work, context: &Context) -> Flow {
        if work.gather_facts {
            self.gather_facts(work, context).await?;
        }
        match self.items(work.items(), context).await {
            Err(Stop::EndRole) => {}
            flow => flow?,
        }
        // Handlers run when the role that defines them ends, so that what it provides to other nodes is complete.
        self.flush(context).await
    }

    async fn gather_facts(&mut self, work: &Work, context: &Context) -> Flow {
        let action = Action::Module {
            name: "setup".to_owned(),
            args: Args::Map(Map::new()),
        };
        let task = Arc::new(Task {
            name: Some("Gather facts".to_owned()),
            inherited: Inherited {
                tags: vec!["always".to_owned()],
                ..Inherited::default()
            },
            ..Task::new(action, work.play.place.clone())
        });
        self.task(&task, context).await
    }

    pub fn items<'a>(&'a mut self, items: &'a [Item], context: &'a Context) -> BoxFuture<'a, Flow> {
        async move {
            for item in items {
                match item {
                    Item::Task(task) => self.task(task, context).await?,
                    Item::Block(block) => self.block(block, context).await?,
                }
            }
            Ok(())
        }
        .boxed()
    }

    async fn block(&mut self, block: &Arc<Block>, context: &Context) -> Flow {
        let mut context = context.enter(&block.inherited);
        if let Some(role) = &block.role {
            self.node.learn(&role.name, &role.handlers);
            context = context.enter_role(role);
        }
        let mut flow = self.items(&block.body, &context).await;
        if let Err(Stop::Failed { task, result, .. }) = &flow
            && !block.rescue.is_empty()
        {
            {
                let mut recap = lock(&self.node.recap);
                recap.failed = recap.failed.saturating_sub(1);
                recap.rescued += 1;
            }
            let failed = [
                ("ansible_failed_task".to_owned(), json!({"name": task})),
                ("ansible_failed_result".to_owned(), result.clone()),
            ];
            write(&self.node.set).set(failed);
            flow = self.items(&block.rescue, &context).await;
        }
        // `always` runs whatever happened; the first reason to stop is the one that counts.
        let always = self.items(&block.always, &context).await;
        match flow.and(always) {
            Err(Stop::EndRole) if block.role.is_some() => Ok(()),
            flow => flow,
        }
    }

    pub async fn task(&mut self, task: &Arc<Task>, context: &Context) -> Flow {
        self.met += 1;
        let number = self.met;
        let outer = context;
        let context = context.enter(&task.inherited);
        let spec = &self.engine.spec;
        if !self.in_handler && !context.is_selected(&spec.tags, &spec.skip_tags) {
            return Ok(());
        }
        if self.engine.spec.order == Order::Linear && !self.in_handler {
            self.engine.pace.step(&self.work).await;
        }
        if let Some(because) = self.halted() {
            return Err(Stop::Halted { because });
        }
        if self.passes_over(task) {
            return self.pass_over(task, &context, outer).await;
        }
        match &task.action {
            Action::FlushHandlers => match self.holds(task, &context).await? {
                true => self.flush(&context).await,
                false => Ok(()),
            },
            Action::EndHost => match self.holds(task, &context).await? {
                true => Err(Stop::EndHost),
                false => Ok(()),
            },
            Action::EndRole => match self.holds(task, &context).await? {
                true => Err(Stop::EndRole),
                false => Ok(()),
            },
            Action::Noop => Ok(()),
            Action::ResetConnection => {
                if self.holds(task, &context).await? {
                    self.node.link.reset().await;
                }
                Ok(())
            }
            Action::IncludeTasks { .. } | Action::IncludeRole { .. } => {
                self.include(task, &context, outer).await
            }
            _ => {
                let task = &self.titled(task, &context);
                let mut end = match context.inherited.run_once {
                    Some(true) => self.once(task, &context, number).await,
                    _ => self.perform(task, &context, number).await,
                };
                if context.inherited.delegate_facts == Some(true) {
                    self.hand_over(&context, &mut end);
                }
                let fatal = context.inherited.any_errors_fatal == Some(true);
                self.finish(task, end, fatal).await
            }
        }
    }

    /// The task with the templates in its name rendered, as far as their values are known before its rounds.
    fn titled(&self, task: &Arc<Task>, context: &Context) -> Arc<Task> {
        let Some(name) = task
            .name
            .as_ref()
            .filter(|name| crate::template::has_template(name))
        else {
            return task.clone();
        };
        let scope = context.scope(&self.engine, &self.node);
        match self
            .engine
            .templates
            .value(&Json::from(name.as_str()), &scope)
        {
            Ok(name) => Arc::new(Task {
                name: Some(crate::template::display(&name)),
                ..Task::clone(task)
            }),
            Err(_) => task.clone(),
        }
    }

    /// `delegate_facts`: what was found out belongs to the host that the task ran on.
    fn hand_over(&self, context: &Context, end: &mut TaskEnd) {
        let scope = context.scope(&self.engine, &self.node);
        let Ok(Ok(target)) = self.target(context, &scope) else {
            return;
        };
        for facts in std::mem::take(&mut end.facts) {
            target.add_facts(&facts);
        }
        write(&target.set).set(std::mem::take(&mut end.set));
    }

    /// Why this node is not to go on, if other nodes have failed and that is so.
    fn halted(&self) -> Option<String> {
        if let Some(spent) = self.work.budgets.iter().find_map(|budget| budget.spent()) {
            return Some(spent);
        }
        let fatal = lock(&self.engine.fatal);
        let node = fatal.get(&self.work.play_number)?;
        Some(format!("`{node}` failed in what says `any_errors_fatal`"))
    }

    /// Takes over what a task gave, and says whether the walk goes on.
    async fn finish(&mut self, task: &Task, end: TaskEnd, fatal: bool) -> Flow {
        let facts = end.facts.iter().flat_map(|facts| facts.values());
        let registered = task.register.as_ref().map(|_| &end.register);
        if !self.node.hold(registered.into_iter().chain(facts)) {
            let msg = format!(
                "the results and facts of this node take more than {} MiB",
                HELD_BYTES_MAX >> 20
            );
            return self.stop(task, &msg).await;
        }
        if let (Action::SetFact { facts }, Some(until)) = (&task.action, &end.unknown) {
            for name in facts.keys() {
                write(&self.node.set).set_unknown(name, until);
            }
        }
        if let Some(name) = &task.register {
            match &end.unknown {
                Some(until) => write(&self.node.set).set_unknown(name, until),
                None => write(&self.node.set).set([(name.clone(), end.register.clone())]),
            }
        }
        write(&self.node.set).set(end.set);
        for facts in &end.facts {
            self.node.add_facts(facts);
        }
        if !end.facts.is_empty() {
            self.keep_facts().await;
        }
        self.node.notify(end.notify);
        self.node.may_notify(end.maybe);
        match end.failure {
            Some(msg) => Err(Stop::Failed {
                task: task.title(),
                msg,
                result: end.register,
                fatal,
            }),
            None => Ok(()),
        }
    }

    async fn keep_facts(&self) {
        let mut facts = Json::Object(self.node.facts_now());
        self.engine.spec.hidden.json(&mut facts);
        if let Json::Object(facts) = facts
            && let Err(error) = self
                .engine
                .spec
                .journal
                .note_facts(&self.node.spec.name, &facts)
                .await
        {
            tracing::error!(%error, "facts cannot be kept");
        }
    }

    /// Whether the task stands before the one that the run is to start at.
    fn passes_over(&self, task: &Task) -> bool {
        let Some(title) = &self.engine.spec.start_at_task else {
            return false;
        };
        let started = &self.node.started;
        if task.title() == *title {
            started.store(true, Ordering::Relaxed);
        }
        let gathers = matches!(&task.action, Action::Module { name, .. } if name == "setup");
        !started.load(Ordering::Relaxed) && !gathers
    }

    /// What later tasks need of one that is passed over: the variables it sets, and the tasks it includes, of which one
    /// may be the one to start at. What cannot be evaluated, because it needs what was passed over, is left out.
    async fn pass_over(&mut self, task: &Arc<Task>, context: &Context, outer: &Context) -> Flow {
        match &task.action {
            Action::IncludeTasks { .. } | Action::IncludeRole { .. } => {
                let scope = context.scope(&self.engine, &self.node);
                let holds = self.conditions(&context.inherited.when, &scope);
                match (holds, loops::rounds(&self.engine.templates, task, &scope)) {
                    (Ok(true), Ok(_)) => self.include(task, context, outer).await,
                    _ => Ok(()),
                }
            }
            Action::SetFact { .. } | Action::IncludeVars { .. } => {
                let end = self.silent(task, context).await;
                write(&self.node.set).set(end);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The first node that comes here runs the task, the others wait for its result and take it over.
    async fn once(&mut self, task: &Arc<Task>, context: &Context, number: usize) -> TaskEnd {
        let key = format!("{}.{number} {}", self.work.id(), task.place);
        let cell = lock(&self.engine.once).entry(key).or_default().clone();
        let mut mine = false;
        let end = cell
            .get_or_init(|| {
                mine = true;
                self.perform(task, context, number)
            })
            .await
            .clone();
        match mine {
            true => end,
            // Handlers run where the task ran.
            false => TaskEnd {
                notify: Vec::new(),
                maybe: Vec::new(),
                ..end
            },
        }
    }

    /// `when` of a task that is no module: false also tells that it was skipped.
    async fn holds(&mut self, task: &Task, context: &Context) -> Result<bool, Stop> {
        let scope = context.scope(&self.engine, &self.node);
        match self.conditions(&context.inherited.when, &scope) {
            Ok(holds) => Ok(holds),
            Err(error) => self.stop(task, &error.to_string()).await.map(|()| false),
        }
    }

    /// A fault of the task itself, told as its failed result.
    pub(super) async fn stop(&mut self, task: &Task, msg: &str) -> Flow {
        let status = Status::Failed;
        self.tell_done(task, None, status, msg, Vec::new(), 0.0, false)
            .await;
        Err(Stop::Failed {
            task: task.title(),
            msg: msg.to_owned(),
            result: json!({"failed": true, "msg": msg}),
            fatal: false,
        })
    }
}
