//! `wright lab`: the environment on virtual machines. What all its commands begin with is here.
mod bmc;
mod cable;
mod console;
pub mod containers;
mod down;
mod exec;
mod forward;
mod power;
mod show;
pub mod ssh;
mod status;
mod up;

use crate::args::lab::LabCommand;
use crate::environment::{self, Environment};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use lab::{Accelerator, Folders, Lab, LabError, LabSpec, MachineKind};
use state::Store;
use std::path::PathBuf;

pub async fn run(
    command: LabCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    match command {
        LabCommand::Up(args) => up::run(args, settings, printer).await,
        LabCommand::Down { purge } => down::run(purge, settings, printer).await,
        LabCommand::Status => status::run(settings, printer).await,
        LabCommand::Ssh { node, command } => ssh::run(&node, &command, settings, printer).await,
        LabCommand::Exec { command } => exec::run(&command, settings),
        LabCommand::Console { node } => console::run(&node, settings, printer).await,
        LabCommand::Forward { ports } => forward::run(&ports, settings, printer).await,
        LabCommand::Power { node, what } => power::run(&node, what, settings, printer).await,
        LabCommand::Cable { node, card, what } => {
            cable::run(&node, &card, what, settings, printer).await
        }
        LabCommand::Show => show::run(settings, printer).await,
        LabCommand::Bmc { node, request } => bmc::run(&node, &request, settings, printer).await,
    }
}

/// The lab as planned, with the environment and its store if there is one.
struct Planned {
    lab: Lab,
    environment: Environment,
    store: Option<Store>,
}

async fn planned(settings: &Settings, printer: &Printer) -> Result<Planned, CommandError> {
    let store = environment::open_store(settings).await?;
    let environment = environment::plan(settings, store.as_ref(), printer).await?;
    let lab = make(settings, &environment, kind(settings))?;
    Ok(Planned {
        lab,
        environment,
        store,
    })
}

fn make(
    settings: &Settings,
    environment: &Environment,
    kind: MachineKind,
) -> Result<Lab, CommandError> {
    let spec = LabSpec::from_inventory(&settings.env, &environment.inventory, &environment.plan)
        .map_err(|errors| {
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            CommandError::failed(told.join("\n"))
        })?;
    let folders = Folders::of(&settings.env, &settings.state_dir);
    Ok(Lab::new(spec, folders, kind))
}

/// What the machines of the environment's lab are.
pub fn kind(settings: &Settings) -> MachineKind {
    match Folders::of(&settings.env, &settings.state_dir).are_containers() {
        true => MachineKind::Container,
        false => MachineKind::Emulated(Accelerator::known(&accelerator_file(settings))),
    }
}

/// Where the answer to "does KVM work here" is kept.
fn accelerator_file(settings: &Settings) -> PathBuf {
    settings.cache_dir.join("accelerator.json")
}

fn lab_error(error: LabError) -> CommandError {
    CommandError::failed(error.to_string())
}

fn must_be_up(lab: &Lab, settings: &Settings) -> Result<(), CommandError> {
    if lab.is_up() {
        return Ok(());
    }
    Err(
        CommandError::failed(format!("the lab of `{}` is not up", settings.env))
            .hint(format!("`wright -e {} lab up` makes it", settings.env)),
    )
}

/// Runs blocking work of the lab.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(anyhow::Error::from)?
        .map_err(lab_error)
}
