//! The wires as they are planned.
use std::net::{IpAddr, Ipv4Addr};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub networks: Vec<Network>,
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    /// Nodes are installed over it: a foreign DHCP server does harm.
    pub is_boot: bool,
    /// Who may serve DHCP here.
    pub own_dhcp: Vec<Ipv4Addr>,
    /// Addresses that move between nodes.
    pub vips: Vec<Ipv4Addr>,
    /// VRRP router ids that the nodes use here.
    pub own_vrrp: Vec<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub links: Vec<Link>,
    /// Servers that the node uses.
    pub dns: Vec<IpAddr>,
    pub time: Vec<String>,
}

/// A network on a physical card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The card that frames leave by.
    pub nic: String,
    /// The bond that the card is a member of.
    pub bond: Option<Bond>,
    /// Index of the network.
    pub network: usize,
    pub vlan: Option<u16>,
    /// Bytes.
    pub mtu: u16,
    pub address: Option<Ipv4Addr>,
    /// Set where the node should reach one.
    pub gateway: Option<Ipv4Addr>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bond {
    pub name: String,
    /// The switches take its members for one port, and send each frame to one of them (LACP, static aggregation). Else
    /// every member gets every broadcast (active-backup and the adaptive modes).
    pub aggregated: bool,
}

/// One link of one node, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub node: usize,
    pub link: usize,
}

impl Plan {
    /// Most links that any node has.
    pub(crate) fn links_max(&self) -> usize {
        let counts = self.nodes.iter().map(|node| node.links.len());
        counts.max().unwrap_or(0).max(1)
    }

    pub(crate) fn link(&self, port: Port) -> &Link {
        &self.nodes[port.node].links[port.link]
    }

    /// All links of a network.
    pub(crate) fn ports_of(&self, network: usize) -> impl Iterator<Item = Port> + '_ {
        let of_node = move |(node, planned): (usize, &Node)| {
            let links = planned.links.iter().enumerate();
            let on_it = links.filter(move |(_, link)| link.network == network);
            on_it
                .map(move |(link, _)| Port { node, link })
                .collect::<Vec<_>>()
        };
        self.nodes.iter().enumerate().flat_map(of_node)
    }

    /// `node-4 eth2`, and the bond if the card is one of several.
    pub(crate) fn port_name(&self, port: Port) -> String {
        let (node, link) = (&self.nodes[port.node].name, self.link(port));
        match &link.bond {
            Some(bond) => format!("{node} {} (of {})", link.nic, bond.name),
            None => format!("{node} {}", link.nic),
        }
    }

    /// The network's name, and its tag where it has one.
    pub(crate) fn network_name(&self, network: usize) -> String {
        let name = &self.networks[network].name;
        let vlan = self
            .ports_of(network)
            .next()
            .and_then(|port| self.link(port).vlan);
        match vlan {
            Some(vlan) => format!("`{name}` (VLAN {vlan})"),
            None => format!("`{name}`"),
        }
    }
}
