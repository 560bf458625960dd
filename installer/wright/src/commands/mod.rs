//! The commands, one file each. A command resolves nothing and parses nothing: it gets its
//! arguments, the settings and the printer, and answers with an exit status or an error.

mod check;
mod node;

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
        Command::Check => check::run(settings, printer).await,
        Command::Node(command) => node::run(command, settings, printer).await,
    }
}
