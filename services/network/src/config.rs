//! `/etc/wright/network.toml`: what can be set, and what holds otherwise.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::ovn::tls::TlsFiles;

/// The service's own part of its configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Realise nothing: ports are plugged by pretending. For tests and for looking around.
    pub simulate: bool,
    /// Where OVN's databases are. Not needed with `simulate`.
    pub ovn: Ovn,
    /// Physical networks that provider networks may lie on; `physnet-app` unless said otherwise.
    pub physical_networks: Vec<PhysicalNetwork>,
    pub network: Network,
    /// Default limits of a project by resource, for example `port = 500`; -1 is no limit.
    pub quotas: BTreeMap<String, i32>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            simulate: false,
            ovn: Ovn::default(),
            physical_networks: vec![PhysicalNetwork {
                name: "physnet-app".to_owned(),
                mtu: ethernet_mtu(),
                vlan_range: None,
            }],
            network: Network::default(),
            quotas: BTreeMap::new(),
        }
    }
}

/// OVN's databases: `ssl:ADDRESS:PORT`, `tcp:ADDRESS:PORT` or `unix:PATH`, several with commas between.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ovn {
    /// For example `tcp:10.20.0.10:6641`.
    pub northbound: String,
    /// For example `tcp:10.20.0.10:6642`.
    pub southbound: String,
    /// Needed with `ssl:`.
    pub tls: Option<TlsFiles>,
}

/// One wire outside, as chassis name it in `ovn-bridge-mappings`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhysicalNetwork {
    pub name: String,
    /// Largest packet of the wire, in bytes.
    #[serde(default = "ethernet_mtu")]
    pub mtu: i32,
    /// VLAN ids that may be chosen for networks that name none, for example `[100, 199]`; none without it.
    #[serde(default)]
    pub vlan_range: Option<(i32, i32)>,
}

fn ethernet_mtu() -> i32 {
    1500
}

/// Defaults of networks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Largest packet that the network between hypervisors carries, in bytes; Geneve takes 58 of it.
    pub underlay_mtu: i32,
    /// DNS servers that guests are told of when their subnet names none.
    pub dns_servers: Vec<IpAddr>,
    /// Domain of guests.
    pub dns_domain: String,
    /// Seconds between full comparisons with OVN; changes are brought about at once all the same.
    pub resync_seconds: u64,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            underlay_mtu: 1500,
            dns_servers: Vec::new(),
            dns_domain: "openstacklocal".to_owned(),
            resync_seconds: 60,
        }
    }
}

/// What Geneve takes of each packet over IPv4, with OVN's option: Ethernet 14, IP 20, UDP 8, Geneve 16.
pub const GENEVE_OVERHEAD: i32 = 58;

impl Config {
    /// All faults at once, in words for the person who wrote the file.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.simulate {
            for (name, remote) in [
                ("northbound", &self.ovn.northbound),
                ("southbound", &self.ovn.southbound),
            ] {
                if remote.is_empty() {
                    faults.push(format!("[ovn] {name} is missing; write for example {name} = \"tcp:10.20.0.10:6641\", or simulate = true"));
                }
            }
        }
        if !(1280 + GENEVE_OVERHEAD..=65535).contains(&self.network.underlay_mtu) {
            faults.push(format!(
                "[network] underlay_mtu is {}; expected {} to 65535",
                self.network.underlay_mtu,
                1280 + GENEVE_OVERHEAD
            ));
        }
        for physical in &self.physical_networks {
            if let Some((low, high)) = physical.vlan_range
                && !(1 <= low && low <= high && high <= 4094)
            {
                faults.push(format!(
                    "physical network {}: vlan_range [{low}, {high}] is no range within 1 to 4094",
                    physical.name
                ));
            }
        }
        for resource in self
            .quotas
            .keys()
            .filter(|name| !DEFAULT_QUOTAS.iter().any(|(known, _)| known == name))
        {
            let known: Vec<_> = DEFAULT_QUOTAS.iter().map(|(name, _)| *name).collect();
            faults.push(format!(
                "[quotas] {resource} is not known; known are {}",
                known.join(", ")
            ));
        }
        faults
    }

    /// A physical network by name.
    pub fn physical_network(&self, name: &str) -> Option<&PhysicalNetwork> {
        self.physical_networks
            .iter()
            .find(|physical| physical.name == name)
    }

    /// The limit that holds for a project without one of its own.
    pub fn default_quota(&self, resource: &str) -> i32 {
        let built_in = DEFAULT_QUOTAS
            .iter()
            .find(|(name, _)| *name == resource)
            .map_or(-1, |(_, limit)| *limit);
        self.quotas.get(resource).copied().unwrap_or(built_in)
    }
}

/// Resources that are counted, with upstream's limits.
pub const DEFAULT_QUOTAS: [(&str, i32); 10] = [
    ("network", 100),
    ("subnet", 100),
    ("port", 500),
    ("router", 10),
    ("floatingip", 50),
    ("security_group", 10),
    ("security_group_rule", 100),
    ("subnetpool", -1),
    ("rbac_policy", 10),
    ("trunk", -1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_holds() {
        let config: Config = toml::from_str(include_str!("../network.example.toml")).unwrap();
        assert_eq!(config.check(), Vec::<String>::new());
        assert_eq!(config.physical_networks[0].vlan_range, Some((100, 199)));
        assert!(toml::from_str::<Config>("[ovn]\nnorthbuond = 1").is_err());
    }

    #[test]
    fn all_faults_are_told() {
        let config = Config {
            network: Network {
                underlay_mtu: 9,
                ..Network::default()
            },
            physical_networks: vec![PhysicalNetwork {
                name: "physnet-app".into(),
                mtu: 1500,
                vlan_range: Some((5000, 1)),
            }],
            quotas: BTreeMap::from([("prot".to_owned(), 1)]),
            ..Config::default()
        };
        assert_eq!(config.check().len(), 5);
        assert!(
            Config {
                simulate: true,
                ..Config::default()
            }
            .check()
            .is_empty()
        );
    }
}
