//! The lab that an inventory and its network plan describe. Pure.
use std::net::Ipv4Addr;

use inventory::{Host, Inventory, NetworkName};
use network_plan::{NetworkPlan, PlannedNetwork};

use crate::spec::{Bmc, LabSpec, Machine, Nic, Wire};

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
        "card `{nic}` of `{host}` carries networks {networks}; in the lab each card is plugged into one wire"
    )]
    SeveralNetworks {
        host: String,
        nic: String,
        networks: String,
    },
    #[error(
        "card `{nic}` of `{host}` has no address in `macs`; the lab gives cards only what stands there"
    )]
    NoAddress { host: String, nic: String },
    #[error("`{host}` has the bond `{bond}`; in the lab there are no bonds")]
    Bond { host: String, bond: String },
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
                ..machine(host, &mut errors)
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

fn machine(host: &Host, errors: &mut Vec<SpecError>) -> Machine {
    let mut nics = Vec::new();
    errors.extend(host.bonds.iter().map(|bond| SpecError::Bond {
        host: host.name.clone(),
        bond: bond.name.clone(),
    }));
    for nic in &host.nics {
        let [network] = nic.networks.as_slice() else {
            let networks: Vec<&str> = nic
                .networks
                .iter()
                .map(|network| network.as_str())
                .collect();
            if !networks.is_empty() {
                let (host, nic, networks) =
                    (host.name.clone(), nic.name.clone(), networks.join(", "));
                errors.push(SpecError::SeveralNetworks {
                    host,
                    nic,
                    networks,
                });
            }
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
            network: network.to_string(),
            boots: *network == NetworkName::Pxe,
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
