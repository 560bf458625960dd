//! `wright check`: the inventory read and planned. Prints the plan, or every fault; changes nothing.

use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;

pub async fn run(settings: &Settings, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let store = environment::open_store(settings).await?;
    let environment = environment::plan(settings, store.as_ref(), printer).await?;
    printer.data(&environment.plan)?;
    Ok(ExitStatus::Done)
}
