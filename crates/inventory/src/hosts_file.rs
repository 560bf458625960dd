//! `hosts.yml`: Ansible's YAML inventory. Groups with `hosts`, `children` and `vars`, host ranges,
//! variables of hosts. What the variables mean is not known here.

use crate::groups::{Group, Groups};
use crate::pattern;
use diagnostics::Diagnostics;
use indexmap::IndexMap;
use yaml_source::{Fault, Key, Map, Node, Span};

/// A host as it is written, possibly in several places.
#[derive(Debug, Clone)]
pub(crate) struct RawHost {
    pub span: Span,
    pub vars: Map,
}

/// What `hosts.yml` says.
#[derive(Debug, Default)]
pub(crate) struct HostsFile {
    pub groups: Groups,
    pub hosts: IndexMap<String, RawHost>,
}

pub(crate) fn parse(root: &Node, diags: &mut Diagnostics) -> HostsFile {
    let mut file = HostsFile::default();
    if root.is_null() {
        diags.push(
            root.error("the inventory is empty")
                .expected("a group such as `all:` with `hosts:` or `children:`"),
        );
        return file;
    }
    let Some(top) = root.as_map("the inventory", diags) else {
        return file;
    };
    for (key, node) in top {
        file.group(key, node, diags);
    }
    if let Some(cycle) = file.groups.cycle() {
        if let Some(group) = file.groups.0.get(&cycle[0]) {
            diags.push(group.span.error(format!(
                "the groups contain each other: {}",
                cycle.join(" → ")
            )));
        }
        // Everything that walks the groups relies on their being a tree of sorts.
        for group in file.groups.0.values_mut() {
            group.children.clear();
        }
    }
    if file.hosts.is_empty() && !diags.has_errors() {
        diags.push(
            root.error("the inventory has no hosts")
                .expected("`hosts:` in at least one group"),
        );
    }
    file
}

impl HostsFile {
    fn group(&mut self, key: &Key, node: &Node, diags: &mut Diagnostics) {
        let name = &key.text;
        let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !fits {
            diags.push(
                key.error(format!("`{name}` cannot be the name of a group"))
                    .expected("letters, digits and `_`, beginning with a letter"),
            );
        }
        self.groups.0.entry(name.clone()).or_insert_with(|| Group {
            span: key.span.clone(),
            children: Default::default(),
            hosts: Default::default(),
            vars: Map::default(),
        });
        if node.is_null() {
            return;
        }
        let Some(map) = node.as_map(&format!("the group `{name}`"), diags) else {
            return;
        };
        map.check_keys(
            &format!("the group `{name}`"),
            &["hosts", "children", "vars"],
            diags,
        );
        if let Some(vars) = map.get("vars").filter(|vars| !vars.is_null())
            && let Some(vars) = vars.as_map(&format!("`vars` of the group `{name}`"), diags)
            && let Some(group) = self.groups.0.get_mut(name)
        {
            for (key, value) in vars {
                group.vars.insert(key.clone(), value.clone());
            }
        }
        if let Some(children) = map.get("children").filter(|node| !node.is_null())
            && let Some(children) =
                children.as_map(&format!("`children` of the group `{name}`"), diags)
        {
            for (child, node) in children {
                if let Some(group) = self.groups.0.get_mut(name) {
                    group.children.insert(child.text.clone());
                }
                self.group(child, node, diags);
            }
        }
        if let Some(hosts) = map.get("hosts").filter(|node| !node.is_null()) {
            if hosts.map().is_none() {
                diags.push(
                    hosts
                        .error(format!("`hosts` of the group `{name}` is {}", hosts.kind()))
                        .expected("a map: each host's name followed by `:`"),
                );
                return;
            }
            for (host, vars) in hosts.map().into_iter().flatten() {
                self.host(name, host, vars, diags);
            }
        }
    }

    fn host(&mut self, group: &str, key: &Key, node: &Node, diags: &mut Diagnostics) {
        let names = match pattern::expand(&key.text) {
            Ok(names) => names,
            Err(why) => {
                diags.push(
                    key.error(format!("the range {why}"))
                        .expected("for example `node-[1:3]`"),
                );
                return;
            }
        };
        let vars = if node.is_null() {
            None
        } else {
            node.as_map(&format!("the host `{}`", key.text), diags)
        };
        for name in names {
            if !is_host_name(&name) {
                diags.push(
                    key.error(format!("`{name}` cannot be the name of a host"))
                        .expected(
                            "at most 63 lower-case letters, digits and `-`, as in a DNS name",
                        ),
                );
                continue;
            }
            if let Some(group) = self.groups.0.get_mut(group) {
                group.hosts.insert(name.clone());
            }
            let host = self.hosts.entry(name).or_insert_with(|| RawHost {
                span: key.span.clone(),
                vars: Map::default(),
            });
            for (key, value) in vars.into_iter().flatten() {
                host.vars.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A label of a DNS name (RFC 1123, section 2.1); it becomes the host name.
fn is_host_name(name: &str) -> bool {
    name.len() <= 63
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
