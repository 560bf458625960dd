//! `wright lab status`.
use super::planned;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::table;
use diagnostics::ExitStatus;
use inventory::NetworkName;
use lab::{MachineStatus, SwitchStatus};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

pub async fn run(settings: &Settings, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    let records = match &planned.store {
        Some(store) => store.nodes().await.map_err(anyhow::Error::from)?,
        None => Vec::new(),
    };
    let machines = planned
        .lab
        .status()
        .into_iter()
        .map(|machine| Row {
            state: records
                .iter()
                .find(|record| record.name == machine.name)
                .map(|record| record.state.clone()),
            address: planned
                .environment
                .plan
                .nodes
                .get(&machine.name)
                .and_then(|node| node.addresses.get(&NetworkName::Mgmt))
                .map(ToString::to_string),
            machine,
        })
        .collect();
    printer.data(&Status {
        namespace: lab::namespace(&settings.env),
        is_up: planned.lab.is_up(),
        switch: planned.lab.switch(),
        machines,
    })?;
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
struct Status {
    namespace: String,
    is_up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    switch: Option<SwitchStatus>,
    machines: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    machine: MachineStatus,
    state: Option<String>,
    address: Option<String>,
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.is_up { "is up" } else { "is not up" };
        writeln!(f, "Namespace {} {word}.", self.namespace)?;
        if let Some(switch) = &self.switch {
            let word = if switch.is_on { "is on" } else { "is off" };
            let (bridge, folder) = (&switch.bridge, switch.folder.display());
            writeln!(f, "Switch {bridge} {word}; sockets and logs: {folder}.")?;
        }
        let mut rows =
            vec![["node", "power", "state", "mgmt", "cpu", "console"].map(str::to_owned)];
        for Row {
            machine,
            state,
            address,
        } in &self.machines
        {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            rows.push([
                machine.name.clone(),
                if machine.is_on { "on" } else { "off" }.to_owned(),
                text(state),
                text(address),
                text(&machine.cpu_seconds.map(|seconds| format!("{seconds:.1} s"))),
                machine.console_log.display().to_string(),
            ]);
        }
        f.write_str(&table::columns(&rows))
    }
}
