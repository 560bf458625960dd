//! `wright node list`.

use super::Node;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::table;
use diagnostics::ExitStatus;
use inventory::NetworkName;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

pub fn run(nodes: &[Node], printer: &Printer) -> Result<ExitStatus, CommandError> {
    printer.data(&List { nodes })?;
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
struct List<'a> {
    nodes: &'a [Node],
}

impl Display for List<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["node", "groups", "mgmt", "bmc", "state"].map(str::to_owned)];
        for node in self.nodes {
            let plan = node.plan.as_ref();
            let dash = || "-".to_owned();
            rows.push([
                node.name.clone(),
                plan.map_or_else(
                    || "(not in the inventory)".to_owned(),
                    |plan| plan.groups.join(","),
                ),
                plan.and_then(|plan| plan.addresses.get(&NetworkName::Mgmt))
                    .map_or_else(dash, ToString::to_string),
                plan.and_then(|plan| plan.bmc.as_ref())
                    .map_or_else(dash, |bmc| bmc.address.to_string()),
                match &node.reason {
                    Some(reason) => format!("{}: {reason}", node.state),
                    None => node.state.clone(),
                },
            ]);
        }
        f.write_str(&table::columns(&rows))
    }
}
