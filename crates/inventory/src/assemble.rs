//! From texts to an [`Inventory`]: pure, and with every fault collected.

use crate::files::{Files, TextFile, VarsFile};
use crate::hosts_file::{self, HostsFile};
use crate::vars::{self, VarsFolders};
use crate::{
    Host, Inventory, MacAddress, ROLE_GROUPS, database_engine, host, networks_file, traffic,
};
use diagnostics::{Diagnostic, Diagnostics};
use indexmap::IndexMap;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use yaml_source::{Document, Fault, Map, Span};

/// Checks texts as [`crate::load`] checks files. What could be understood is returned even if there
/// are errors.
pub fn assemble(files: &Files) -> (Inventory, Diagnostics) {
    let mut diags = Diagnostics::new();
    let networks = files
        .networks
        .as_ref()
        .and_then(|file| parse(file, &mut diags))
        .map(|document| networks_file::parse(&document.root, &mut diags));
    let (networks, chosen) = match networks {
        Some(file) => (Some(file.networks), file.traffic),
        None => Default::default(),
    };
    let hosts = files
        .hosts
        .as_ref()
        .and_then(|file| parse(file, &mut diags))
        .map(|document| hosts_file::parse(&document.root, &mut diags))
        .unwrap_or_default();
    let folders = VarsFolders {
        groups: merge_files(&files.group_vars, &mut diags),
        hosts: merge_files(&files.host_vars, &mut diags),
    };
    if files.hosts.is_some() {
        owners(&hosts, &folders, files, &mut diags);
    }

    let groups_of = vars::groups_of_hosts(&hosts, &folders);
    let mut inventory = Inventory {
        networks: networks.clone().unwrap_or_default(),
        ..Inventory::default()
    };
    for (name, raw) in &hosts.hosts {
        let groups = groups_of.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let merged = vars::merge(name, groups, &hosts, &[&folders]);
        let host = host::host(
            name,
            &raw.span,
            groups,
            merged,
            networks.as_ref(),
            &mut diags,
        );
        inventory.hosts.insert(name.clone(), host);
    }
    for name in hosts.groups.0.keys() {
        let members = vars::members(&hosts.groups, name);
        let in_order = |host: &&String| name == "all" || members.contains(host.as_str());
        let names = hosts.hosts.keys().filter(in_order).cloned().collect();
        inventory.groups.insert(name.clone(), names);
    }
    if let Some(networks) = &networks {
        inventory.traffic =
            traffic::settle(&chosen, networks, inventory.hosts.values(), &mut diags);
    }
    if !inventory.hosts.is_empty() {
        controllers(&hosts, inventory.hosts_in("controller").count(), &mut diags);
    }
    inventory.database_engine =
        database_engine::settle(inventory.hosts_in("controller"), &mut diags);
    duplicates(inventory.hosts.values(), &mut diags);

    // What stands in a file of all hosts is found wrong once for each of them.
    let mut unique: Vec<Diagnostic> = Vec::new();
    for diagnostic in diags {
        if !unique.contains(&diagnostic) {
            unique.push(diagnostic);
        }
    }
    (inventory, unique.into_iter().collect())
}

pub(crate) fn parse(file: &TextFile, diags: &mut Diagnostics) -> Option<Document> {
    match yaml_source::parse(&file.name, &file.text) {
        Ok(document) => Some(document),
        Err(faults) => {
            diags.extend(faults);
            None
        }
    }
}

pub(crate) fn merge_files(files: &[VarsFile], diags: &mut Diagnostics) -> IndexMap<String, Map> {
    let mut merged: IndexMap<String, Map> = IndexMap::new();
    for VarsFile { owner, file } in files {
        let vars = merged.entry(owner.clone()).or_default();
        let Some(document) = parse(file, diags) else {
            continue;
        };
        if document.root.is_null() {
            continue;
        }
        for (key, value) in document
            .root
            .as_map("a file of variables", diags)
            .into_iter()
            .flatten()
        {
            vars.insert(key.clone(), value.clone());
        }
    }
    merged
}

/// Complains about variables of groups and hosts that do not exist, which Ansible would ignore.
fn owners(hosts: &HostsFile, folders: &VarsFolders, files: &Files, diags: &mut Diagnostics) {
    let file_of = |all: &[VarsFile], owner: &str| {
        all.iter()
            .find(|file| file.owner == owner)
            .map(|file| file.file.name.clone())
            .unwrap_or_default()
    };
    let groups = || {
        let known = ROLE_GROUPS.into_iter().chain(["all", "ungrouped"]);
        hosts.groups.0.keys().map(String::as_str).chain(known)
    };
    for owner in folders.groups.keys() {
        if !groups().any(|group| group == owner) {
            let name = file_of(&files.group_vars, owner);
            diags.push(
                Diagnostic::error(format!(
                    "`{name}` is for the group `{owner}`, which does not exist"
                ))
                .suggest(owner, groups()),
            );
        }
    }
    for owner in folders.hosts.keys() {
        if !hosts.hosts.contains_key(owner) {
            let name = file_of(&files.host_vars, owner);
            diags.push(
                Diagnostic::error(format!(
                    "`{name}` is for the host `{owner}`, which does not exist"
                ))
                .suggest(owner, hosts.hosts.keys().map(String::as_str)),
            );
        }
    }
}

/// Databases, message queues and OVN's databases on the controllers decide by majority.
fn controllers(hosts: &HostsFile, count: usize, diags: &mut Diagnostics) {
    if count % 2 == 1 {
        return;
    }
    let diagnostic = match count {
        0 => Diagnostic::error("no host is a controller")
            .expected("at least one host in the group `controller`"),
        2 => Diagnostic::error("there are 2 controllers: when one fails, the other is no majority")
            .expected("an odd number of controllers")
            .hint("3 go on when any one fails; 1 does for trying things out"),
        _ => Diagnostic::error(format!(
            "there are {count} controllers, and an even number bears no more failures than {}",
            count - 1
        ))
        .expected("an odd number of controllers")
        .hint("when the network parts them into equal halves, neither is a majority"),
    };
    let group = match hosts.groups.0.get("controller") {
        Some(group) if count > 0 => Some(group),
        _ => hosts.groups.0.values().next(),
    };
    diags.push(match group {
        Some(group) => diagnostic.at(&group.span),
        None => diagnostic,
    });
}

/// Addresses that two machines cannot share.
fn duplicates<'a>(hosts: impl Iterator<Item = &'a Host>, diags: &mut Diagnostics) {
    let mut macs: HashMap<MacAddress, (&str, Span)> = HashMap::new();
    let mut bmcs: HashMap<(Ipv4Addr, u16), (&str, &Span)> = HashMap::new();
    for host in hosts {
        for (nic, mac) in host.nics.iter().filter_map(|nic| Some((nic, nic.mac?))) {
            let span = host
                .vars
                .get("macs")
                .and_then(|node| node.map())
                .and_then(|map| map.get(&nic.name))
                .map_or_else(|| nic.span.clone(), |node| node.span.clone());
            if let Some((other, first)) = macs.get(&mac) {
                diags.push(
                    span.error(format!(
                        "the MAC address {} belongs to two cards, of `{other}` and `{}`",
                        mac, host.name
                    ))
                    .related(first, "first given here"),
                );
            } else {
                macs.insert(mac, (&host.name, span));
            }
        }
        let Some((bmc, address)) = host.bmc.as_ref().and_then(|bmc| Some((bmc, bmc.address?)))
        else {
            continue;
        };
        if let Some((other, first)) = bmcs.get(&(address, bmc.port)) {
            diags.push(
                bmc.span
                    .error(format!(
                        "the BMCs of `{other}` and `{}` have the same address {address}",
                        host.name
                    ))
                    .related(*first, "first given here"),
            );
        } else {
            bmcs.insert((address, bmc.port), (&host.name, &bmc.span));
        }
    }
}
