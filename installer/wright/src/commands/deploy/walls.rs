//! What each node lets in: the openings that its roles declare in `meta/ports.yml`, with names of groups made addresses. The
//! role `firewall` writes them down for the kernel; neither the syntax of nftables nor what listens is known here.
use crate::error::CommandError;
use diagnostics::Diagnostics;
use inventory::NetworkName;
use network_plan::{NetworkPlan, NodePlan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use task_engine::HostSpec;
use task_engine::parse::Playbook;
use yaml_source::{Fault, Map, Node};

/// Protocols beside TCP and UDP that an opening can be for.
const PROTOCOLS: &[&str] = &["vrrp"];
/// Words in `from` that are no groups.
const SOURCES: &[&str] = &["anyone", "network", "deployment", "nodes"];
const GROUPS: &[&str] = &["controller", "compute", "storage", "hybrid"];
const KEYS: &[&str] = &[
    "what", "tcp", "udp", "protocol", "networks", "at", "from", "on", "track",
];

/// An opening as a role declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    pub what: String,
    /// `tcp`, `udp`, or a protocol without ports.
    pub protocol: String,
    pub ports: Vec<u16>,
    pub networks: Vec<NetworkName>,
    /// Only the virtual address of the network, not the node's own.
    pub at_vip: bool,
    pub from: Vec<String>,
    /// Groups whose nodes have it; empty: all nodes with the role.
    pub on: Vec<String>,
    /// So many conversations that the kernel is not to remember each.
    pub untracked: bool,
}

/// A rule on one node and network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    what: String,
    network: NetworkName,
    interface: String,
    protocol: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<u16>,
    /// Who may come: addresses, networks, and `@NAME` for one of the sets; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<String>,
    /// Addresses of this node that may be spoken to; empty: all, as for what goes to a group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    to: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    untracked: bool,
}

/// What all nodes let in. Who is in a group is said once for all of them, so that a thousand nodes are not a million addresses.
#[derive(Debug)]
pub struct Walls {
    pub nodes: BTreeMap<String, Wall>,
    /// Addresses of a group's nodes on a network, by the set's name.
    pub sets: BTreeMap<String, Vec<String>>,
}

/// What one node lets in.
#[derive(Debug, Default, Serialize)]
pub struct Wall {
    rules: Vec<Rule>,
    /// The sets that they name.
    sets: BTreeSet<String>,
}

/// The openings of every role of the playbook that has some; all faults at once.
pub fn openings(playbook: &Playbook) -> Result<BTreeMap<String, Vec<Opening>>, CommandError> {
    let mut faults = Diagnostics::new();
    let mut all = BTreeMap::new();
    for (name, role) in &playbook.roles {
        let found = read(&role.path.join("meta/ports.yml"), &mut faults);
        if !found.is_empty() {
            all.insert(name.clone(), found);
        }
    }
    faults.into_result(all).map_err(CommandError::from)
}

/// The walls of every node: the rules of the roles that the playbook gives it, in the playbook's order.
pub fn walls(
    plan: &NetworkPlan,
    playbook: &Playbook,
    openings: &BTreeMap<String, Vec<Opening>>,
) -> Walls {
    let hosts: Vec<HostSpec> = plan
        .nodes
        .values()
        .map(|node| super::hosts::bare(&node.name, node.groups.clone()))
        .collect();
    let mut walls = Walls {
        nodes: BTreeMap::new(),
        sets: BTreeMap::new(),
    };
    for play in &playbook.plays {
        let (chosen, _) = task_engine::select(&hosts, &play.hosts);
        let roles = play.roles.iter().map(|used| used.role.name.as_str());
        let open: Vec<&Opening> = roles
            .filter_map(|role| openings.get(role))
            .flatten()
            .collect();
        for host in chosen {
            let Some(node) = plan.nodes.get(&host.name) else {
                continue;
            };
            let of_node = open
                .iter()
                .flat_map(|opening| of_node(plan, node, opening, &mut walls.sets));
            let rules: Vec<Rule> = of_node.collect();
            let wall = walls.nodes.entry(host.name.clone()).or_default();
            let named = rules.iter().flat_map(|rule| &rule.from);
            wall.sets
                .extend(named.filter_map(|from| Some(from.strip_prefix('@')?.to_owned())));
            wall.rules.extend(rules);
        }
    }
    walls
}

fn of_node(
    plan: &NetworkPlan,
    node: &NodePlan,
    opening: &Opening,
    sets: &mut BTreeMap<String, Vec<String>>,
) -> Vec<Rule> {
    if !opening.on.is_empty() && !opening.on.iter().any(|group| node.in_group(group)) {
        return Vec::new();
    }
    let mut rule = |network: &NetworkName| {
        let own = node.addresses.get(network)?;
        let interface = node.interface_on(*network)?;
        let vip = match network {
            NetworkName::Mgmt => plan.vips.internal,
            NetworkName::App => plan.vips.public,
            _ => None,
        };
        let from = match opening.from.iter().any(|word| word == "anyone") {
            true => Vec::new(),
            false => {
                let from = sources(plan, node, *network, &opening.from, sets);
                // Nobody else is there, as in a cluster of one.
                if from.is_empty() {
                    return None;
                }
                from.into_iter().collect()
            }
        };
        let to = match (opening.protocol.as_str(), opening.at_vip) {
            ("tcp" | "udp", false) => vec![own.to_string()],
            ("tcp" | "udp", true) => vec![vip?.to_string()],
            _ => Vec::new(),
        };
        Some(Rule {
            what: opening.what.clone(),
            network: *network,
            interface: interface.bridge.as_ref().unwrap_or(&interface.name).clone(),
            protocol: opening.protocol.clone(),
            ports: opening.ports.clone(),
            from,
            to,
            untracked: opening.untracked,
        })
    };
    opening.networks.iter().filter_map(&mut rule).collect()
}

/// Who the words mean on a network. A group in which there is nobody beside the node is left out: what it says to itself never
/// comes over a wire.
fn sources(
    plan: &NetworkPlan,
    node: &NodePlan,
    network: NetworkName,
    words: &[String],
    sets: &mut BTreeMap<String, Vec<String>>,
) -> BTreeSet<String> {
    let deployment = plan.deployment_address().map(|address| address.to_string());
    let mut from = BTreeSet::new();
    for word in words {
        match word.as_str() {
            // The deployment host may come from elsewhere, through a router.
            "network" => {
                from.extend(plan.networks.get(&network).map(|n| n.cidr.to_string()));
                if network != NetworkName::Pxe {
                    from.extend(deployment.clone());
                }
            }
            "deployment" => from.extend(deployment.clone()),
            group => {
                let is_member = |node: &NodePlan| group == "nodes" || node.in_group(group);
                let name = format!("{network}_{group}");
                let members = sets.entry(name.clone()).or_insert_with(|| {
                    let members = plan.nodes.values().filter(|node| is_member(node));
                    members
                        .filter_map(|node| Some(node.addresses.get(&network)?.to_string()))
                        .collect()
                });
                let is_one = is_member(node) && node.addresses.contains_key(&network);
                if members.len() > usize::from(is_one) {
                    from.insert(format!("@{name}"));
                }
            }
        }
    }
    from
}

fn read(path: &Path, faults: &mut Diagnostics) -> Vec<Opening> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Vec::new();
    };
    parse(&path.display().to_string(), &text, faults)
}

fn parse(name: &str, text: &str, faults: &mut Diagnostics) -> Vec<Opening> {
    let document = match yaml_source::parse(name, text) {
        Ok(document) => document,
        Err(found) => {
            faults.extend(found);
            return Vec::new();
        }
    };
    let Some(map) = document.root.as_map("a role's openings", faults) else {
        return Vec::new();
    };
    map.check_keys("a role's openings", &["opens"], faults);
    let Some(list) = map.get("opens") else {
        let fault = document.root.error("a role's openings lack `opens`");
        faults.push(fault.expected("a list of openings"));
        return Vec::new();
    };
    let list = list.as_seq("`opens`", faults).unwrap_or_default();
    let openings = list.iter().filter_map(|node| {
        let map = node.as_map("an opening", faults)?;
        opening(node, map, faults)
    });
    openings.collect()
}

fn opening(node: &Node, map: &Map, faults: &mut Diagnostics) -> Option<Opening> {
    map.check_keys("an opening", KEYS, faults);
    let what = map
        .required("what", "an opening", &node.span, faults)?
        .as_str("`what`", faults)?
        .to_owned();
    if what.contains(['"', '\\', '\n']) || what.len() > 100 {
        let fault = node.error("`what` cannot be a rule's comment");
        faults.push(fault.expected("up to 100 characters, no quotes and backslashes"));
        return None;
    }
    let kinds: Vec<&str> = ["tcp", "udp", "protocol"]
        .into_iter()
        .filter(|key| map.contains_key(key))
        .collect();
    let [kind] = kinds[..] else {
        let fault = node.error("an opening is for one of TCP, UDP and another protocol");
        faults.push(fault.expected("one of `tcp: [PORT]`, `udp: [PORT]` and `protocol: vrrp`"));
        return None;
    };
    let kind_of = map.get(kind)?;
    let (protocol, ports) = match kind {
        "protocol" => (word(kind_of, "`protocol`", PROTOCOLS, faults)?, Vec::new()),
        _ => (kind.to_owned(), ports(kind_of, faults)?),
    };
    let networks = map.required("networks", "an opening", &node.span, faults)?;
    let networks = networks
        .as_seq("`networks`", faults)?
        .iter()
        .filter_map(|node| {
            let text = node.as_str("a network", faults)?;
            NetworkName::from_str(text)
                .map_err(|_| faults.push(node.error(format!("there is no network `{text}`"))))
                .ok()
        })
        .collect();
    let known: Vec<&str> = SOURCES.iter().chain(GROUPS).copied().collect();
    let from = map.required("from", "an opening", &node.span, faults)?;
    let from = words(from, "`from`", &known, faults)?;
    let on = match map.get("on") {
        Some(on) => words(on, "`on`", GROUPS, faults)?,
        None => Vec::new(),
    };
    let untracked = match map.get("track") {
        Some(track) => !track.as_bool("`track`", faults)?,
        None => false,
    };
    let at_vip = match map.get("at") {
        Some(at) => word(at, "`at`", &["node", "vip"], faults)? == "vip",
        None => false,
    };
    Some(Opening {
        what,
        protocol,
        ports,
        networks,
        at_vip,
        from,
        on,
        untracked,
    })
}

fn ports(node: &Node, faults: &mut Diagnostics) -> Option<Vec<u16>> {
    let mut ports = Vec::new();
    for node in node.as_seq("ports", faults)? {
        match u16::try_from(node.as_int("a port", faults)?) {
            Ok(port) if port > 0 => ports.push(port),
            _ => {
                faults.push(node.error("this is no port").expected("1 to 65535"));
                return None;
            }
        }
    }
    Some(ports)
}

fn words(node: &Node, what: &str, known: &[&str], faults: &mut Diagnostics) -> Option<Vec<String>> {
    let list = node.as_seq(what, faults)?;
    Some(
        list.iter()
            .filter_map(|node| word(node, what, known, faults))
            .collect(),
    )
}

fn word(node: &Node, what: &str, known: &[&str], faults: &mut Diagnostics) -> Option<String> {
    let text = node.as_str(what, faults)?;
    if known.contains(&text) {
        return Some(text.to_owned());
    }
    let fault = node.error(format!("{what} cannot be `{text}`"));
    let fault = fault.expected(format!("one of {}", known.join(", ")));
    faults.push(
        match diagnostics::did_you_mean(text, known.iter().copied()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault,
        },
    );
    None
}

#[cfg(test)]
mod tests;
