//! `wright deploy`: images, boot and installation, wires, roles, health; each stage timed, each resumable.
//! The same for a lab, Vagrant and a data centre. Wiring only: the stages' work is in the crates.
mod binary;
mod certificates;
mod clocks;
mod failure;
pub mod foresee;
mod hosts;
pub mod images;
mod install;
pub mod members;
mod reach;
pub mod roles;
mod run_log;
pub mod running_lab;
pub mod telling;
mod wake;
mod walls;
mod world;

use crate::args::deploy::DeployArgs;
use crate::cloud;
use crate::commands::lab::containers;
use crate::commands::secrets::token_keys;
use crate::commands::verify;
use crate::environment::{self, Environment};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::anyhow;
use binary::Offered;
use diagnostics::ExitStatus;
use hosts::Sources;
use images::Images;
use lab::Lab;
use members::Change;
use provision::{Happening, NodeState};
use roles::Order;
use serde::Serialize;
use state::{EnvironmentFolder, EnvironmentLock, Secrets, Store};
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use task_engine::parse::Playbook;
use task_engine::plan_file::{Comparison, PlanFile, Selection, World};
use task_engine::{Event, Mode, RunReport};

/// Seconds of each stage, in order.
#[derive(Debug, Default, Serialize)]
pub struct Stages(Vec<Stage>);

#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    seconds: f64,
}

impl Stages {
    fn ended(&mut self, name: &'static str, begun: Instant) {
        self.0.push(Stage {
            name,
            seconds: begun.elapsed().as_secs_f64(),
        });
    }
}

/// What the deployment came to.
#[derive(Debug, Serialize)]
struct Summary {
    env: String,
    changed: usize,
    /// How the plan that was carried out came out.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    stages: Stages,
    identity: Option<String>,
    openrc: String,
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.changed {
            0 => writeln!(
                f,
                "Environment `{}` is as it should be: nothing was changed.",
                self.env
            )?,
            1 => writeln!(
                f,
                "Environment `{}` is deployed: 1 task changed something.",
                self.env
            )?,
            n => writeln!(
                f,
                "Environment `{}` is deployed: {n} tasks changed something.",
                self.env
            )?,
        }
        if let Some(comparison) = &self.comparison {
            write!(f, "{comparison}")?;
        }
        for stage in &self.stages.0 {
            writeln!(f, "  {:<12} {:>7.1} s", stage.name, stage.seconds)?;
        }
        if let Some(identity) = &self.identity {
            writeln!(f, "Identity:    {identity}")?;
        }
        writeln!(f, "Credentials: source {}", self.openrc)?;
        write!(f, "Next:        wright -e {} verify health", self.env)
    }
}

/// A plan that is to be carried out.
pub struct Planned {
    pub file: PlanFile,
    /// Names its run: the same plan is the same run.
    pub run: String,
}

pub async fn run(
    args: DeployArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let selection = args.selection.selection();
    carry_out(Whole::of(&args, &selection), settings, printer).await
}

/// What one deployment is to do.
pub struct Whole<'a> {
    pub args: &'a DeployArgs,
    pub selection: &'a Selection,
    pub planned: Option<&'a Planned>,
    /// What of the roles is run before all that `selection` says, one after the other.
    pub rounds: Vec<Selection>,
    pub change: Change,
}

impl<'a> Whole<'a> {
    /// Every node in line with the inventory, and no more.
    pub fn of(args: &'a DeployArgs, selection: &'a Selection) -> Self {
        Self {
            args,
            selection,
            planned: None,
            rounds: Vec::new(),
            change: Change::default(),
        }
    }
}

/// All stages; with a plan its roles are run as it says, and what came out is compared with it.
pub async fn carry_out(
    what: Whole<'_>,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let folder =
        EnvironmentFolder::create(&settings.state_dir, &settings.env).map_err(state_error)?;
    let _lock = EnvironmentLock::acquire(&folder, "deploy").map_err(state_error)?;
    let store = Store::open(&folder).await.map_err(state_error)?;
    let mut environment = environment::plan(settings, Some(&store), printer).await?;
    environment::keep(&environment, &store).await?;
    let records = store.nodes().await.map_err(state_error)?;
    members::check(&environment, &records, &what.change)?;
    let leaving = &what.change.leaving;
    environment
        .plan
        .nodes
        .retain(|name, _| !leaving.contains(name));
    let playbook = roles::parse(&what.selection.playbook)?;
    let world = world::now(settings, &store, &playbook).await?;
    if let Some(planned) = what.planned {
        check_plan(planned, settings, &store, &world).await?;
    }
    let mut stages = Stages::default();

    let begun = Instant::now();
    let images = images::build(settings, &environment, &playbook, printer).await?;
    let wright = binary::compressed(settings).await?;
    stages.ended("images", begun);

    let lab = running_lab::of(settings, &environment);
    if let Some(lab) = &lab {
        containers::make_blank(lab, &environment, &images, &folder, &store).await?;
    }
    let ready = Ready {
        what: &what,
        world: &world,
        settings,
        printer,
        folder: &folder,
        store: &store,
        environment: &environment,
        lab: lab.as_ref(),
    };
    let deployed = ready.deploy(playbook, &images, &wright, stages).await;
    if let (Err(error), Some(lab)) = (&deployed, &lab) {
        let text = error.to_string();
        match failure::keep(lab, settings, &environment, &folder, &store, &text).await {
            Ok(kept) => printer.event(
                "failure_folder",
                &format!(
                    "consoles, journals and the log of events: {}",
                    kept.display()
                ),
                &serde_json::json!({ "path": kept }),
            ),
            Err(error) => printer.warn(&format!("nothing is kept of the failure: {error}")),
        }
    }
    printer.data(&deployed?)?;
    Ok(ExitStatus::Done)
}

/// Everything that deploying begins with.
struct Ready<'a> {
    what: &'a Whole<'a>,
    world: &'a World,
    settings: &'a Settings,
    printer: &'a Printer,
    folder: &'a EnvironmentFolder,
    store: &'a Store,
    environment: &'a Environment,
    /// Where the machines are emulated ones.
    lab: Option<&'a Lab>,
}

impl Ready<'_> {
    async fn deploy(
        &self,
        playbook: Playbook,
        images: &Images,
        wright: &Offered,
        mut stages: Stages,
    ) -> Result<Summary, CommandError> {
        let Self {
            what,
            world,
            settings,
            printer,
            folder,
            store,
            environment,
            lab,
        } = *self;
        let (args, planned) = (what.args, what.planned);
        let secrets = Secrets::open(folder).map_err(state_error)?;
        let begun = Instant::now();
        let provisioner =
            install::start(args, folder, store, environment, images, wright, lab).await?;
        install::wait(&provisioner, images, lab, printer).await?;
        reach::all(environment, images, lab).await?;
        clocks::compare(folder, store, environment, printer).await?;
        stages.ended("install", begun);
        if !args.no_verify_network {
            let begun = Instant::now();
            verify::network::before_roles(folder, store, environment, printer).await?;
            stages.ended("wires", begun);
        }

        let begun = Instant::now();
        let certificates = certificates::up_to_date(folder, environment, &secrets, printer)?;
        let hosts = hosts::specs(&Sources {
            settings,
            environment,
            store,
            secrets: &secrets,
            certificates: &certificates,
            deploy_url: provisioner.base_url(),
            wright,
            playbook: &playbook,
        })
        .await?;
        if let Some(node) = roles::blank(&hosts).first() {
            return Err(
                anyhow!("node `{node}` is installed, but its host key is not known").into(),
            );
        }
        mark(store, Happening::DeploymentStarted, None).await?;
        let told: Arc<Mutex<Vec<Event>>> = Arc::default();
        let mut changed = 0;
        let mut report = Ok(None);
        for selection in what.rounds.iter().chain([what.selection]) {
            if !what.rounds.is_empty() {
                let limit = selection.limit.as_deref().unwrap_or("all");
                printer.say(&format!("roles of {limit}"));
            }
            let watching = planned.map(|_| told.clone());
            let order = Order {
                selection,
                mode: Mode::Apply,
                diff: false,
                world,
                name: planned.map(|planned| planned.run.clone()),
                watch: Box::new(move |event| {
                    if let (Some(told), Event::TaskDone(_)) = (&watching, event) {
                        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                        told.push(event.clone());
                    }
                }),
            };
            let playbook = playbook.clone();
            let done = roles::run(order, folder, store, hosts.clone(), playbook, printer).await;
            let is_success = done.as_ref().is_ok_and(RunReport::is_success);
            if let Ok(done) = &done {
                changed += done.changed();
                for node in members::deployed(&hosts, selection, done) {
                    store.joined(&node).await.map_err(state_error)?;
                }
            }
            report = done.map(Some);
            if !is_success {
                break;
            }
        }
        let failed = match &report {
            Ok(report) => report
                .iter()
                .flat_map(|report| &report.failures)
                .map(|f| (f.node.clone(), format!("{}: {}", f.task, f.msg)))
                .collect(),
            Err(error) => vec![(String::new(), error.to_string())],
        };
        mark(store, Happening::DeploymentDone, Some(&failed)).await?;
        let report = report?.ok_or_else(|| anyhow!("no round was run"))?;
        let comparison = planned.map(|planned| {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            Comparison::of(&planned.file, told.iter())
        });
        if let (Some(comparison), false) = (&comparison, report.is_success()) {
            printer.event("comparison", comparison.to_string().trim_end(), comparison);
        }
        let again = match planned {
            Some(_) => "mend the cause, then make a new plan: this one no longer holds",
            None => "mend the cause and run `deploy` again: it goes on from there",
        };
        roles::judge(&report, again)?;
        if what.selection.is_everything() {
            let mut keys = token_keys::of(&secrets)?;
            if keys.is_underway() {
                keys.distributed();
                token_keys::keep(&secrets, &keys)?;
            }
        }
        stages.ended("roles", begun);
        provisioner.stop().await;

        let openrc = hosts::write_openrc(folder, environment, &secrets)?;
        if !args.no_health {
            let begun = Instant::now();
            let health = verify::health(settings, &what.change.leaving, printer).await?;
            stages.ended("health", begun);
            if !health.is_well() {
                return Err(CommandError::failed(
                    "the cloud is deployed, but not well: see the failed checks above",
                )
                .hint(format!(
                    "mend what they name, then run `wright -e {} deploy` again",
                    settings.env
                )));
            }
        }
        let identity = cloud::auth_url(environment).ok();
        Ok(Summary {
            env: settings.env.clone(),
            changed,
            comparison,
            stages,
            identity,
            openrc,
        })
    }
}

/// Refuses a plan that was made in another world. One whose run was interrupted goes on: it was that run that moved
/// the world.
async fn check_plan(
    planned: &Planned,
    settings: &Settings,
    store: &Store,
    world: &World,
) -> Result<(), CommandError> {
    let earlier = store.run(&planned.run).await.map_err(anyhow::Error::from)?;
    let mut now = world.clone();
    match earlier {
        Some(run) if run.ended_at.is_none() => {
            now.state_generation = planned.file.world.state_generation;
        }
        Some(run) => {
            return Err(CommandError::failed(format!(
                "this plan was carried out already, as run {} (`wright log {}`)",
                run.id, run.id
            ))
            .hint("make a new plan: `wright plan -o FILE`"));
        }
        None => {}
    }
    planned.file.stale(&settings.env, &now).into_result(())?;
    Ok(())
}

/// Writes what the deployment makes of each installed node; `failed` names those that did not come through.
async fn mark(
    store: &Store,
    happening: Happening,
    failed: Option<&Vec<(String, String)>>,
) -> Result<(), CommandError> {
    for record in store.nodes().await.map_err(state_error)? {
        let fault = failed
            .and_then(|failed| {
                failed
                    .iter()
                    .find(|(node, _)| node.is_empty() || *node == record.name)
            })
            .map(|(_, reason)| reason.chars().take(500).collect::<String>());
        let happened = if fault.is_some() {
            Happening::Failed
        } else {
            happening
        };
        // A node that is not installed, or has failed already, stays what it is.
        let installed = record.ssh_host_key.is_some();
        let now = record.state.parse::<NodeState>().ok();
        if now
            .and_then(|state| state.after(happened, installed))
            .is_some()
        {
            provision::nodes::happened(store, &record.name, happened, |record| {
                record.reason = fault.clone()
            })
            .await
            .map_err(anyhow::Error::from)?;
        }
    }
    Ok(())
}

/// A state that cannot be used is usually a matter of rights or of another process.
fn state_error(error: state::StateError) -> CommandError {
    CommandError::failed(error.to_string())
        .hint("is another `wright` at work, or does the folder belong to somebody else?")
}
