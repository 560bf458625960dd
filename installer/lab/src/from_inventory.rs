//! The lab that an inventory and its network plan describe. Pure.
//!
//! Cards that carry one network without a tag are plugged into that network's bridge. Where there is more, bonds or VLANs,
//! the networks concerned are VLANs of one switch.
use std::{collections::BTreeMap, net::Ipv4Addr};

use inventory::{BondMode, Carrier, Host, Inventory, NetworkName};
use network_plan::{NetworkPlan, PlannedNetwork};

use crate::spec::{Bmc, LabSpec, Machine, Nic, Plug, SwitchPort, Wire};

/// The highest number of a VLAN, IEEE 802.1Q.
const VLAN_MAX: u16 = 4094;

/// Caches for translated code, in MiB. One that overflows is emptied and filled anew: with 128 MiB a controller did so
/// every four seconds (`info jit` of QEMU's monitor counts it).
const CACHE_MIB: u32 = 256;
const CONTROLLER_CACHE_MIB: u32 = 512;

/// Why an inventory cannot be had as a lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(
        "the deployment host finds no free address on network `{0}`: give it a gateway, or leave one out of its ranges"
    )]
    NoHostAddress(NetworkName),
    #[error(
        "card `{nic}` of `{host}` has no address in `macs`; the lab gives cards only what stands there"
    )]
    NoAddress { host: String, nic: String },
}

impl LabSpec {
    /// The lab of environment `env`: a wire for each network, a machine for each host that we install.
    ///
    /// # Errors
    /// All that the lab cannot do, not only the first.
    pub fn from_inventory(
        env: &str,
        inventory: &Inventory,
        plan: &NetworkPlan,
    ) -> Result<Self, Vec<SpecError>> {
        let mut errors = Vec::new();
        let mut wires = Vec::new();
        let vlans = switched(inventory, plan);
        for (name, network) in &plan.networks {
            let Some(address) = host_address(network) else {
                errors.push(SpecError::NoHostAddress(*name));
                continue;
            };
            let mut host_addresses = vec![(address, network.cidr.prefix())];
            if *name == NetworkName::Ipmi {
                let bmcs = plan.nodes.values().filter_map(|node| node.bmc.as_ref());
                host_addresses.extend(bmcs.map(|bmc| (bmc.address, network.cidr.prefix())));
            }
            wires.push(Wire {
                network: name.to_string(),
                mtu: network.mtu,
                vlan: vlans.get(name).copied(),
                host_addresses,
            });
        }
        let mut machines = Vec::new();
        for host in inventory
            .hosts
            .values()
            .filter(|host| !host.nics.is_empty())
        {
            let planned = plan
                .nodes
                .get(&host.name)
                .and_then(|node| node.bmc.as_ref());
            let bmc = planned.map(|bmc| Bmc {
                address: bmc.address,
                port: bmc.port,
                user: bmc.user.clone(),
            });
            machines.push(Machine {
                bmc,
                ..machine(host, plan, &vlans, &mut errors)
            });
        }
        match errors.is_empty() {
            true => Ok(Self {
                env: env.to_owned(),
                wires,
                machines,
            }),
            false => Err(errors),
        }
    }
}

/// Networks that are VLANs of the switch, with their numbers there: those that some host has on a bond, by a tag, or on one
/// card with others. Those whose frames bear no tag get numbers that no network has.
fn switched(inventory: &Inventory, plan: &NetworkPlan) -> BTreeMap<NetworkName, u16> {
    let tag = |name: &NetworkName| plan.networks.get(name).and_then(|network| network.vlan);
    let is_plain = |carrier: &Carrier<'_>| match carrier {
        Carrier::Card(nic) => matches!(nic.networks.as_slice(), [one] if tag(one).is_none()),
        Carrier::Bond(_) => false,
    };
    let taken: Vec<u16> = plan.networks.keys().filter_map(tag).collect();
    let mut free = (1..=VLAN_MAX).rev().filter(|vlan| !taken.contains(vlan));
    let mut found = BTreeMap::new();
    for host in inventory.hosts.values() {
        for carrier in host.carriers().filter(|carrier| !is_plain(carrier)) {
            for name in carrier.networks() {
                if !found.contains_key(name) {
                    found.extend(tag(name).or_else(|| free.next()).map(|vlan| (*name, vlan)));
                }
            }
        }
    }
    found
}

/// What the cards of a carrier are plugged into; `None` if nothing lies on it.
fn plug(
    carrier: Carrier<'_>,
    plan: &NetworkPlan,
    vlans: &BTreeMap<NetworkName, u16>,
) -> Option<Plug> {
    let networks = carrier.networks();
    let first = networks.first()?;
    if !vlans.contains_key(first) {
        return Some(Plug::Bridge(first.to_string()));
    }
    let planned = |name: &NetworkName| plan.networks.get(name);
    let is_tagged = |name: &&NetworkName| planned(name).is_some_and(|n| n.vlan.is_some());
    let number = |name: &NetworkName| vlans.get(name).copied();
    let largest = networks.iter().filter_map(|name| Some(planned(name)?.mtu));
    Some(Plug::Switch(SwitchPort {
        bond: match carrier {
            Carrier::Bond(bond) if matches!(bond.mode, BondMode::Lacp { .. }) => {
                Some(bond.name.clone())
            }
            // The other modes ask nothing of a switch.
            _ => None,
        },
        untagged: networks
            .iter()
            .find(|name| !is_tagged(name))
            .and_then(number),
        tagged: networks
            .iter()
            .filter(is_tagged)
            .filter_map(number)
            .collect(),
        mtu: carrier.mtu().into_iter().chain(largest).max()?,
    }))
}

fn machine(
    host: &Host,
    plan: &NetworkPlan,
    vlans: &BTreeMap<NetworkName, u16>,
    errors: &mut Vec<SpecError>,
) -> Machine {
    let mut nics = Vec::new();
    let boots = host.boot_nic().map(|nic| &nic.name);
    for nic in &host.nics {
        let bond = host
            .bonds
            .iter()
            .find(|bond| bond.members.contains(&nic.name));
        let carrier = bond.map_or(Carrier::Card(nic), Carrier::Bond);
        let Some(plug) = plug(carrier, plan, vlans) else {
            continue;
        };
        let Some(mac) = nic.mac else {
            let (host, nic) = (host.name.clone(), nic.name.clone());
            errors.push(SpecError::NoAddress { host, nic });
            continue;
        };
        nics.push(Nic {
            name: nic.name.clone(),
            mac: mac.to_string(),
            plug,
            boots: boots == Some(&nic.name),
        });
    }
    let controls = host.in_group("controller") || host.in_group("hybrid");
    Machine {
        name: host.name.clone(),
        memory_mib: host.lab.memory_mib,
        cpus: host.lab.cpus,
        disk_gib: host.lab.disk_gib,
        firmware: host.lab.firmware,
        translation_cache_mib: if controls {
            CONTROLLER_CACHE_MIB
        } else {
            CACHE_MIB
        },
        nics,
        bmc: None,
    }
}

/// The gateway's address, for the deployment host is the lab's way out: floating addresses are reached from it
/// and answer to it. Without a gateway, the first address that no range has.
fn host_address(network: &PlannedNetwork) -> Option<Ipv4Addr> {
    let ends = [network.cidr.network(), network.cidr.broadcast()];
    let taken = |address: &Ipv4Addr| {
        network
            .ranges
            .iter()
            .any(|(_, range)| range.contains(*address))
    };
    network.gateway.or_else(|| {
        network
            .cidr
            .iter()
            .find(|address| !ends.contains(address) && !taken(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn lab(inventory: &str) -> Result<LabSpec, Vec<SpecError>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../inventories")
            .join(inventory);
        let (inventory, faults) = inventory::load(&folder);
        assert!(!faults.has_errors(), "{faults}");
        let (plan, _) =
            network_plan::plan(&inventory, &network_plan::Allocations::default()).unwrap();
        LabSpec::from_inventory("lab", &inventory, &plan)
    }

    #[test]
    fn the_labs_inventory_is_a_lab() {
        insta::assert_yaml_snapshot!(lab("lab").unwrap());
    }

    #[test]
    fn bonds_and_vlans_are_ports_of_a_switch() {
        insta::assert_yaml_snapshot!(lab("lab-trunk").unwrap());
    }

    #[test]
    fn a_network_without_gateway_gives_its_first_free_address() {
        let network = PlannedNetwork {
            cidr: "10.1.0.0/24".parse().unwrap(),
            vlan: None,
            mtu: 1500,
            gateway: None,
            dns: Vec::new(),
            ranges: inventory::Ranges {
                vips: Some("10.1.0.1-10.1.0.9".parse().unwrap()),
                nodes: Some("10.1.0.11-10.1.0.99".parse().unwrap()),
                ..Default::default()
            },
        };
        assert_eq!(host_address(&network), Some([10, 1, 0, 10].into()));
    }
}
