//! `wright lab show`: what the lab of an inventory consists of, whether it is up or not. Other things that make machines
//! read it (`vagrant/Vagrantfile`), so that only one program knows what an inventory means.
use super::planned;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::table;
use diagnostics::ExitStatus;
use lab::{LabSpec, Plug};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

pub async fn run(settings: &Settings, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    printer.data(&Shown(planned.lab.spec()))?;
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a LabSpec);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut wires = vec![["wire", "vlan", "mtu", "this host"].map(str::to_owned)];
        for wire in &self.0.wires {
            let addresses: Vec<String> = wire
                .host_addresses
                .iter()
                .map(|(address, prefix)| format!("{address}/{prefix}"))
                .collect();
            wires.push([
                wire.network.clone(),
                wire.vlan
                    .map_or_else(|| "-".to_owned(), |vlan| vlan.to_string()),
                wire.mtu.to_string(),
                addresses.join(" "),
            ]);
        }
        let mut cards = vec![["machine", "card", "address", "plugged into"].map(str::to_owned)];
        for machine in &self.0.machines {
            for nic in &machine.nics {
                let port = match &nic.plug {
                    Plug::Bridge(network) => network.clone(),
                    Plug::Switch(port) => port.to_string(),
                };
                cards.push([
                    machine.name.clone(),
                    nic.name.clone(),
                    nic.mac.clone(),
                    port,
                ]);
            }
        }
        write!(f, "{}\n{}", table::columns(&wires), table::columns(&cards))
    }
}
