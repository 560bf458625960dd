//! What a lab consists of: wires and machines, as values.
use std::net::Ipv4Addr;

use inventory::Firmware;
use serde::Serialize;

/// An environment's lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabSpec {
    pub env: String,
    pub wires: Vec<Wire>,
    pub machines: Vec<Machine>,
}

/// A host network: one bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wire {
    /// The network's name, for example `mgmt`.
    pub network: String,
    /// Bytes.
    pub mtu: u16,
    /// Addresses of the deployment host on this wire, with their prefix length; BMCs answer there too.
    pub host_addresses: Vec<(Ipv4Addr, u8)>,
}

/// A blank machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub name: String,
    pub memory_mib: u32,
    pub cpus: u32,
    pub disk_gib: u32,
    pub firmware: Firmware,
    /// Cache for translated code when there is no KVM, in MiB; QEMU's own default grows to 1 GiB a machine.
    pub translation_cache_mib: u32,
    pub nics: Vec<Nic>,
    pub bmc: Option<Bmc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// The inventory's name, for example `eth0`.
    pub name: String,
    /// Lower case, with colons.
    pub mac: String,
    /// The wire that it is plugged into.
    pub network: String,
    /// Whether the machine boots from it when its disk is blank.
    pub boots: bool,
}

/// Where a machine's BMC answers, inside of the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bmc {
    pub address: Ipv4Addr,
    pub port: u16,
    pub user: String,
}
