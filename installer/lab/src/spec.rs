//! What a lab consists of: wires and machines, as values.
use std::{fmt, net::Ipv4Addr};

use inventory::Firmware;
use serde::Serialize;

/// An environment's lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabSpec {
    pub env: String,
    pub wires: Vec<Wire>,
    pub machines: Vec<Machine>,
}

/// A host network: a bridge of its own, or a VLAN of the lab's switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wire {
    /// The network's name, for example `mgmt`.
    pub network: String,
    /// Bytes.
    pub mtu: u16,
    /// Its number on the switch, also where frames of it bear no tag. `None`: it is a bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
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
    pub plug: Plug,
    /// Whether the machine boots from it when its disk is blank.
    pub boots: bool,
}

/// What a NIC is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Plug {
    /// The bridge of this network.
    Bridge(String),
    Switch(SwitchPort),
}

/// A port of the lab's switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwitchPort {
    /// The machine's bond whose members' ports the switch bonds, too, by LACP.
    pub bond: Option<String>,
    /// The VLAN of frames without a tag.
    pub untagged: Option<u16>,
    /// VLANs whose frames bear their tag.
    pub tagged: Vec<u16>,
    /// Bytes.
    pub mtu: u16,
}

impl fmt::Display for SwitchPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tagged: Vec<String> = self.tagged.iter().map(u16::to_string).collect();
        let parts = [
            self.bond.as_ref().map(|bond| format!("LACP {bond}")),
            (!tagged.is_empty()).then(|| format!("VLANs {}", tagged.join(", "))),
            self.untagged.map(|vlan| format!("untagged {vlan}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "switch: {}", parts.join("; "))
    }
}

impl LabSpec {
    /// Whether there is a switch beside the bridges.
    pub fn has_switch(&self) -> bool {
        self.wires.iter().any(|wire| wire.vlan.is_some())
    }
}

/// Where a machine's BMC answers, inside of the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bmc {
    pub address: Ipv4Addr,
    pub port: u16,
    pub user: String,
}
