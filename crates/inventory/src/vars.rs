//! A host's variables: Ansible's precedence among what an inventory can say.

use crate::groups::Groups;
use crate::hosts_file::HostsFile;
use indexmap::IndexMap;
use std::collections::HashMap;
use yaml_source::{Map, Value};

/// Variables from `group_vars/` and `host_vars/`, by owner.
#[derive(Debug, Default)]
pub(crate) struct VarsFolders {
    pub groups: IndexMap<String, Map>,
    pub hosts: IndexMap<String, Map>,
}

/// Which groups each host is in, its groups' parents too, in the order in which their variables
/// apply: a deeper group after a shallower one, then by `ansible_group_priority`, then by name.
/// `all` is not among them.
pub(crate) fn groups_of_hosts<'a>(
    file: &'a HostsFile,
    folders: &VarsFolders,
) -> HashMap<&'a str, Vec<&'a str>> {
    let depths = file.groups.depths();
    let mut order: Vec<&str> = file.groups.0.keys().map(String::as_str).collect();
    order.sort_by_key(|name| {
        (
            depths.get(name).copied().unwrap_or(1),
            priority(&file.groups, folders, name),
            *name,
        )
    });
    let mut found: HashMap<&str, Vec<&str>> = HashMap::new();
    for name in order.into_iter().filter(|name| *name != "all") {
        for member in members(&file.groups, name) {
            found.entry(member).or_default().push(name);
        }
    }
    found
}

/// Hosts of a group and of all groups below it.
pub(crate) fn members<'a>(groups: &'a Groups, name: &'a str) -> indexmap::IndexSet<&'a str> {
    groups
        .below(name)
        .into_iter()
        .filter_map(|name| groups.0.get(name))
        .flat_map(|group| group.hosts.iter().map(String::as_str))
        .collect()
}

fn priority(groups: &Groups, folders: &VarsFolders, name: &str) -> i64 {
    let own = groups.0.get(name).map(|group| &group.vars);
    folders
        .groups
        .get(name)
        .into_iter()
        .chain(own)
        .find_map(|vars| match vars.get("ansible_group_priority")?.value {
            Value::Int(number) => Some(number),
            _ => None,
        })
        .unwrap_or(1)
}

/// The variables of one host, the later over the earlier, key by key and not merged deeper:
/// `hosts.yml` of `all`, of the groups; `group_vars/all`, `group_vars/` of the groups; `hosts.yml`
/// of the host; `host_vars/`. Of several folders (beside the inventory, beside the playbook) the later wins.
pub(crate) fn merge(
    host: &str,
    groups: &[&str],
    file: &HostsFile,
    folders: &[&VarsFolders],
) -> Map {
    // A group's own priority orders the groups and is no variable of their hosts.
    let in_file = |name: &str| {
        let own = file.groups.0.get(name).map(|group| &group.vars);
        own.into_iter()
            .flatten()
            .filter(|(key, _)| key.text != "ansible_group_priority")
    };
    let in_folders = |name: &str| {
        let found = folders.iter().filter_map(|folder| folder.groups.get(name));
        found.flatten().collect::<Vec<_>>()
    };
    let of_host = file.hosts.get(host).map(|host| &host.vars);
    let in_host_folders = folders.iter().filter_map(|folder| folder.hosts.get(host));
    let layers = in_file("all")
        .chain(groups.iter().flat_map(|name| in_file(name)))
        .chain(in_folders("all"))
        .chain(groups.iter().flat_map(|name| in_folders(name)))
        .chain(of_host.into_iter().chain(in_host_folders).flatten());
    let mut merged = Map::default();
    for (key, value) in layers {
        merged.insert(key.clone(), value.clone());
    }
    merged
}
