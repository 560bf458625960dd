//! The commands, one file each. A command resolves nothing and parses nothing: it gets its
//! arguments, the settings and the printer, and answers with an exit status or an error.

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
    match command {}
}
