//! `wright lab power`.
use super::{blocking, must_be_up, planned};
use crate::args::lab::PowerWord;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use lab::Power;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

pub async fn run(
    node: &str,
    what: PowerWord,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    let power = match what {
        PowerWord::On => Some(Power::On),
        PowerWord::Off => Some(Power::Off),
        PowerWord::Cycle => Some(Power::Cycle),
        PowerWord::Reset => Some(Power::Reset),
        PowerWord::Status => None,
    };
    if let Some(power) = power {
        must_be_up(&planned.lab, settings)?;
        let (lab, name) = (planned.lab.clone(), node.to_owned());
        blocking(move || lab.power(&name, power)).await?;
    }
    let machine = planned
        .lab
        .status()
        .into_iter()
        .find(|machine| machine.name == node);
    let Some(machine) = machine else {
        return Err(CommandError::failed(format!(
            "there is no machine `{node}` in the lab"
        )));
    };
    printer.data(&Switch {
        node: machine.name,
        is_on: machine.is_on,
    })?;
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
struct Switch {
    node: String,
    is_on: bool,
}

impl Display for Switch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {}",
            self.node,
            if self.is_on { "on" } else { "off" }
        )
    }
}
