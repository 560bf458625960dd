//! The plan as people read it.

use crate::plan::NetworkPlan;
use std::fmt::{self, Display, Formatter};

impl Display for NetworkPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows = vec![row(["network", "cidr", "vlan", "mtu", "gateway"])];
        for (name, network) in &self.networks {
            rows.push(vec![
                name.to_string(),
                network.cidr.to_string(),
                or_dash(network.vlan),
                network.mtu.to_string(),
                or_dash(network.gateway),
            ]);
        }
        table(f, &rows)?;

        let vips = [
            ("internal", self.vips.internal),
            ("public", self.vips.public),
        ];
        if vips.iter().any(|(_, address)| address.is_some()) {
            writeln!(f)?;
            let mut rows = vec![row(["vip", "address"])];
            for (name, address) in vips {
                rows.push(vec![name.to_owned(), or_dash(address)]);
            }
            table(f, &rows)?;
        }

        for node in self.nodes.values() {
            writeln!(f, "\n{} ({})", node.fqdn, node.groups.join(", "))?;
            let mut rows = Vec::new();
            for interface in &node.interfaces {
                let mut notes = Vec::new();
                if Some(interface.mac) == node.boot_mac && interface.vlan.is_none() {
                    notes.push("boot".to_owned());
                }
                notes.extend(interface.gateway.map(|_| "default route".to_owned()));
                notes.extend(interface.bridge.as_ref().map(|name| format!("on {name}")));
                rows.push(vec![
                    format!("  {}", interface.name),
                    interface.mac.to_string(),
                    interface.network.to_string(),
                    or_dash(interface.address),
                    notes.join(", "),
                ]);
            }
            if let Some(bmc) = &node.bmc {
                rows.push(vec![
                    "  bmc".to_owned(),
                    String::new(),
                    "ipmi".to_owned(),
                    bmc.address.to_string(),
                    format!("port {}, user {}", bmc.port, bmc.user),
                ]);
            }
            table(f, &rows)?;
        }
        Ok(())
    }
}

fn row<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Columns as wide as their widest cell, no blanks at the end of lines.
fn table(f: &mut Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
            .collect();
        writeln!(f, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
