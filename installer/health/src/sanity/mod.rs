//! Checks of the nodes themselves: units, ports, clocks, certificates.
pub(crate) mod certificate;
mod clock;
mod port;
mod units;

use crate::{Check, Cloud};

/// Ports of a controller on its `mgmt` address; the table is docs/ports.md.
const CONTROLLER_PORTS: &[(&str, u16)] = &[
    ("identity", 5000),
    ("image", 9292),
    ("placement", 8778),
    ("compute", 8774),
    ("network", 9696),
    ("orchestration", 8004),
];

/// Those that nobody but other nodes may reach.
const CONTROLLER_INNER_PORTS: &[(&str, u16)] = &[
    ("message queue", 5671),
    ("OVN northbound", 6641),
    ("OVN southbound", 6642),
];

/// The bundled services, with the ports that are balanced on each virtual address.
pub const BALANCED_PORTS: &[(&str, u16)] = &[
    ("identity", 5000),
    ("image", 9292),
    ("placement", 8778),
    ("compute", 8774),
    ("network", 9696),
    ("orchestration", 8004),
];

/// Every sanity check that fits this cloud's nodes.
pub fn checks(cloud: &Cloud) -> Vec<Box<dyn Check>> {
    let mut checks: Vec<Box<dyn Check>> = Vec::new();
    for node in &cloud.nodes {
        checks.push(Box::new(units::Units {
            node: node.name.clone(),
        }));
        checks.push(Box::new(clock::Clock {
            node: node.name.clone(),
        }));
        checks.push(Box::new(certificate::Certificate {
            node: node.name.clone(),
        }));
        if let Some(address) = node
            .addresses
            .get("mgmt")
            .filter(|_| node.is_in("controller"))
        {
            checks.extend(
                CONTROLLER_PORTS
                    .iter()
                    .map(|(what, number)| -> Box<dyn Check> {
                        Box::new(port::Port::new(
                            format!("{} {what}", node.name),
                            *address,
                            *number,
                        ))
                    }),
            );
            checks.extend(
                CONTROLLER_INNER_PORTS
                    .iter()
                    .chain(&[("database", cloud.database_port)])
                    .map(|(what, number)| -> Box<dyn Check> {
                        let what = format!("{} {what}", node.name);
                        Box::new(port::Port::new(what, *address, *number).on(&node.name))
                    }),
            );
        }
    }
    for (name, address) in &cloud.vips {
        checks.extend(
            BALANCED_PORTS
                .iter()
                .map(|(what, number)| -> Box<dyn Check> {
                    Box::new(port::Port::new(
                        format!("{name} virtual address, {what}"),
                        *address,
                        *number,
                    ))
                }),
        );
    }
    checks
}
