//! Groups as a graph: who is in which, and in which order their variables apply.

use indexmap::{IndexMap, IndexSet};
use std::collections::HashMap;
use yaml_source::{Map, Span};

/// A group as it is written, possibly in several places.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub span: Span,
    pub children: IndexSet<String>,
    pub hosts: IndexSet<String>,
    pub vars: Map,
}

/// All groups by name; `all` is among them.
#[derive(Debug, Default)]
pub(crate) struct Groups(pub IndexMap<String, Group>);

impl Groups {
    /// A cycle among the groups, as the names along it, the first again at the end.
    pub fn cycle(&self) -> Option<Vec<String>> {
        fn walk<'a>(
            groups: &'a Groups,
            name: &'a str,
            path: &mut Vec<&'a str>,
            done: &mut IndexSet<&'a str>,
        ) -> Option<Vec<String>> {
            if let Some(at) = path.iter().position(|other| *other == name) {
                let names = path[at..].iter().chain([&name]);
                return Some(names.map(|n| (*n).to_owned()).collect());
            }
            if done.contains(name) {
                return None;
            }
            path.push(name);
            let found = groups
                .0
                .get(name)
                .into_iter()
                .flat_map(|group| &group.children)
                .find_map(|child| walk(groups, child, path, done));
            path.pop();
            done.insert(name);
            found
        }
        let mut done = IndexSet::new();
        self.0
            .keys()
            .find_map(|name| walk(self, name, &mut Vec::new(), &mut done))
    }

    /// Longest way from `all` to each group, which must not be in a cycle. Groups without a parent
    /// are children of `all`.
    pub fn depths(&self) -> HashMap<&str, usize> {
        let mut depths: HashMap<&str, usize> = self
            .0
            .keys()
            .map(|name| (name.as_str(), usize::from(name != "all")))
            .collect();
        // At most one round per level; each round makes one more level final.
        for _ in 0..self.0.len() {
            let mut changed = false;
            for (name, group) in &self.0 {
                let below = depths[name.as_str()] + 1;
                for child in &group.children {
                    if let Some(depth) = depths.get_mut(child.as_str())
                        && *depth < below
                    {
                        *depth = below;
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        depths
    }

    /// Names of a group and all below it.
    pub fn below<'a>(&'a self, name: &'a str) -> IndexSet<&'a str> {
        let mut found = IndexSet::from([name]);
        let mut at = 0;
        while let Some(name) = found.get_index(at).copied() {
            at += 1;
            if let Some(group) = self.0.get(name) {
                found.extend(group.children.iter().map(String::as_str));
            }
        }
        found
    }
}
