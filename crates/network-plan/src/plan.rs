//! The plan's types, and their assembly from inventory and allocations.

use indexmap::IndexMap;
use inventory::{
    BondMode, CardMatch, Carrier, Host, Inventory, MacAddress, Network, NetworkName, Ranges,
    Traffic,
};
use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Who has which address. Kept from plan to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocations {
    /// By node and network.
    #[serde(default)]
    pub nodes: BTreeMap<String, BTreeMap<NetworkName, Ipv4Addr>>,
    /// By node.
    #[serde(default)]
    pub bmcs: BTreeMap<String, Ipv4Addr>,
    #[serde(default)]
    pub vips: Vips,
}

/// Addresses that move between controllers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vips {
    /// On `mgmt`: what the services use among themselves.
    pub internal: Option<Ipv4Addr>,
    /// On `app`: what users see.
    pub public: Option<Ipv4Addr>,
}

/// Every address of a cloud's hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkPlan {
    pub networks: IndexMap<NetworkName, PlannedNetwork>,
    pub vips: Vips,
    /// Which network carries volumes, images, replication and migration.
    #[serde(default)]
    pub traffic: Traffic,
    /// In the order of the inventory.
    pub nodes: IndexMap<String, NodePlan>,
}

/// A network without what only planning needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedNetwork {
    pub cidr: Ipv4Network,
    pub vlan: Option<u16>,
    /// Bytes.
    pub mtu: u16,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<IpAddr>,
    pub ranges: Ranges,
}

/// A node's part of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodePlan {
    pub name: String,
    pub fqdn: String,
    pub groups: Vec<String>,
    pub node_profile: Option<String>,
    /// The card that it boots and is installed through; `None` if it is not installed by us.
    pub boot_mac: Option<MacAddress>,
    /// Its cards, members of bonds too, in the order of `nics`.
    #[serde(default)]
    pub cards: Vec<Card>,
    #[serde(default)]
    pub bonds: Vec<Bond>,
    /// One for each network of each card and bond, in the order of `nics`, bonds last.
    pub interfaces: Vec<Interface>,
    /// All its addresses, those on bridges too.
    pub addresses: BTreeMap<NetworkName, Ipv4Addr>,
    pub bmc: Option<BmcPlan>,
}

/// A network card: something that a cable is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its name in the inventory and on the node.
    pub name: String,
    /// `None` until the machine has reported which card fits `matching`.
    pub mac: Option<MacAddress>,
    /// What the inventory knows it by where it does not give an address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matching: Option<CardMatch>,
    /// The bond that it is a member of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bond: Option<String>,
    /// Bytes; a member has its bond's.
    pub mtu: u16,
    /// Where the inventory says which card it is, `FILE:LINE:COLUMN`.
    pub declared: String,
}

/// Several cards that are one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    pub name: String,
    /// Names of [`NodePlan::cards`].
    pub members: Vec<String>,
    #[serde(flatten)]
    pub mode: BondMode,
    /// Milliseconds between two looks at the members' links.
    pub miimon_ms: u32,
    /// Bytes.
    pub mtu: u16,
}

/// A network on a card or bond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The card's or bond's name, with the VLAN after a dot if the network is tagged.
    pub name: String,
    /// The card's or bond's name in the inventory.
    pub nic: String,
    /// Names of the bond's cards; empty if `nic` is a card.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub members: Vec<String>,
    /// The card's address, or that of the bond's first member; `None` as in [`Card::mac`].
    pub mac: Option<MacAddress>,
    pub network: NetworkName,
    /// With the network's prefix; `None` where the node has none, as on `app` of compute nodes.
    pub address: Option<Ipv4Network>,
    /// Bytes.
    pub mtu: u16,
    pub vlan: Option<u16>,
    /// Set on one interface of a node: its default route.
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<IpAddr>,
    /// The OVS bridge that takes this interface. The address belongs on the bridge then.
    pub bridge: Option<String>,
}

/// Where a node's BMC is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcPlan {
    pub address: Ipv4Addr,
    pub port: u16,
    pub user: String,
}

impl NetworkPlan {
    /// The deployment host's address on `pxe`: that network's gateway.
    pub fn deployment_address(&self) -> Option<Ipv4Addr> {
        self.networks.get(&NetworkName::Pxe)?.gateway
    }

    /// The node with a card of this address.
    pub fn node_by_mac(&self, mac: MacAddress) -> Option<&NodePlan> {
        self.nodes
            .values()
            .find(|node| node.cards.iter().any(|card| card.mac == Some(mac)))
    }
}

impl NodePlan {
    /// The interface on a network.
    pub fn interface_on(&self, network: NetworkName) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.network == network)
    }

    pub fn card(&self, name: &str) -> Option<&Card> {
        self.cards.iter().find(|card| card.name == name)
    }

    /// The cards that an interface's frames leave by: one, or the members of its bond.
    pub fn cards_of<'a>(&'a self, interface: &'a Interface) -> impl Iterator<Item = &'a Card> {
        self.cards.iter().filter(move |card| {
            card.name == interface.nic || card.bond.as_deref() == Some(interface.nic.as_str())
        })
    }

    /// Cards of which only the machine itself can say which they are, and has not yet.
    pub fn unknown_cards(&self) -> impl Iterator<Item = &Card> {
        self.cards.iter().filter(|card| card.mac.is_none())
    }

    /// The same node with the addresses of the cards that are named in `macs`.
    #[must_use]
    pub fn with_macs(&self, macs: &BTreeMap<String, MacAddress>) -> Self {
        let mut node = self.clone();
        for card in &mut node.cards {
            card.mac = macs.get(&card.name).copied().or(card.mac);
        }
        for index in 0..node.interfaces.len() {
            let interface = &node.interfaces[index];
            let first = interface.members.first().unwrap_or(&interface.nic);
            node.interfaces[index].mac = node.card(first).and_then(|card| card.mac);
        }
        node
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|name| name == group)
    }
}

/// The default route is on the first of these networks that has a gateway and an address of the
/// node. `pxe` comes late, as its gateway is the deployment host, which need not stay; `app` last, as
/// its bridge exists only when the node's roles have run.
const DEFAULT_ROUTE: [NetworkName; 5] = [
    NetworkName::Mgmt,
    NetworkName::Private,
    NetworkName::Storage,
    NetworkName::Pxe,
    NetworkName::App,
];

/// Whether a node gets an address on a network that one of its cards carries.
pub(crate) fn has_address(host: &Host, network: NetworkName) -> bool {
    network != NetworkName::App || host.is_controller()
}

pub(crate) fn assemble(inventory: &Inventory, allocations: &Allocations) -> NetworkPlan {
    let networks = inventory
        .networks
        .iter()
        .map(|(name, network)| {
            let planned = PlannedNetwork {
                cidr: network.cidr,
                vlan: network.vlan,
                mtu: network.mtu,
                gateway: network.gateway,
                dns: network.dns.clone(),
                ranges: network.ranges.clone(),
            };
            (*name, planned)
        })
        .collect();
    let nodes = inventory
        .hosts
        .iter()
        .map(|(name, host)| (name.clone(), node(inventory, host, allocations)))
        .collect();
    let vip = |name: NetworkName, address: Option<Ipv4Addr>| {
        address.filter(|_| inventory.networks.contains_key(&name))
    };
    NetworkPlan {
        networks,
        vips: Vips {
            internal: vip(NetworkName::Mgmt, allocations.vips.internal),
            public: vip(NetworkName::App, allocations.vips.public),
        },
        traffic: inventory.traffic,
        nodes,
    }
}

fn node(inventory: &Inventory, host: &Host, allocations: &Allocations) -> NodePlan {
    let given = allocations.nodes.get(&host.name);
    let address = |network: NetworkName| {
        has_address(host, network)
            .then(|| given?.get(&network).copied())
            .flatten()
    };
    let carried = |network: &NetworkName| host.carries(*network);
    let route = DEFAULT_ROUTE
        .into_iter()
        .filter(carried)
        .find(|name| gateway(inventory, *name).is_some() && address(*name).is_some());
    let mut interfaces = Vec::new();
    let mut addresses = BTreeMap::new();
    for carrier in host.carriers() {
        for name in carrier.networks() {
            let Some(network) = inventory.networks.get(name) else {
                continue;
            };
            let own = address(*name);
            addresses.extend(own.map(|address| (*name, address)));
            interfaces.push(Interface {
                name: match network.vlan {
                    Some(vlan) => format!("{}.{vlan}", carrier.name()),
                    None => carrier.name().to_owned(),
                },
                nic: carrier.name().to_owned(),
                members: carrier.members().to_vec(),
                mac: first_card(host, carrier),
                network: *name,
                address: own.and_then(|address| with_prefix(network, address)),
                mtu: network.mtu,
                vlan: network.vlan,
                gateway: network.gateway.filter(|_| route == Some(*name)),
                dns: own.map(|_| network.dns.clone()).unwrap_or_default(),
                bridge: host
                    .app_bridge
                    .clone()
                    .filter(|_| *name == NetworkName::App),
            });
        }
    }
    let bmc = host.bmc.as_ref().and_then(|bmc| {
        Some(BmcPlan {
            address: bmc
                .address
                .or_else(|| allocations.bmcs.get(&host.name).copied())?,
            port: bmc.port,
            user: bmc.user.clone(),
        })
    });
    NodePlan {
        name: host.name.clone(),
        fqdn: host.fqdn(),
        groups: host.groups.clone(),
        node_profile: host.node_profile.clone(),
        boot_mac: host.boot_nic().and_then(|nic| nic.mac),
        cards: cards(inventory, host),
        bonds: bonds(inventory, host),
        interfaces,
        addresses,
        bmc,
    }
}

/// The address of the card, or of the bond's first member.
fn first_card(host: &Host, carrier: Carrier<'_>) -> Option<MacAddress> {
    let name = carrier.members().first().map_or(carrier.name(), |m| m);
    host.nic(name)?.mac
}

fn cards(inventory: &Inventory, host: &Host) -> Vec<Card> {
    let card = |nic: &inventory::Nic| {
        let bond = host
            .bonds
            .iter()
            .find(|bond| bond.members.contains(&nic.name));
        let carrier = bond.map_or(Carrier::Card(nic), Carrier::Bond);
        Card {
            name: nic.name.clone(),
            mac: nic.mac,
            matching: nic.matching.clone().filter(|_| nic.mac.is_none()),
            bond: bond.map(|bond| bond.name.clone()),
            mtu: mtu(inventory, carrier),
            declared: format!("{:?}", nic.span),
        }
    };
    host.nics.iter().map(card).collect()
}

fn bonds(inventory: &Inventory, host: &Host) -> Vec<Bond> {
    let bond = |bond: &inventory::Bond| Bond {
        name: bond.name.clone(),
        members: bond.members.clone(),
        mode: bond.mode,
        miimon_ms: bond.miimon_ms,
        mtu: mtu(inventory, Carrier::Bond(bond)),
    };
    host.bonds.iter().map(bond).collect()
}

/// What the inventory sets, and otherwise enough for the largest frames of the networks on it.
fn mtu(inventory: &Inventory, carrier: Carrier<'_>) -> u16 {
    let networks = carrier.networks().iter();
    let largest = networks
        .filter_map(|name| Some(inventory.networks.get(name)?.mtu))
        .max();
    carrier.mtu().or(largest).unwrap_or(1500)
}

fn gateway(inventory: &Inventory, name: NetworkName) -> Option<Ipv4Addr> {
    inventory.networks.get(&name)?.gateway
}

fn with_prefix(network: &Network, address: Ipv4Addr) -> Option<Ipv4Network> {
    Ipv4Network::new(address, network.cidr.prefix()).ok()
}
