//! `wright deploy`: images, boot and installation, roles, health; each stage timed, each resumable.
//! The same for a lab, Vagrant and a data centre. Wiring only: the stages' work is in the crates.
mod binary;
mod failure;
mod hosts;
pub mod images;
mod install;
mod reach;
pub mod roles;
mod running_lab;
mod wake;

use crate::args::deploy::DeployArgs;
use crate::commands::verify;
use crate::environment::{self, Environment};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use binary::Offered;
use diagnostics::ExitStatus;
use images::Images;
use lab::Lab;
use provision::{Happening, NodeState};
use serde::Serialize;
use state::{EnvironmentFolder, EnvironmentLock, Secrets, Store};
use std::fmt::{self, Display, Formatter};
use std::time::Instant;
use task_engine::parse::Playbook;

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

pub async fn run(
    args: DeployArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let folder =
        EnvironmentFolder::create(&settings.state_dir, &settings.env).map_err(state_error)?;
    let _lock = EnvironmentLock::acquire(&folder, "deploy").map_err(state_error)?;
    let store = Store::open(&folder).await.map_err(state_error)?;
    let environment = environment::plan(settings, Some(&store), printer).await?;
    environment::keep(&environment, &store).await?;
    let playbook = roles::parse(&args.playbook)?;
    let mut stages = Stages::default();

    let begun = Instant::now();
    let images = images::build(settings, &environment, &playbook, printer).await?;
    let wright = binary::compressed(settings).await?;
    stages.ended("images", begun);

    let lab = running_lab::of(settings, &environment);
    let ready = Ready {
        args: &args,
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
    args: &'a DeployArgs,
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
            args,
            settings,
            printer,
            folder,
            store,
            environment,
            lab,
        } = *self;
        let secrets = Secrets::open(folder).map_err(state_error)?;
        let begun = Instant::now();
        let provisioner =
            install::start(args, folder, store, environment, images, wright, lab).await?;
        install::wait(&provisioner, images, lab, printer).await?;
        reach::all(environment, images, lab).await?;
        stages.ended("install", begun);

        let begun = Instant::now();
        let hosts = hosts::specs(
            settings,
            environment,
            store,
            &secrets,
            provisioner.base_url(),
            wright,
        )
        .await?;
        mark(store, Happening::DeploymentStarted, None).await?;
        let report = roles::run(args, folder, store, hosts, playbook, printer).await;
        let failed = match &report {
            Ok(report) => report
                .failures
                .iter()
                .map(|f| (f.node.clone(), format!("{}: {}", f.task, f.msg)))
                .collect(),
            Err(error) => vec![(String::new(), error.to_string())],
        };
        mark(store, Happening::DeploymentDone, Some(&failed)).await?;
        let report = report?;
        roles::judge(&report)?;
        stages.ended("roles", begun);
        provisioner.stop().await;

        let openrc = hosts::write_openrc(folder, environment, &secrets)?;
        if !args.no_health {
            let begun = Instant::now();
            let health = verify::health(settings, printer).await?;
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
        let identity = environment
            .plan
            .vips
            .internal
            .map(|vip| format!("http://{vip}:5000/v3"));
        Ok(Summary {
            env: settings.env.clone(),
            changed: report.changed(),
            stages,
            identity,
            openrc,
        })
    }
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
