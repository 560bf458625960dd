//! The plan as people read it.

use crate::plan::{Bond, Card, NetworkPlan};
use inventory::{BondMode, NetworkName, TrafficKind};
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

        let laid = TrafficKind::ALL.map(|kind| (kind, self.traffic.of(kind)));
        let laid = laid
            .iter()
            .filter(|(_, name)| self.networks.contains_key(name));
        let mut rows = vec![row(["traffic", "network"])];
        rows.extend(laid.map(|(kind, name)| vec![kind.as_str().to_owned(), name.to_string()]));
        if rows.len() > 1 {
            writeln!(f)?;
            table(f, &rows)?;
        }

        for node in self.nodes.values() {
            writeln!(f, "\n{} ({})", node.fqdn, node.groups.join(", "))?;
            let mut rows = Vec::new();
            let members = node.cards.iter().filter(|card| card.bond.is_some());
            rows.extend(members.map(member));
            rows.extend(node.bonds.iter().map(bond));
            for interface in &node.interfaces {
                let mut notes = Vec::new();
                if interface.network == NetworkName::Pxe {
                    notes.push("boot".to_owned());
                }
                notes.extend(interface.gateway.map(|_| "default route".to_owned()));
                notes.extend(interface.bridge.as_ref().map(|name| format!("on {name}")));
                rows.push(vec![
                    format!("  {}", interface.name),
                    match node.card(&interface.nic) {
                        Some(card) => which(card),
                        None => String::new(),
                    },
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

/// What a card is known by.
fn which(card: &Card) -> String {
    match (&card.mac, &card.matching) {
        (Some(mac), _) => mac.to_string(),
        (None, Some(matching)) => matching.to_string(),
        (None, None) => String::new(),
    }
}

fn member(card: &Card) -> Vec<String> {
    let mut row = row(["", "", "", "", ""]);
    row[0] = format!("  {}", card.name);
    row[1] = which(card);
    row[4] = format!("in {}", card.bond.as_deref().unwrap_or_default());
    row
}

fn bond(bond: &Bond) -> Vec<String> {
    let mut row = row(["", "", "", "", ""]);
    row[0] = format!("  {}", bond.name);
    row[4] = match bond.mode {
        BondMode::ActiveBackup => format!("{}, MTU {}", bond.mode.as_str(), bond.mtu),
        BondMode::Lacp {
            lacp_rate,
            hash_policy,
        } => format!(
            "{} {}, {}, MTU {}",
            bond.mode.as_str(),
            lacp_rate.as_str(),
            hash_policy.as_str(),
            bond.mtu
        ),
    };
    row
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
