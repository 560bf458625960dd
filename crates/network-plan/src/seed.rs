//! A node's part of the plan as files: systemd-networkd's units, `hosts`, `resolv.conf`, kernel modules.
//!
//! Cards are matched by the address burnt into them: the order in which a kernel finds them is no
//! one's promise, and bonds, bridges and VLANs that inherit a card's address must not match.

use crate::plan::{Bond, Card, Interface, NetworkPlan, NodePlan};
use inventory::{BondMode, NetworkName};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A file to be written on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    pub content: String,
}

/// Cards whose addresses are not known yet; their names are within.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not known yet which cards of `{node}` are {}: the machine has not reported what it has",
    .cards.iter().map(|card| format!("`{card}`")).collect::<Vec<_>>().join(", ")
)]
pub struct UnknownCards {
    pub node: String,
    pub cards: Vec<String>,
}

/// Where systemd-networkd's units are.
pub const FOLDER: &str = "/etc/systemd/network";
/// What systemd-modules-load loads before networkd starts.
const MODULES: &str = "/etc/modules-load.d/wright-network.conf";
/// The first line of each unit: a file with it is ours, and goes when the plan no longer has it.
pub const HEADER: &str = "# Written by wright from the inventory; changes here are lost.\n";

/// The units that give a node its cards, bonds, VLANs and addresses. Empty for a machine without cards in the
/// inventory, which is not ours to configure. They depend on nothing but `node`.
///
/// # Errors
/// Cards that only the machine itself can tell apart, and has not yet: see [`NodePlan::with_macs`].
pub fn network_files(node: &NodePlan) -> Result<Vec<SeedFile>, UnknownCards> {
    let unknown: Vec<String> = node.unknown_cards().map(|card| card.name.clone()).collect();
    if !unknown.is_empty() {
        return Err(UnknownCards {
            node: node.name.clone(),
            cards: unknown,
        });
    }
    let mut files = Vec::new();
    for card in &node.cards {
        let on_it = on(node, &card.name);
        if !on_it.is_empty() || card.bond.is_some() {
            cable(card, &on_it, &mut files);
        }
    }
    for bond in &node.bonds {
        let on_it = on(node, &bond.name);
        bonded(node, bond, &on_it, &mut files);
    }
    for file in &mut files {
        file.content.insert_str(0, HEADER);
    }
    Ok(files)
}

/// `/etc/hosts`, `/etc/resolv.conf`, and the kernel modules that the network wants.
pub fn system_files(plan: &NetworkPlan, node: &NodePlan) -> Vec<SeedFile> {
    if node.interfaces.is_empty() {
        return Vec::new();
    }
    let mut files = vec![file("/etc/hosts", hosts(plan, node))];
    let modules = modules(node);
    if !modules.is_empty() {
        files.push(file(MODULES, modules));
    }
    let servers: Vec<String> = node
        .interfaces
        .iter()
        .flat_map(|interface| &interface.dns)
        .map(|server| format!("nameserver {server}\n"))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if !servers.is_empty() {
        files.push(file("/etc/resolv.conf", servers.concat()));
    }
    files
}

/// systemd-networkd waits 25 seconds for a bond to be made and never tries again; on a busy machine the kernel has needed
/// longer to find the module for it. So it is there before.
fn modules(node: &NodePlan) -> String {
    let vlans = node.interfaces.iter().any(|i| i.vlan.is_some());
    let wanted = [(!node.bonds.is_empty(), "bonding"), (vlans, "8021q")];
    let wanted = wanted.into_iter().filter(|(is_wanted, _)| *is_wanted);
    wanted.map(|(_, name)| format!("{name}\n")).collect()
}

fn file(path: impl Into<String>, content: String) -> SeedFile {
    SeedFile {
        path: path.into(),
        mode: 0o644,
        content,
    }
}

fn on<'a>(node: &'a NodePlan, carrier: &str) -> Vec<&'a Interface> {
    node.interfaces
        .iter()
        .filter(|i| i.nic == carrier)
        .collect()
}

/// One card: its name, and either its bond or what lies on it.
fn cable(card: &Card, interfaces: &[&Interface], files: &mut Vec<SeedFile>) {
    let (name, mtu) = (&card.name, card.mtu);
    let mac = card.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let matching = format!("[Match]\nPermanentMACAddress={mac}\n");
    files.push(file(
        format!("{FOLDER}/10-{name}.link"),
        format!("{matching}\n[Link]\nName={name}\n"),
    ));
    match &card.bond {
        Some(bond) => files.push(file(
            format!("{FOLDER}/20-{name}.network"),
            // A bond is there to do without a member: none of them is waited for.
            format!(
                "{matching}\n[Link]\nMTUBytes={mtu}\nRequiredForOnline=no\n\n[Network]\nBond={bond}\n{}",
                addresses(None)
            ),
        )),
        None => carrier(name, &matching, mtu, interfaces, files),
    }
}

/// A bond, and what lies on it. It bears its first member's address, so that it has the same after every start.
fn bonded(node: &NodePlan, bond: &Bond, interfaces: &[&Interface], files: &mut Vec<SeedFile>) {
    let (name, mtu) = (&bond.name, bond.mtu);
    let mut text = format!("[NetDev]\nName={name}\nKind=bond\nMTUBytes={mtu}\n");
    let first = bond.members.first().and_then(|name| node.card(name));
    if let Some(mac) = first.and_then(|card| card.mac) {
        let _ = writeln!(text, "MACAddress={mac}");
    }
    let _ = write!(
        text,
        "\n[Bond]\nMode={}\nMIIMonitorSec={}ms\n",
        bond.mode.as_str(),
        bond.miimon_ms
    );
    if let BondMode::Lacp {
        lacp_rate,
        hash_policy,
    } = bond.mode
    {
        let (rate, policy) = (lacp_rate.as_str(), hash_policy.as_str());
        let _ = write!(
            text,
            "LACPTransmitRate={rate}\nTransmitHashPolicy={policy}\n"
        );
    }
    files.push(file(format!("{FOLDER}/15-{name}.netdev"), text));
    let matching = format!("[Match]\nName={name}\n");
    carrier(name, &matching, mtu, interfaces, files);
}

/// What lies on a card or bond: its untagged network, its VLANs, and the bridges that take them.
fn carrier(
    name: &str,
    matching: &str,
    mtu: u16,
    interfaces: &[&Interface],
    files: &mut Vec<SeedFile>,
) {
    let untagged = interfaces.iter().find(|i| i.vlan.is_none());
    let tagged: Vec<&&Interface> = interfaces.iter().filter(|i| i.vlan.is_some()).collect();
    let mut text = format!("{matching}\n[Link]\nMTUBytes={mtu}\n");
    // Without an address it never counts as online; VLANs on it are waited for by themselves.
    if untagged.is_none_or(|i| !has_own_address(i)) {
        text += "RequiredForOnline=no\n";
    }
    text += "\n[Network]\n";
    for interface in &tagged {
        let _ = writeln!(text, "VLAN={}", interface.name);
    }
    text += &addresses(untagged.copied().filter(|i| has_own_address(i)));
    files.push(file(format!("{FOLDER}/20-{name}.network"), text));
    for interface in &tagged {
        let (name, mtu) = (&interface.name, interface.mtu);
        let id = interface.vlan.unwrap_or_default();
        files.push(file(
            format!("{FOLDER}/15-{name}.netdev"),
            format!("[NetDev]\nName={name}\nKind=vlan\nMTUBytes={mtu}\n\n[VLAN]\nId={id}\n"),
        ));
        let own = Some(**interface).filter(|i| has_own_address(i));
        let online = if own.is_some() {
            ""
        } else {
            "\n[Link]\nRequiredForOnline=no\n"
        };
        files.push(file(
            format!("{FOLDER}/25-{name}.network"),
            format!(
                "[Match]\nName={name}\n{online}\n[Network]\n{}",
                addresses(own)
            ),
        ));
    }
    for interface in interfaces {
        if let (Some(bridge), Some(_)) = (&interface.bridge, interface.address) {
            // The bridge comes with the node's roles; nothing may wait for it.
            files.push(file(
                format!("{FOLDER}/30-{bridge}.network"),
                format!(
                    "[Match]\nName={bridge}\n\n[Link]\nMTUBytes={}\nRequiredForOnline=no\n\n[Network]\n{}",
                    interface.mtu,
                    addresses(Some(interface))
                ),
            ));
        }
    }
}

fn has_own_address(interface: &Interface) -> bool {
    interface.address.is_some() && interface.bridge.is_none()
}

/// Lines of a `[Network]` section; no addresses of any kind without an interface that has one.
fn addresses(interface: Option<&Interface>) -> String {
    let mut text = String::new();
    if let Some(interface) = interface {
        if let Some(address) = interface.address {
            let _ = writeln!(text, "Address={address}");
        }
        if let Some(gateway) = interface.gateway {
            let _ = writeln!(text, "Gateway={gateway}");
        }
        for server in &interface.dns {
            let _ = writeln!(text, "DNS={server}");
        }
    }
    text + "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
}

/// All nodes by their address on `mgmt`, so that names do not depend on a DNS server.
fn hosts(plan: &NetworkPlan, node: &NodePlan) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n\n");
    for other in plan.nodes.values() {
        let address = other
            .addresses
            .get(&NetworkName::Mgmt)
            .or_else(|| other.addresses.values().next());
        match address {
            Some(address) => {
                let _ = writeln!(text, "{address} {} {}", other.fqdn, other.name);
            }
            None if other.name == node.name => {
                let _ = writeln!(text, "127.0.1.1 {} {}", other.fqdn, other.name);
            }
            None => {}
        }
    }
    text
}
