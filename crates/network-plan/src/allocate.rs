//! Giving addresses: first everything that is fixed, then the rest in the order of the inventory.

use crate::plan::{Allocations, has_address};
use diagnostics::{Diagnostic, Diagnostics};
use inventory::{AddressRange, Inventory, Network, NetworkName};
use std::collections::HashMap;
use std::net::Ipv4Addr;

pub(crate) fn allocate(
    inventory: &Inventory,
    earlier: &Allocations,
) -> Result<Allocations, Diagnostics> {
    let mut desk = Desk {
        inventory,
        given: earlier.clone(),
        taken: HashMap::new(),
        cursors: HashMap::new(),
        lacking: Vec::new(),
        diags: Diagnostics::new(),
    };
    desk.take_gateways();
    desk.take_earlier();
    desk.take_named_bmcs();
    desk.give_vips();
    desk.give_nodes();
    desk.give_bmcs();
    desk.tell_lacking();
    let Desk { given, diags, .. } = desk;
    diags.into_result(given)
}

struct Desk<'a> {
    inventory: &'a Inventory,
    given: Allocations,
    /// Who has an address, in words. The networks do not overlap, so one map does for all.
    taken: HashMap<Ipv4Addr, String>,
    /// How far each pool has been searched: addresses are never given back.
    cursors: HashMap<(NetworkName, Purpose), u64>,
    lacking: Vec<(NetworkName, Purpose)>,
    diags: Diagnostics,
}

/// What an address is for, which decides the range that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    Nodes,
    Vips,
}

impl Desk<'_> {
    fn take_gateways(&mut self) {
        for network in self.inventory.networks.values() {
            if let Some(gateway) = network.gateway {
                self.taken
                    .insert(gateway, format!("the gateway of `{}`", network.name));
            }
        }
    }

    /// Keeps what was given, also to those who are not in the inventory now.
    fn take_earlier(&mut self) {
        let given = self.given.clone();
        for (node, networks) in &given.nodes {
            let host = self.inventory.hosts.get(node);
            for (network, address) in networks {
                let needed =
                    host.is_some_and(|host| host.carries(*network) && has_address(host, *network));
                self.keep(*network, *address, &format!("`{node}`"), needed);
            }
        }
        for (name, address, who) in [
            (NetworkName::Mgmt, given.vips.internal, "the VIP `internal`"),
            (NetworkName::App, given.vips.public, "the VIP `public`"),
        ] {
            if let Some(address) = address {
                self.keep(name, address, who, true);
            }
        }
        for (node, address) in &given.bmcs {
            let bmc = self
                .inventory
                .hosts
                .get(node)
                .and_then(|host| host.bmc.as_ref());
            match bmc {
                // A named address replaces the one that was given.
                Some(bmc) if bmc.address.is_some() => {
                    self.given.bmcs.remove(node);
                }
                _ => self.keep(
                    NetworkName::Ipmi,
                    *address,
                    &format!("the BMC of `{node}`"),
                    bmc.is_some(),
                ),
            }
        }
    }

    fn keep(&mut self, name: NetworkName, address: Ipv4Addr, who: &str, needed: bool) {
        let Some(network) = self.inventory.networks.get(&name) else {
            return;
        };
        if !network.cidr.contains(address) {
            if needed {
                self.diags.push(
                    Diagnostic::error(format!(
                        "{who} already has {address} on `{name}`, which is not in {}",
                        network.cidr
                    ))
                    .at(&network.span)
                    .hint("addresses once given never move: keep the network's `cidr`"),
                );
            }
            return;
        }
        match self.taken.get(&address) {
            Some(other) if needed => self.diags.push(
                Diagnostic::error(format!("{who} already has {address}, as has {other}"))
                    .at(&network.span)
                    .hint("addresses once given never move: choose another for the latter"),
            ),
            Some(_) => {}
            None => {
                self.taken.insert(address, who.to_owned());
            }
        }
    }

    fn take_named_bmcs(&mut self) {
        for host in self.inventory.hosts.values() {
            let Some(bmc) = &host.bmc else { continue };
            let Some(address) = bmc.address else { continue };
            let who = format!("the BMC of `{}`", host.name);
            match self.taken.get(&address) {
                // Several on one address differ by their ports, which the inventory has checked.
                Some(other) if !other.starts_with("the BMC") || self.given_to_bmc(address) => {
                    self.diags.push(
                        Diagnostic::error(format!("{who} has {address}, as has {other}"))
                            .at(&bmc.span),
                    );
                }
                _ => {
                    self.taken.insert(address, who);
                }
            }
        }
    }

    fn given_to_bmc(&self, address: Ipv4Addr) -> bool {
        self.given.bmcs.values().any(|given| *given == address)
    }

    fn give_vips(&mut self) {
        // Machines that are not installed by us keep their addresses, and get no VIPs.
        if !self
            .inventory
            .hosts_in("controller")
            .any(|host| !host.nics.is_empty())
        {
            return;
        }
        if self.given.vips.internal.is_none() {
            self.given.vips.internal =
                self.give(NetworkName::Mgmt, Purpose::Vips, "the VIP `internal`");
        }
        if self.given.vips.public.is_none() {
            self.given.vips.public = self.give(NetworkName::App, Purpose::Vips, "the VIP `public`");
        }
    }

    fn give_nodes(&mut self) {
        for host in self.inventory.hosts.values() {
            for network in host.carriers().flat_map(|carrier| carrier.networks()) {
                let has = self
                    .given
                    .nodes
                    .get(&host.name)
                    .is_some_and(|given| given.contains_key(network));
                if has || !has_address(host, *network) {
                    continue;
                }
                if let Some(address) =
                    self.give(*network, Purpose::Nodes, &format!("`{}`", host.name))
                {
                    self.given
                        .nodes
                        .entry(host.name.clone())
                        .or_default()
                        .insert(*network, address);
                }
            }
        }
    }

    fn give_bmcs(&mut self) {
        for host in self.inventory.hosts.values() {
            let wants = host.bmc.as_ref().is_some_and(|bmc| bmc.address.is_none());
            if !wants || self.given.bmcs.contains_key(&host.name) {
                continue;
            }
            let who = format!("the BMC of `{}`", host.name);
            if let Some(address) = self.give(NetworkName::Ipmi, Purpose::Nodes, &who) {
                self.given.bmcs.insert(host.name.clone(), address);
            }
        }
    }

    /// The first free address of a pool. Faults are told by [`Desk::tell_lacking`].
    fn give(&mut self, name: NetworkName, purpose: Purpose, who: &str) -> Option<Ipv4Addr> {
        let network = self.inventory.networks.get(&name)?;
        let cursor = self.cursors.entry((name, purpose)).or_default();
        let free = pool(network, purpose)
            .skip(usize::try_from(*cursor).unwrap_or(usize::MAX))
            .inspect(|_| *cursor += 1)
            .find(|address| !self.taken.contains_key(address));
        match free {
            Some(address) => {
                self.taken.insert(address, who.to_owned());
            }
            None => self.lacking.push((name, purpose)),
        }
        free
    }

    /// One fault for each pool that ran out.
    fn tell_lacking(&mut self) {
        let mut told: Vec<(NetworkName, Purpose)> = Vec::new();
        for key in self.lacking.clone() {
            if told.contains(&key) {
                continue;
            }
            told.push(key);
            let (name, purpose) = key;
            let Some(network) = self.inventory.networks.get(&name) else {
                continue;
            };
            let more = self.lacking.iter().filter(|other| **other == key).count();
            let (word, range) = match purpose {
                Purpose::Nodes => ("nodes", network.ranges.nodes),
                Purpose::Vips => ("vips", network.ranges.vips),
            };
            let place = match range {
                Some(range) => format!("the range `{word}` ({range}) of `{name}`"),
                None => format!("the network `{name}` ({})", network.cidr),
            };
            self.diags.push(
                Diagnostic::error(format!("{place} has too few addresses"))
                    .at(&network.span)
                    .expected(format!("room for {more} more"))
                    .hint(format!("widen `ranges: {{{word}: ...}}` or the network")),
            );
        }
    }
}

/// The addresses for a purpose, ascending: those of its range, or without one all that the network
/// has outside its ranges.
fn pool(network: &Network, purpose: Purpose) -> Box<dyn Iterator<Item = Ipv4Addr>> {
    let range: Option<AddressRange> = match purpose {
        Purpose::Nodes => network.ranges.nodes,
        Purpose::Vips => network.ranges.vips,
    };
    if let Some(range) = range {
        return Box::new(range.iter());
    }
    let ranges: Vec<AddressRange> = network.ranges.iter().map(|(_, range)| range).collect();
    let first = network.cidr.network().to_bits() + 1;
    let last = network.cidr.broadcast().to_bits();
    Box::new(
        (first..last)
            .map(Ipv4Addr::from_bits)
            .filter(move |address| !ranges.iter().any(|range| range.contains(*address))),
    )
}
