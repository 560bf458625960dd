//! `wright lab bmc`: what a machine's simulated BMC calls. Its answers go to stdout as they are.
use super::{blocking, planned};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;

pub async fn run(
    node: &str,
    request: &[String],
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    let (node, request) = (node.to_owned(), request.to_vec());
    let answer = blocking(move || planned.lab.bmc_request(&node, &request)).await?;
    print!("{answer}");
    Ok(ExitStatus::Done)
}
