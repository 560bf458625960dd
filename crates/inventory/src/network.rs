//! The six networks of a cloud's hosts.

use crate::AddressRange;
use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use yaml_source::Span;

/// Which network: each has a fixed purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkName {
    /// Network boot and installation; the deployment host is its gateway.
    Pxe,
    /// The services among themselves, databases, SSH.
    Mgmt,
    /// Volumes and objects.
    Storage,
    /// Tunnels between the instances' virtual networks.
    Private,
    /// The outside: public end points and floating addresses.
    App,
    /// The BMCs of the machines.
    Ipmi,
}

impl NetworkName {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::Pxe,
        Self::Mgmt,
        Self::Storage,
        Self::Private,
        Self::App,
        Self::Ipmi,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pxe => "pxe",
            Self::Mgmt => "mgmt",
            Self::Storage => "storage",
            Self::Private => "private",
            Self::App => "app",
            Self::Ipmi => "ipmi",
        }
    }

    pub(crate) fn words() -> [&'static str; 6] {
        Self::ALL.map(Self::as_str)
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// There is no network of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no network `{0}`")]
pub struct UnknownNetwork(pub String);

impl FromStr for NetworkName {
    type Err = UnknownNetwork;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| UnknownNetwork(text.to_owned()))
    }
}

/// A network as `networks.yml` describes it.
#[derive(Debug, Clone)]
pub struct Network {
    pub name: NetworkName,
    pub cidr: Ipv4Network,
    /// If set, the network's frames bear this tag on every NIC that carries it.
    pub vlan: Option<u16>,
    /// Bytes; 1500 unless set.
    pub mtu: u16,
    /// Bytes that packets of instances must be able to have; only on `private`, which tunnels them.
    pub instance_mtu: Option<u16>,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<IpAddr>,
    pub ranges: Ranges,
    /// The network through which the deployment host reaches this one, if not directly.
    pub via: Option<NetworkName>,
    /// Where its key stands in the file.
    pub span: Span,
}

/// Parts of a network that are set aside for a purpose. They never overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// Addresses of nodes, or of BMCs on `ipmi`.
    pub nodes: Option<AddressRange>,
    /// Virtual addresses that move between controllers.
    pub vips: Option<AddressRange>,
    /// Addresses for machines that the inventory does not know.
    pub dhcp: Option<AddressRange>,
    /// Floating addresses of instances; only on `app`.
    pub floating: Option<AddressRange>,
}

impl Ranges {
    /// Those that are set, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, AddressRange)> + use<> {
        [
            ("nodes", self.nodes),
            ("vips", self.vips),
            ("dhcp", self.dhcp),
            ("floating", self.floating),
        ]
        .into_iter()
        .filter_map(|(name, range)| range.map(|range| (name, range)))
    }
}
