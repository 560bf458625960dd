//! A node's part of the plan as files: systemd-networkd's units, `hosts`, `resolv.conf`.
//!
//! Cards are matched by the address burnt into them: the order in which a kernel finds them is no
//! one's promise, and bridges and VLANs that inherit a card's address must not match.

use crate::plan::{Interface, NetworkPlan, NodePlan};
use inventory::NetworkName;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A file to be written on a node before its first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    pub content: String,
}

const FOLDER: &str = "/etc/systemd/network";

/// All files that give a node its names and addresses. Empty for a machine without cards in the
/// inventory, which is not ours to configure.
pub fn seed_files(plan: &NetworkPlan, node: &NodePlan) -> Vec<SeedFile> {
    if node.interfaces.is_empty() {
        return Vec::new();
    }
    let mut files = Vec::new();
    let mut nics: Vec<&str> = Vec::new();
    for interface in &node.interfaces {
        if !nics.contains(&interface.nic.as_str()) {
            nics.push(&interface.nic);
        }
    }
    for nic in nics {
        let on_it: Vec<&Interface> = node.interfaces.iter().filter(|i| i.nic == nic).collect();
        card(nic, &on_it, &mut files);
    }
    files.push(file("/etc/hosts", hosts(plan, node)));
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

fn file(path: impl Into<String>, content: String) -> SeedFile {
    SeedFile {
        path: path.into(),
        mode: 0o644,
        content,
    }
}

/// One card: its name, its untagged network, its VLANs, and the bridges that take them.
fn card(nic: &str, interfaces: &[&Interface], files: &mut Vec<SeedFile>) {
    let Some(mac) = interfaces.first().map(|interface| interface.mac) else {
        return;
    };
    let matching = format!("[Match]\nPermanentMACAddress={mac}\n");
    files.push(file(
        format!("{FOLDER}/10-{nic}.link"),
        format!("{matching}\n[Link]\nName={nic}\n"),
    ));
    // The card must let the largest frames of its networks through.
    let mtu = interfaces.iter().map(|i| i.mtu).max().unwrap_or(1500);
    let untagged = interfaces.iter().find(|i| i.vlan.is_none());
    let tagged: Vec<&&Interface> = interfaces.iter().filter(|i| i.vlan.is_some()).collect();
    let mut text = format!("{matching}\n[Link]\nMTUBytes={mtu}\n");
    if untagged.is_none_or(|i| !has_own_address(i)) && tagged.is_empty() {
        text += "RequiredForOnline=no\n";
    }
    text += "\n[Network]\n";
    for interface in &tagged {
        let _ = writeln!(text, "VLAN={}", interface.name);
    }
    text += &addresses(untagged.copied().filter(|i| has_own_address(i)));
    files.push(file(format!("{FOLDER}/20-{nic}.network"), text));
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
