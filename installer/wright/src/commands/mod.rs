//! The commands, one file each. A command resolves nothing and parses nothing: it gets its
//! arguments, the settings and the printer, and answers with an exit status or an error.

mod apply;
mod backup;
mod build;
mod check;
mod compute_agent;
mod database;
mod deploy;
mod drift;
mod lab;
mod log;
mod node;
mod plan;
mod play;
mod policy;
mod proof;
mod question;
mod secrets;
mod serve;
mod stack;
mod status;
mod up;
mod verify;

use crate::args::Command;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;

/// Runs one command.
pub async fn run(
    command: Command,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    match command {
        Command::Build(command) => build::run(command, settings, printer).await,
        Command::Lab(command) => lab::run(command, settings, printer).await,
        Command::Check => check::run(settings, printer).await,
        Command::Deploy(args) => deploy::run(args, settings, printer).await,
        Command::Play(args) => play::run(*args, settings, printer).await,
        Command::Plan(args) => plan::run(args, settings, printer).await,
        Command::Apply(args) => apply::run(args, settings, printer).await,
        Command::Drift(args) => drift::run(args, settings, printer).await,
        Command::Log(args) => log::run(args, settings, printer).await,
        Command::Verify(command) => verify::run(command, settings, printer).await,
        Command::Backup(command) => backup::run(command, settings, printer).await,
        Command::Secrets(command) => secrets::run(command, settings, printer).await,
        Command::Status(args) => status::run(args, settings, printer).await,
        Command::Stack(command) => stack::run(command, settings, printer).await,
        Command::Node(command) => node::run(command, settings, printer).await,
        Command::Up(args) => up::run(args, settings, printer).await,
        Command::Down => up::down(settings, printer).await,
        Command::Database(command) => database::run(command, printer).await,
        Command::Policy(command) => policy::run(&command, printer),
        Command::Serve(args) => serve::run(args).await,
    }
}
