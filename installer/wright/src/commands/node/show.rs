//! `wright node show`.

use super::Node;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::table;
use diagnostics::{ExitStatus, did_you_mean};
use std::fmt::{self, Display, Formatter};

pub fn run(nodes: &[Node], name: &str, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let Some(node) = nodes.iter().find(|node| node.name == name) else {
        let failed = CommandError::failed(format!("there is no node `{name}`"));
        let near = did_you_mean(name, nodes.iter().map(|node| node.name.as_str()));
        return Err(match near {
            Some(near) => failed.hint(format!("did you mean `{near}`?")),
            None => failed.hint("`wright node list` shows all"),
        });
    };
    printer.data(node)?;
    Ok(ExitStatus::Done)
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut facts: Vec<[String; 2]> = Vec::new();
        let mut fact = |name: &str, value: Option<&str>| {
            facts.extend(value.map(|value| [name.to_owned(), value.to_owned()]));
        };
        fact("node", Some(&self.name));
        fact("state", Some(&self.state));
        fact("reason", self.reason.as_deref());
        fact("since", self.changed_at.as_deref());
        if let Some(plan) = &self.plan {
            fact("fqdn", Some(&plan.fqdn));
            fact("groups", Some(&plan.groups.join(", ")));
            fact("profile", plan.node_profile.as_deref());
            if let Some(bmc) = &plan.bmc {
                let shown = format!("{} port {}, user {}", bmc.address, bmc.port, bmc.user);
                fact("bmc", Some(&shown));
            }
        }
        fact("image", self.image_sha256.as_deref());
        fact("host key", self.ssh_host_key.as_deref());
        f.write_str(&table::columns(&facts))?;

        if let Some(plan) = &self.plan
            && !plan.interfaces.is_empty()
        {
            let mut rows =
                vec![["interface", "mac", "network", "address", "mtu"].map(str::to_owned)];
            rows.extend(plan.interfaces.iter().map(|interface| {
                [
                    interface.name.clone(),
                    interface
                        .mac
                        .map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
                    interface.network.to_string(),
                    interface
                        .address
                        .map_or_else(|| "-".to_owned(), |address| address.to_string()),
                    interface.mtu.to_string(),
                ]
            }));
            write!(f, "\n{}", table::columns(&rows))?;
        }
        if let Some(hardware) = &self.hardware {
            write!(f, "\nhardware\n{hardware:#}")?;
        }
        Ok(())
    }
}
