//! OVN: brings its northbound database in line with the virtual network, and learns from it (and from the
//! southbound one) which ports are plugged and which chassis there are.

pub mod datum;
mod framing;
pub mod ovsdb;
pub mod reconcile;
pub mod rows;
#[cfg(test)]
mod samples;
pub mod tls;
pub mod translate;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::driver::{Applied, Driver, DriverError, Generation};
use crate::model::{Chassis, Topology};

use datum::Datum;
use ovsdb::{Database, DatabaseSpec, OvsdbError, Replica};
use translate::Settings;

/// Counts our writes in `NB_Global.external_ids`: with several controllers only one writes on what it read.
const GENERATION_KEY: &str = "stackwright:generation";
/// A chassis that has not answered for this long counts as dead, in seconds. Upstream's `agent_down_time`.
const DOWN_AFTER: i64 = 75;

const NORTHBOUND: &[(&str, &[&str])] = &[
    ("NB_Global", &["nb_cfg", "external_ids"]),
    (
        "Logical_Switch",
        &["name", "ports", "dns_records", "external_ids"],
    ),
    (
        "Logical_Switch_Port",
        &[
            "name",
            "type",
            "enabled",
            "addresses",
            "port_security",
            "options",
            "tag",
            "up",
            "dhcpv4_options",
            "dhcpv6_options",
            "external_ids",
        ],
    ),
    ("DHCP_Options", &["cidr", "options", "external_ids"]),
    ("DNS", &["records", "external_ids"]),
    (
        "Logical_Router",
        &[
            "name",
            "enabled",
            "ports",
            "static_routes",
            "nat",
            "options",
            "external_ids",
        ],
    ),
    (
        "Logical_Router_Port",
        &[
            "name",
            "mac",
            "networks",
            "gateway_chassis",
            "options",
            "ipv6_ra_configs",
            "external_ids",
        ],
    ),
    (
        "Logical_Router_Static_Route",
        &["ip_prefix", "nexthop", "external_ids"],
    ),
    (
        "NAT",
        &["type", "external_ip", "logical_ip", "external_ids"],
    ),
    (
        "Gateway_Chassis",
        &["name", "chassis_name", "priority", "external_ids"],
    ),
    ("Port_Group", &["name", "ports", "acls", "external_ids"]),
    (
        "ACL",
        &["direction", "priority", "match", "action", "external_ids"],
    ),
];

const SOUTHBOUND: &[(&str, &[&str])] = &[
    (
        "Chassis",
        &["name", "hostname", "other_config", "external_ids"],
    ),
    ("Chassis_Private", &["name", "nb_cfg", "nb_cfg_timestamp"]),
];

/// The real driver.
pub struct OvnDriver {
    northbound: Database,
    southbound: Database,
    dns_servers: Vec<std::net::IpAddr>,
    dns_domain: String,
}

impl OvnDriver {
    /// Starts to connect; what is asked before both databases answer fails and is asked again.
    pub fn open(
        databases: &config::Ovn,
        dns_servers: Vec<std::net::IpAddr>,
        dns_domain: String,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<OvnDriver, OvsdbError> {
        let open = |name, remote: &str, monitored| {
            Database::open(
                DatabaseSpec {
                    name,
                    remote: remote.to_owned(),
                    tls: databases.tls.clone(),
                    monitored,
                },
                tasks,
                shutdown.clone(),
            )
        };
        Ok(OvnDriver {
            northbound: open("OVN_Northbound", &databases.northbound, NORTHBOUND)?,
            southbound: open("OVN_Southbound", &databases.southbound, SOUTHBOUND)?,
            dns_servers,
            dns_domain,
        })
    }

    async fn transact(&self, operations: Vec<Value>) -> Result<(), DriverError> {
        self.northbound.transact(operations).await?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Driver for OvnDriver {
    fn generation(&self) -> Result<Generation, DriverError> {
        let generation = self.northbound.read(|replica, _| {
            let ids = replica
                .rows("NB_Global")
                .next()
                .and_then(|(_, row)| row.get("external_ids"));
            ids.and_then(|ids| ids.get(GENERATION_KEY))
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        })?;
        Ok(Generation(generation))
    }

    async fn apply(
        &self,
        topology: &Topology,
        Generation(read): Generation,
    ) -> Result<Applied, DriverError> {
        let settings = Settings {
            dns_servers: self.dns_servers.clone(),
            dns_domain: self.dns_domain.clone(),
            chassis: self.chassis(0)?,
        };
        let desired = translate::northbound(topology, &settings);
        let (changes, global) = self.northbound.read(|replica, schema| {
            let global = replica
                .rows("NB_Global")
                .next()
                .and_then(|(uuid, row)| Some((uuid.clone(), row.get("external_ids")?.clone())));
            (reconcile::against(replica, schema, &desired), global)
        })?;
        let applied = Applied {
            inserted: changes.inserted,
            updated: changes.updated,
            deleted: changes.deleted,
        };
        if changes.is_empty() {
            return Ok(applied);
        }
        let Some((uuid, ids)) = global else {
            return Err(DriverError::NotInitialised);
        };
        let held = ids
            .get(GENERATION_KEY)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        if held != read {
            return Err(DriverError::Outrun);
        }
        let mut operations = guard(&uuid, &ids, read);
        operations.extend(changes.operations);
        match self.transact(operations).await {
            // RFC 7047 section 5.2.6: a `wait` whose condition does not hold ends the transaction this way.
            Err(DriverError::Ovsdb(OvsdbError::Refused { error, .. })) if error == "timed out" => {
                Err(DriverError::Outrun)
            }
            other => other.map(|()| applied),
        }
    }

    fn ports_up(&self) -> Result<BTreeSet<String>, DriverError> {
        let up = |replica: &Replica| {
            let rows = replica.rows("Logical_Switch_Port").map(|(_, row)| row);
            let up = rows.filter(|row| row.get("up").and_then(Datum::as_bool) == Some(true));
            up.filter_map(|row| row.get("name")?.as_str().map(str::to_owned))
                .collect()
        };
        Ok(self.northbound.read(|replica, _| up(replica))?)
    }

    fn chassis(&self, now: i64) -> Result<Vec<Chassis>, DriverError> {
        let current = self.northbound.read(|replica, _| {
            replica
                .rows("NB_Global")
                .next()
                .and_then(|(_, row)| row.get("nb_cfg")?.as_integer())
                .unwrap_or(0)
        })?;
        Ok(self
            .southbound
            .read(|replica, _| list_chassis(replica, current, now))?)
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.northbound.version(), self.southbound.version()]
    }

    async fn probe_chassis(&self) -> Result<(), DriverError> {
        // Each ovn-controller copies the number to its Chassis_Private row once it has seen it.
        self.transact(vec![json!({"op": "mutate", "table": "NB_Global", "where": [], "mutations": [["nb_cfg", "+=", 1]]})]).await
    }
}

/// Operations that fail the transaction unless `external_ids` is still what was read, and count the generation on.
fn guard(global: &str, held: &Datum, read: u64) -> Vec<Value> {
    let here = json!([["_uuid", "==", ["uuid", global]]]);
    let next = json!(["map", [[GENERATION_KEY, (read + 1).to_string()]]]);
    vec![
        json!({"op": "wait", "table": "NB_Global", "timeout": 0, "where": here, "columns": ["external_ids"],
            "until": "==", "rows": [{"external_ids": held.encode()}]}),
        json!({"op": "mutate", "table": "NB_Global", "where": here, "mutations": [
            ["external_ids", "delete", ["set", [GENERATION_KEY]]], ["external_ids", "insert", next]]}),
    ]
}

fn list_chassis(replica: &Replica, current: i64, now: i64) -> Vec<Chassis> {
    let answers: BTreeMap<&str, (i64, i64)> = replica
        .rows("Chassis_Private")
        .filter_map(|(_, row)| {
            let milliseconds = row
                .get("nb_cfg_timestamp")
                .and_then(Datum::as_integer)
                .unwrap_or(0);
            Some((
                row.get("name")?.as_str()?,
                (row.get("nb_cfg")?.as_integer()?, milliseconds / 1000),
            ))
        })
        .collect();
    let mut list: Vec<Chassis> = replica
        .rows("Chassis")
        .filter_map(|(_, row)| {
            let name = row.get("name")?.as_str()?;
            // Before OVN 20.12 the settings were in external_ids.
            let setting = |key: &str| {
                row.get("other_config")
                    .and_then(|map| map.get(key))
                    .or_else(|| row.get("external_ids")?.get(key))
            };
            let options = setting("ovn-cms-options").unwrap_or_default();
            let has = |wanted| options.split(',').any(|option| option.trim() == wanted);
            let mappings = setting("ovn-bridge-mappings").unwrap_or_default();
            let (answered, heard_at) = answers.get(name).copied().unwrap_or((0, 0));
            Some(Chassis {
                name: name.to_owned(),
                hostname: row
                    .get("hostname")
                    .and_then(Datum::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                gateway: has("enable-chassis-as-gw"),
                witness: has("gateway-witness"),
                physical_networks: mappings
                    .split(',')
                    .filter_map(|pair| Some(pair.split_once(':')?.0.trim().to_owned()))
                    .collect(),
                alive: answered >= current || now - heard_at < DOWN_AFTER,
                heard_at,
            })
        })
        .collect();
    list.sort_by(|one, other| one.name.cmp(&other.name));
    list
}
