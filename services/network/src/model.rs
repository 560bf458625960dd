//! The whole virtual network as one value: what the database holds, and what a driver brings about.
//! Knows neither how it is stored nor how it is realised.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::store::entity::{
    allocation, floating_ip, network, port, port_security_group, router, router_interface,
    security_group, security_group_rule, subnet,
};

/// `device_owner` values that mean something to us. Names as upstream.
pub mod device_owner {
    pub const ROUTER_INTERFACE: &str = "network:router_interface";
    pub const ROUTER_GATEWAY: &str = "network:router_gateway";
    pub const FLOATING_IP: &str = "network:floatingip";
    /// The port through which a network's metadata is served, on each chassis.
    pub const METADATA: &str = "network:distributed";

    /// Ports of ours, which no security group guards.
    pub fn is_trusted(owner: &str) -> bool {
        owner.starts_with("network:")
    }
}

/// All rows. Vectors are ordered by id, so that equal networks give equal text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topology {
    pub networks: Vec<network::Model>,
    pub subnets: Vec<subnet::Model>,
    pub ports: Vec<port::Model>,
    pub allocations: Vec<allocation::Model>,
    pub routers: Vec<router::Model>,
    pub router_interfaces: Vec<router_interface::Model>,
    pub floating_ips: Vec<floating_ip::Model>,
    pub security_groups: Vec<security_group::Model>,
    pub rules: Vec<security_group_rule::Model>,
    pub port_groups: Vec<port_security_group::Model>,
}

/// A host that can plug ports: one OVN chassis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chassis {
    pub name: String,
    pub hostname: String,
    /// May hold the gateway ports of routers (`ovn-cms-options=enable-chassis-as-gw`).
    pub gateway: bool,
    /// Carries nothing, but lets the others tell a chassis that is gone from a wire of their own that is cut
    /// (`ovn-cms-options=gateway-witness`).
    pub witness: bool,
    /// Physical networks that it reaches (`ovn-bridge-mappings`).
    pub physical_networks: Vec<String>,
    /// Answered lately.
    pub alive: bool,
    /// When it last answered, in seconds since 1970; 0 if never.
    pub heard_at: i64,
}

impl Chassis {
    /// Whether compute's name of a host means this chassis. The two programs may disagree on the domain.
    pub fn is_host(&self, host: &str) -> bool {
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        !host.is_empty()
            && (self.name == host || self.hostname == host || short(&self.hostname) == short(host))
    }
}

/// The topology with ways to look things up.
pub struct Index<'a> {
    pub topology: &'a Topology,
    pub networks: HashMap<&'a str, &'a network::Model>,
    pub subnets: HashMap<&'a str, &'a subnet::Model>,
    pub ports: HashMap<&'a str, &'a port::Model>,
    /// A network's subnets and ports, in order.
    pub subnets_of: BTreeMap<&'a str, Vec<&'a subnet::Model>>,
    pub ports_of: BTreeMap<&'a str, Vec<&'a port::Model>>,
    addresses: HashMap<&'a str, Vec<Address<'a>>>,
}

/// One address of a port.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    pub ip: IpAddr,
    pub subnet: &'a subnet::Model,
}

impl Address<'_> {
    /// Length of the subnet's prefix.
    pub fn prefix_length(&self) -> &str {
        self.subnet.cidr.rsplit('/').next().unwrap_or_default()
    }
}

impl<'a> Index<'a> {
    pub fn new(topology: &'a Topology) -> Index<'a> {
        let subnets: HashMap<_, _> = topology
            .subnets
            .iter()
            .map(|subnet| (subnet.id.as_str(), subnet))
            .collect();
        let mut addresses: HashMap<&str, Vec<Address<'_>>> = HashMap::new();
        for allocation in &topology.allocations {
            if let (Some(subnet), Ok(ip)) = (
                subnets.get(allocation.subnet_id.as_str()),
                allocation.ip_address.parse(),
            ) {
                addresses
                    .entry(&allocation.port_id)
                    .or_default()
                    .push(Address { ip, subnet });
            }
        }
        for list in addresses.values_mut() {
            list.sort_by_key(|address| address.ip);
        }
        let mut index = Index {
            topology,
            networks: topology
                .networks
                .iter()
                .map(|network| (network.id.as_str(), network))
                .collect(),
            ports: topology
                .ports
                .iter()
                .map(|port| (port.id.as_str(), port))
                .collect(),
            subnets,
            subnets_of: BTreeMap::new(),
            ports_of: BTreeMap::new(),
            addresses,
        };
        for subnet in &topology.subnets {
            index
                .subnets_of
                .entry(&subnet.network_id)
                .or_default()
                .push(subnet);
        }
        for port in &topology.ports {
            index
                .ports_of
                .entry(&port.network_id)
                .or_default()
                .push(port);
        }
        index
    }

    /// A port's addresses, lowest first.
    pub fn addresses(&self, port: &str) -> &[Address<'a>] {
        self.addresses.get(port).map_or(&[], Vec::as_slice)
    }

    /// The port through which a network's metadata is served.
    pub fn metadata_port(&self, network: &str) -> Option<&'a port::Model> {
        self.ports_of
            .get(network)?
            .iter()
            .copied()
            .find(|port| port.device_owner == device_owner::METADATA)
    }
}
