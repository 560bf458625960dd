//! `wright lab console`.
use super::{blocking, lab_error, planned};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;

pub async fn run(
    node: &str,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    let socket = planned.lab.console(node).map_err(lab_error)?;
    printer.say(&format!("console of {node}; Ctrl-] leaves"));
    blocking(move || lab::attach_console(&socket)).await?;
    Ok(ExitStatus::Done)
}
