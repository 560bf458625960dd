//! Which network carries what belongs to none by its nature: `traffic` in `networks.yml`.
//!
//! The networks' own purposes (boot, services, tunnels, the outside) are fixed; these are not.

use crate::Host;
use crate::network::{Network, NetworkName};
use diagnostics::Diagnostics;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use yaml_source::{Fault, Node, Span};

/// A kind of traffic that can be laid on a network of choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficKind {
    /// Between instances and their volumes.
    Volumes,
    /// Images on their way to hypervisors and into volumes.
    Images,
    /// Copies of volumes and objects among the storage nodes.
    Replication,
    /// Memory and disks of instances that move between hypervisors.
    Migration,
}

impl TrafficKind {
    pub const ALL: [Self; 4] = [
        Self::Volumes,
        Self::Images,
        Self::Replication,
        Self::Migration,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Volumes => "volumes",
            Self::Images => "images",
            Self::Replication => "replication",
            Self::Migration => "migration",
        }
    }

    /// Groups whose hosts send or receive it.
    fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Volumes => &["compute", "storage", "hybrid"],
            Self::Images => &["controller", "compute", "storage", "hybrid"],
            Self::Replication => &["storage", "hybrid"],
            Self::Migration => &["compute", "hybrid"],
        }
    }

    /// The network to prefer where the inventory names none. Bulk data stays off `mgmt`, where databases and
    /// message queues count on answers in time; images come from the services, which are there.
    fn preferred(self) -> NetworkName {
        match self {
            Self::Images => NetworkName::Mgmt,
            Self::Volumes | Self::Replication | Self::Migration => NetworkName::Storage,
        }
    }

    fn concerns(self, host: &Host) -> bool {
        self.groups().iter().any(|group| host.in_group(group))
    }
}

/// The network of each kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub volumes: NetworkName,
    pub images: NetworkName,
    pub replication: NetworkName,
    pub migration: NetworkName,
}

impl Default for Traffic {
    /// All on `mgmt`, which every node has.
    fn default() -> Self {
        Self {
            volumes: NetworkName::Mgmt,
            images: NetworkName::Mgmt,
            replication: NetworkName::Mgmt,
            migration: NetworkName::Mgmt,
        }
    }
}

impl Traffic {
    pub fn of(&self, kind: TrafficKind) -> NetworkName {
        match kind {
            TrafficKind::Volumes => self.volumes,
            TrafficKind::Images => self.images,
            TrafficKind::Replication => self.replication,
            TrafficKind::Migration => self.migration,
        }
    }

    fn set(&mut self, kind: TrafficKind, network: NetworkName) {
        *match kind {
            TrafficKind::Volumes => &mut self.volumes,
            TrafficKind::Images => &mut self.images,
            TrafficKind::Replication => &mut self.replication,
            TrafficKind::Migration => &mut self.migration,
        } = network;
    }
}

/// What `traffic` says, each with its place.
pub(crate) type Chosen = IndexMap<TrafficKind, (NetworkName, Span)>;

/// Reads `traffic`. Whether the nodes are on those networks is asked by [`settle`].
pub(crate) fn parse(
    node: &Node,
    networks: &IndexMap<NetworkName, Network>,
    diags: &mut Diagnostics,
) -> Chosen {
    let mut chosen = Chosen::new();
    let Some(map) = node.as_map("`traffic`", diags) else {
        return chosen;
    };
    map.check_keys(
        "`traffic`",
        &TrafficKind::ALL.map(TrafficKind::as_str),
        diags,
    );
    for kind in TrafficKind::ALL {
        let Some(node) = map.get(kind.as_str()).filter(|node| !node.is_null()) else {
            continue;
        };
        let Some(text) = node.as_str("a network's name", diags) else {
            continue;
        };
        let fit = [
            NetworkName::Mgmt,
            NetworkName::Storage,
            NetworkName::Private,
        ];
        let expected = "one of `mgmt`, `storage`, `private`";
        match text.parse::<NetworkName>() {
            Ok(name) if !fit.contains(&name) => diags.push(
                node.error(format!(
                    "the network `{name}` cannot carry `{}`",
                    kind.as_str()
                ))
                .expected(expected)
                .hint("the nodes need lasting addresses there, and no strangers"),
            ),
            Ok(name) if !networks.contains_key(&name) => diags.push(
                node.error(format!("`networks.yml` does not describe `{name}`"))
                    .hint(format!(
                        "add `{name}: {{cidr: ...}}`, or name another network"
                    )),
            ),
            Ok(name) => {
                chosen.insert(kind, (name, node.span.clone()));
            }
            Err(_) => diags.push(
                node.error(format!("there is no network `{text}`"))
                    .expected(expected)
                    .suggest(text, fit.map(NetworkName::as_str)),
            ),
        }
    }
    chosen
}

/// The network of each kind: the chosen one, and otherwise the preferred one if all nodes that need it are on it,
/// else `mgmt`. Complains where a node is not on the chosen one.
pub(crate) fn settle<'a>(
    chosen: &Chosen,
    networks: &IndexMap<NetworkName, Network>,
    hosts: impl Iterator<Item = &'a Host> + Clone,
    diags: &mut Diagnostics,
) -> Traffic {
    let mut traffic = Traffic::default();
    for kind in TrafficKind::ALL {
        let (name, span) = match chosen.get(&kind) {
            Some((name, span)) => (*name, Some(span)),
            None => (kind.preferred(), None),
        };
        // What a machine that is not installed by us is connected to is not known.
        let lacking: Vec<&Host> = hosts
            .clone()
            .filter(|host| !host.nics.is_empty() && kind.concerns(host) && !host.carries(name))
            .collect();
        match (span, lacking.first()) {
            (Some(span), Some(host)) => {
                let more = match lacking.len() - 1 {
                    0 => String::new(),
                    1 => ", and one other host neither".to_owned(),
                    others => format!(", and {others} other hosts neither"),
                };
                diags.push(
                    span.error(format!(
                        "`{}` shall go over `{name}`, which `{}` has no card on{more}",
                        kind.as_str(),
                        host.name
                    ))
                    .related(&host.span, "this machine")
                    .hint(format!(
                        "add `{name}` to its `nics`, or choose another network"
                    )),
                );
            }
            (None, None) if networks.contains_key(&name) => traffic.set(kind, name),
            (Some(_), None) => traffic.set(kind, name),
            (None, _) => {}
        }
    }
    traffic
}
