//! The nodes of a run, and Ansible's host patterns (`controller:compute:!node-3`).
use crate::vars::SharedVars;
use serde_json::{Map, Value as Json};

/// One node: how to reach it, and what is known of it. Where this comes from the engine does not know.
#[derive(Debug, Clone)]
pub struct HostSpec {
    pub name: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// The node's SSH host key, one OpenSSH line (`ssh-ed25519 AAAA...`). Any other key is refused.
    pub host_key: String,
    /// All groups, nearest last.
    pub groups: Vec<String>,
    /// Inventory variables, merged; `wright` is one of them.
    pub vars: Map<String, Json>,
    /// Those that all nodes have alike.
    pub shared: SharedVars,
}

impl HostSpec {
    /// This machine, in no inventory: it is there by its name alone, as in Ansible.
    pub fn is_implicit(&self) -> bool {
        self.name == "localhost" && self.groups.is_empty()
    }
}

/// The hosts that a pattern names, in the order of the inventory; the words that name nothing come second.
pub fn select<'a>(hosts: &'a [HostSpec], pattern: &str) -> (Vec<&'a HostSpec>, Vec<String>) {
    let mut unknown = Vec::new();
    let mut matching = |word: &str| -> Vec<&'a str> {
        let found: Vec<&str> = hosts
            .iter()
            .filter(|host| matches(host, word))
            .map(|host| host.name.as_str())
            .collect();
        if found.is_empty() && !matches!(word, "all" | "*") {
            unknown.push(word.to_owned());
        }
        found
    };
    let words: Vec<&str> = pattern
        .split([':', ','])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    // As in Ansible: first what is added, then what must be in both, then what is taken away.
    let mut chosen: Vec<&str> = Vec::new();
    for word in words.iter().filter(|word| !word.starts_with(['!', '&'])) {
        chosen.extend(matching(word));
    }
    for word in words.iter().filter_map(|word| word.strip_prefix('&')) {
        let both = matching(word);
        chosen.retain(|name| both.contains(name));
    }
    for word in words.iter().filter_map(|word| word.strip_prefix('!')) {
        let away = matching(word);
        chosen.retain(|name| !away.contains(name));
    }
    (
        hosts
            .iter()
            .filter(|host| chosen.contains(&host.name.as_str()))
            .collect(),
        unknown,
    )
}

fn matches(host: &HostSpec, word: &str) -> bool {
    if host.is_implicit() {
        return matches!(word, "localhost" | "127.0.0.1" | "::1");
    }
    matches!(word, "all" | "*")
        || wildcard(word, &host.name)
        || host.groups.iter().any(|group| wildcard(word, group))
}

fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|&at| rest.is_char_boundary(at))
                .any(|at| wildcard(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, groups: &[&str]) -> HostSpec {
        HostSpec {
            name: name.to_owned(),
            address: String::new(),
            port: 22,
            user: "root".to_owned(),
            host_key: String::new(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            vars: Map::new(),
            shared: SharedVars::default(),
        }
    }

    #[test]
    fn patterns_choose_as_in_ansible() {
        let hosts = [
            host("node-1", &["controller"]),
            host("node-2", &["compute"]),
            host("node-3", &["compute", "gpu"]),
        ];
        for (pattern, expected, unknown) in [
            ("all", "node-1 node-2 node-3", ""),
            ("compute:controller", "node-1 node-2 node-3", ""),
            ("compute:!gpu", "node-2", ""),
            ("compute:&gpu", "node-3", ""),
            ("node-*", "node-1 node-2 node-3", ""),
            ("node-1,node-3", "node-1 node-3", ""),
            ("compute:hybrid", "node-2 node-3", "hybrid"),
        ] {
            let (found, missing) = select(&hosts, pattern);
            let names: Vec<&str> = found.iter().map(|host| host.name.as_str()).collect();
            assert_eq!(
                (names.join(" ").as_str(), missing.join(" ").as_str()),
                (expected, unknown),
                "{pattern}"
            );
        }
    }
}
