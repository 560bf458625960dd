//! `wright lab cable`.
use super::{blocking, must_be_up, planned};
use crate::args::lab::CableWord;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;

pub async fn run(
    node: &str,
    card: &str,
    what: CableWord,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    must_be_up(&planned.lab, settings)?;
    let is_plugged = what == CableWord::In;
    let (lab, machine, nic) = (planned.lab, node.to_owned(), card.to_owned());
    blocking(move || lab.cable(&machine, &nic, is_plugged)).await?;
    printer.say(&match what {
        CableWord::In => format!("{node}: {card} is plugged in"),
        CableWord::Out => format!("{node}: the cable of {card} is pulled"),
    });
    Ok(ExitStatus::Done)
}
