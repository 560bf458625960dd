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
    /// Any inventory of Ansible, not one of machines that are to be installed: names can be addresses.
    pub plain: bool,
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
    file.read(root, diags);
    file.refuse_cycles(diags);
    if file.hosts.is_empty() && !diags.has_errors() {
        diags.push(
            root.error("the inventory has no hosts")
                .expected("`hosts:` in at least one group"),
        );
    }
    file
}

impl HostsFile {
    /// Takes in one document; more than one can be read into the same inventory.
    pub fn read(&mut self, root: &Node, diags: &mut Diagnostics) {
        if root.is_null() {
            return;
        }
        for (key, node) in root.as_map("the inventory", diags).into_iter().flatten() {
            self.group(key, node, diags);
        }
    }

    pub fn refuse_cycles(&mut self, diags: &mut Diagnostics) {
        let Some(cycle) = self.groups.cycle() else {
            return;
        };
        if let Some(group) = self.groups.0.get(&cycle[0]) {
            diags.push(group.span.error(format!(
                "the groups contain each other: {}",
                cycle.join(" → ")
            )));
        }
        // Everything that walks the groups relies on their being a tree of sorts.
        for group in self.groups.0.values_mut() {
            group.children.clear();
        }
    }

    /// The group of this name, made where it is first met.
    pub fn group_entry(&mut self, name: &str, span: &Span) -> &mut Group {
        self.groups
            .0
            .entry(name.to_owned())
            .or_insert_with(|| Group {
                span: span.clone(),
                children: Default::default(),
                hosts: Default::default(),
                vars: Map::default(),
            })
    }

    fn group(&mut self, key: &Key, node: &Node, diags: &mut Diagnostics) {
        let name = &key.text;
        let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !fits && !self.plain {
            diags.push(
                key.error(format!("`{name}` cannot be the name of a group"))
                    .expected("letters, digits and `_`, beginning with a letter"),
            );
        }
        self.group_entry(name, &key.span);
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
            if let (true, Some(one)) = (self.plain, hosts.str()) {
                let key = Key {
                    span: hosts.span.clone(),
                    text: one.to_owned(),
                    value: hosts.value.clone(),
                };
                let none = Node::new(hosts.span.clone(), yaml_source::Value::Null);
                self.host(name, &key, &none, diags);
                return;
            }
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

    /// A host, or a range of hosts, in a group.
    pub fn host(&mut self, group: &str, key: &Key, node: &Node, diags: &mut Diagnostics) {
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
            if !self.plain && !is_host_name(&name) {
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
