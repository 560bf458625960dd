//! The inventory: what machines there are, what they are for, and what networks join them.
//!
//! [`load`] reads a folder with `hosts.yml` and `networks.yml`, `group_vars/` and `host_vars/`
//! (Ansible's formats and precedence) and tells every fault at once; [`assemble`] does the same with
//! texts that are already in memory. [`plain`] reads any inventory of Ansible, in YAML and in INI form, for
//! `wright play`. The result is values; this crate gives no addresses (see
//! `network-plan`), opens no connections, and never writes.

mod assemble;
mod cards;
mod database_engine;
mod files;
mod groups;
mod host;
mod hosts_file;
mod ini;
mod literal;
mod mac;
mod network;
mod networks_file;
mod nic;
mod nics_entry;
mod pattern;
mod plain;
mod range;
mod traffic;
mod vars;

pub use assemble::assemble;
pub use database_engine::DatabaseEngine;
pub use files::{Files, TextFile, VarsFile};
pub use host::{Bmc, Firmware, Host, LabMachine};
pub use mac::{MacAddress, MacAddressError};
pub use network::{Network, NetworkName, Ranges};
pub use nic::{Bond, BondMode, CardMatch, Carrier, HashPolicy, LacpRate, Nic, Speed};
pub use plain::{PlainHost, PlainInventory, PlainOptions, Unseal, plain, plain_text};
pub use range::{AddressRange, AddressRangeError};
pub use traffic::{Traffic, TrafficKind};

use diagnostics::Diagnostics;
use indexmap::IndexMap;
use std::path::Path;

/// Groups that give a host its roles. A host must be in one of them at least.
pub const ROLE_GROUPS: [&str; 4] = ["controller", "compute", "storage", "hybrid"];

/// Domain of the nodes' full names unless the variable `domain` says otherwise.
pub const DEFAULT_DOMAIN: &str = "domain.tld";

/// All that the inventory's files say, checked.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// In the order of `hosts.yml`.
    pub hosts: IndexMap<String, Host>,
    /// Names of the hosts in each group, those of its child groups too.
    pub groups: IndexMap<String, Vec<String>>,
    /// In the order of [`NetworkName::ALL`].
    pub networks: IndexMap<NetworkName, Network>,
    pub traffic: Traffic,
    /// The controllers' database server.
    pub database_engine: DatabaseEngine,
}

impl Inventory {
    /// A host's variables, merged from all its groups; `None` if there is no such host.
    pub fn host_vars(&self, host: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
        self.hosts.get(host).map(|host| host.vars.to_json())
    }

    /// Hosts in a group, in the order of `hosts.yml`; none if there is no such group.
    pub fn hosts_in<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a Host> {
        self.groups
            .get(group)
            .into_iter()
            .flatten()
            .filter_map(|name| self.hosts.get(name))
    }
}

/// Reads and checks the inventory in `dir`. What could be understood is returned even if there are
/// errors; it must not be acted upon then.
pub fn load(dir: &Path) -> (Inventory, Diagnostics) {
    let (files, mut diags) = Files::read(dir);
    let (inventory, more) = assemble(&files);
    diags.extend(more);
    (inventory, diags)
}

#[cfg(test)]
mod cards_tests;
#[cfg(test)]
mod tests;
