//! Which card of a machine is which card of the inventory: addresses and matches against what the machine reported.
//!
//! Values in, values out. Every card of the machine counts, those too that the inventory knows by their addresses:
//! so an index never moves because an address was added, and two names for one card come to light.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use agent_protocol::enrol::{Hardware, Nic, SeedFile};
use inventory::{CardMatch, MacAddress, Speed};
use network_plan::{Card, NodePlan, UnknownCards};
use serde::Deserialize;

use crate::spec::seed_file;

/// Cards that a fault lists at most.
const SHOWN: usize = 16;

/// A card of the inventory that cannot be told on the machine: what was asked for, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardFault {
    #[error("it has no card {mac}, which the inventory calls {card}")]
    NoSuchAddress { mac: MacAddress, card: String },
    #[error("no card fits {wanted} of {card}")]
    NoFit { wanted: String, card: String },
    #[error("only {count} fit {wanted} of {card}, and `index` counts from 0")]
    TooFew {
        wanted: String,
        card: String,
        count: usize,
    },
    #[error("{count} cards fit {wanted} of {card}: say which by `index`")]
    Ambiguous {
        wanted: String,
        card: String,
        count: usize,
    },
    #[error("no card says how fast it is, so none fits {wanted} of {card}: use `driver` or `path`")]
    NoSpeeds { wanted: String, card: String },
    #[error("one card has two names, {first} and {second}: {mac}")]
    TwoNames {
        mac: MacAddress,
        first: String,
        second: String,
    },
}

/// Everything that is wrong with a machine's cards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; {machine}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct CardFaults {
    pub faults: Vec<CardFault>,
    /// The cards that it has, in words.
    pub machine: String,
}

/// The address of each card that the plan names.
///
/// # Errors
/// Every card that is missing, cannot be told from others, or has two names.
pub fn resolve(
    node: &NodePlan,
    hardware: &Hardware,
) -> Result<BTreeMap<String, MacAddress>, CardFaults> {
    let mut machine: Vec<Found<'_>> = hardware
        .nics
        .iter()
        .filter_map(|nic| {
            let mac = nic.mac.parse().ok()?;
            Some(Found { mac, nic })
        })
        .collect();
    // By place in the machine, which a report's order need not follow.
    machine.sort_by(|one, other| one.place().cmp(&other.place()));
    let mut faults = Vec::new();
    let mut taken: Vec<(&Card, MacAddress)> = Vec::new();
    for card in &node.cards {
        match find(card, &machine) {
            Ok(mac) => match taken.iter().find(|(_, other)| *other == mac) {
                Some((first, _)) => faults.push(CardFault::TwoNames {
                    mac,
                    first: called(first),
                    second: called(card),
                }),
                None => taken.push((card, mac)),
            },
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        let machine = listed(&machine);
        return Err(CardFaults { faults, machine });
    }
    let found = taken
        .into_iter()
        .map(|(card, mac)| (card.name.clone(), mac));
    Ok(found.collect())
}

/// Why the cards of a node that was installed are not known.
#[derive(Debug, thiserror::Error)]
pub enum CardsError {
    #[error(transparent)]
    NotReported(#[from] UnknownCards),
    #[error("the hardware report that is kept of `{node}` is not understood: {source}")]
    Report {
        node: String,
        source: serde_json::Error,
    },
    #[error("the cards of `{node}` are not as the inventory says: {faults}")]
    Faults { node: String, faults: CardFaults },
}

/// The node's part of the plan with the addresses of all its cards. `report` is the hardware report that `state.db`
/// keeps of it; without a `match` in the inventory none is needed.
///
/// # Errors
/// Cards that need a report, which is not there, or which does not have them.
pub fn known(node: &NodePlan, report: Option<&serde_json::Value>) -> Result<NodePlan, CardsError> {
    if node.unknown_cards().next().is_none() {
        return Ok(node.clone());
    }
    let Some(report) = report else {
        let cards = node.unknown_cards().map(|card| card.name.clone()).collect();
        let node = node.name.clone();
        return Err(UnknownCards { node, cards }.into());
    };
    let hardware = Hardware::deserialize(report).map_err(|source| CardsError::Report {
        node: node.name.clone(),
        source,
    })?;
    let macs = resolve(node, &hardware).map_err(|faults| CardsError::Faults {
        node: node.name.clone(),
        faults,
    })?;
    Ok(node.with_macs(&macs))
}

/// The files of systemd-networkd for a node that was installed; `report` as in [`known`].
///
/// # Errors
/// As [`known`].
pub fn network_files(
    node: &NodePlan,
    report: Option<&serde_json::Value>,
) -> Result<Vec<SeedFile>, CardsError> {
    let files = network_plan::network_files(&known(node, report)?)?;
    Ok(files.into_iter().map(seed_file).collect())
}

/// A card of the machine.
struct Found<'a> {
    mac: MacAddress,
    nic: &'a Nic,
}

impl Found<'_> {
    /// PCI addresses have a fixed width, so their order as text is that of the slots. What is on no bus comes last.
    fn place(&self) -> (bool, Option<&str>, &str) {
        let path = self.nic.pci_path.as_deref();
        (path.is_none(), path, &self.nic.name)
    }

    fn fits(&self, wanted: &CardMatch, fastest: Option<u32>) -> bool {
        let driver = wanted.driver.as_deref();
        let path = wanted.path.as_deref();
        driver.is_none_or(|driver| self.nic.driver.as_deref() == Some(driver))
            && path.is_none_or(|path| {
                let own = self.nic.pci_path.as_deref();
                own.is_some_and(|own| own.eq_ignore_ascii_case(path))
            })
            && wanted.speed.is_none_or(|speed| match speed {
                Speed::Fastest => fastest.is_some() && self.nic.speed() == fastest,
                Speed::Mbit(mbit) => self.nic.speed() == Some(mbit),
            })
    }
}

fn find(card: &Card, machine: &[Found<'_>]) -> Result<MacAddress, CardFault> {
    if let Some(mac) = card.mac {
        return match machine.iter().any(|found| found.mac == mac) {
            true => Ok(mac),
            false => Err(CardFault::NoSuchAddress {
                mac,
                card: called(card),
            }),
        };
    }
    let matching = card.matching.clone().unwrap_or_default();
    let wanted = matching.to_string();
    // The fastest of those that fit otherwise: a machine may have a faster one of another make.
    let others = CardMatch {
        speed: None,
        ..matching.clone()
    };
    let fastest = machine
        .iter()
        .filter(|found| found.fits(&others, None))
        .map(|found| (Reverse(found.nic.speed()), found))
        .min_by_key(|(speed, _)| *speed)
        .and_then(|(speed, _)| speed.0);
    let fitting: Vec<&Found<'_>> = machine
        .iter()
        .filter(|found| found.fits(&matching, fastest))
        .collect();
    let count = fitting.len();
    let card = called(card);
    let says_speed = machine.iter().any(|found| found.nic.speed().is_some());
    match (matching.index.map(usize::from), fitting.as_slice()) {
        (_, []) if matching.speed.is_some() && !says_speed && !machine.is_empty() => {
            Err(CardFault::NoSpeeds { wanted, card })
        }
        (_, []) => Err(CardFault::NoFit { wanted, card }),
        (None, [only]) => Ok(only.mac),
        (None, _) => Err(CardFault::Ambiguous {
            wanted,
            card,
            count,
        }),
        (Some(index), fitting) => match fitting.get(index) {
            Some(found) => Ok(found.mac),
            None => Err(CardFault::TooFew {
                wanted,
                card,
                count,
            }),
        },
    }
}

/// A card with the place that says which it is, and what it is for.
fn called(card: &Card) -> String {
    match &card.bond {
        Some(bond) => format!("{} ({}, a member of {bond})", card.name, card.declared),
        None => format!("{} ({})", card.name, card.declared),
    }
}

fn describe(found: &Found<'_>) -> String {
    let nic = found.nic;
    let speed = nic.speed().map(|mbit| format!("{mbit} Mbit/s"));
    let link = if nic.carrier { "link" } else { "no link" };
    let known = [
        nic.driver.clone(),
        nic.pci_path.clone(),
        speed,
        Some(link.to_owned()),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    format!("{} ({})", found.mac, known.join(", "))
}

fn listed(machine: &[Found<'_>]) -> String {
    if machine.is_empty() {
        return "it has no cards".to_owned();
    }
    let first: Vec<String> = machine.iter().take(SHOWN).map(describe).collect();
    let mut text = format!("it has {}", first.join(", "));
    if machine.len() > SHOWN {
        let _ = write!(text, " and {} more", machine.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hardware, planned};
    use proptest::prelude::*;

    fn nic(number: u8, driver: &str, path: &str, mbit: u32) -> Nic {
        Nic {
            name: format!("eth{number}"),
            mac: format!("52:54:00:00:00:0{number}"),
            driver: Some(driver.into()),
            pci_path: Some(path.into()),
            max_speed_mbit: (mbit > 0).then_some(mbit),
            carrier: number == 0,
            ..Nic::default()
        }
    }

    /// A server: two ports on board, a card with two fast ports, reported out of order.
    fn server() -> Hardware {
        Hardware {
            nics: vec![
                nic(3, "mlx5_core", "0000:af:00.1", 25_000),
                nic(0, "igb", "0000:01:00.0", 1000),
                nic(2, "mlx5_core", "0000:af:00.0", 25_000),
                nic(1, "igb", "0000:01:00.1", 1000),
            ],
            ..hardware(1)
        }
    }

    fn node(nics: &str) -> NodePlan {
        planned(&format!(
            "macs: {{pxe0: '52:54:00:00:00:00'}}, nics: {{{nics}}}"
        ))
    }

    fn found(nics: &str, hardware: &Hardware) -> String {
        match resolve(&node(nics), hardware) {
            Ok(macs) => {
                let ends = macs
                    .iter()
                    .map(|(name, mac)| format!("{name}={}", mac.octets()[5]));
                ends.collect::<Vec<_>>().join(" ")
            }
            Err(CardFaults { faults, machine }) => {
                let lines = faults.iter().map(|fault| format!("\n- {fault}"));
                lines.collect::<String>() + "\n" + &machine
            }
        }
    }

    #[test]
    fn cards_are_told_by_driver_path_and_speed() {
        let rest = "pxe0: [pxe], net0: {match: A}, net1: {match: B}, \
                    bond0: {bond: {members: [net0, net1], mode: active-backup}, networks: [mgmt, app]}";
        let both =
            |one: &str, other: &str| found(&rest.replace('A', one).replace('B', other), &server());
        for (one, other) in [
            (
                "{driver: mlx5_core, index: 0}",
                "{driver: mlx5_core, index: 1}",
            ),
            ("{speed: fastest, index: 0}", "{speed: fastest, index: 1}"),
            ("{path: 'AF:00.0'}", "{path: '0000:af:00.1', speed: 25G}"),
        ] {
            assert_eq!(both(one, other), "net0=2 net1=3 pxe0=0", "{one} {other}");
        }
        // The fastest among those of a driver; the card that boots counts as well.
        assert_eq!(
            both(
                "{driver: igb, speed: fastest, index: 1}",
                "{speed: 25000, index: 0}"
            ),
            "net0=1 net1=2 pxe0=0"
        );
    }

    #[test]
    fn faults_say_what_was_asked_for_where_and_what_there_is() {
        let rest = "pxe0: [pxe], a: {match: {driver: igb, index: 0}, networks: [mgmt]}, b: {match: {driver: igb}, networks: [app]}, \
                    c: {match: {driver: ixgbe, index: 0}}, d: {match: {speed: fastest, index: 2}}, e: {match: {path: '0000:af:00.1'}}, \
                    f: {match: {speed: 25G, index: 1}}, bond0: {bond: {members: [c, d, e, f], mode: active-backup}}";
        let mut text = found(rest, &server());
        let mut blank = server();
        blank.nics.remove(1);
        for nic in &mut blank.nics {
            nic.max_speed_mbit = None;
        }
        text += "\n";
        text += &found(
            "pxe0: [pxe], d: {match: {speed: fastest}, networks: [mgmt, app]}",
            &blank,
        );
        blank.nics.clear();
        text += "\n";
        text += &found(
            "pxe0: [pxe], d: {match: {driver: igb}, networks: [mgmt, app]}",
            &blank,
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_kept_report_tells_the_cards_of_an_installed_node() {
        let matched = node("pxe0: [pxe], net0: {match: {path: 'af:00.1'}, networks: [mgmt, app]}");
        let report = serde_json::to_value(server()).unwrap();
        let files = network_files(&matched, Some(&report)).unwrap();
        let link = files
            .iter()
            .find(|file| file.path.ends_with("10-net0.link"));
        assert!(link.unwrap().content.contains("52:54:00:00:00:03"));
        let mut told = String::new();
        // A report of an agent that knew less of cards, and one that is none.
        let old = serde_json::json!({"name": "eth9", "mac": "52:54:00:00:00:09", "carrier": true});
        let mut less = report.clone();
        less["nics"] = serde_json::json!([old]);
        for report in [None, Some(less), Some(serde_json::json!({"nics": 5}))] {
            let error = network_files(&matched, report.as_ref()).unwrap_err();
            told += &format!("{error}\n");
        }
        insta::assert_snapshot!(told);
        // Where the inventory has all addresses, nothing is needed.
        network_files(&crate::testing::node(1), None).unwrap();
    }

    proptest! {
        #[test]
        fn what_is_found_is_there_and_has_one_name(
            cards in proptest::collection::vec((0u8..9, 0usize..3, 0u32..3), 0..6),
            wanted in proptest::collection::vec((0usize..3, 0u16..3), 1..4),
        ) {
            let drivers = ["igb", "ixgbe", "mlx5_core"];
            let nics: Vec<Nic> = cards.iter().map(|(number, driver, speed)| {
                nic(*number, drivers[*driver], &format!("0000:0{number}:00.0"), speed * 1000)
            }).collect();
            let members: Vec<String> = (0..wanted.len()).map(|n| format!("n{n}")).collect();
            let matches: Vec<String> = wanted.iter().enumerate().map(|(n, (driver, index))| {
                format!("n{n}: {{match: {{driver: {}, index: {index}}}}}", drivers[*driver])
            }).collect();
            let layout = format!(
                "pxe0: [pxe], {}, b: {{bond: {{members: [{}], mode: active-backup}}, networks: [mgmt, app]}}",
                matches.join(", "), members.join(", ")
            );
            let hardware = Hardware { nics, ..hardware(1) };
            match resolve(&node(&layout), &hardware) {
                Ok(macs) => {
                    let mut seen: Vec<String> = macs.values().map(ToString::to_string).collect();
                    prop_assert_eq!(seen.len(), wanted.len() + 1);
                    for mac in &seen {
                        prop_assert!(hardware.nics.iter().any(|nic| nic.mac == *mac));
                    }
                    seen.sort();
                    seen.dedup();
                    prop_assert_eq!(seen.len(), wanted.len() + 1);
                }
                Err(wrong) => prop_assert!(!wrong.faults.is_empty()),
            }
        }
    }
}
