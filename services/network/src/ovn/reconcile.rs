//! What separates the northbound database from what it should hold, as the operations of one transaction. Pure.
//! Whatever was lost is made again, whatever is ours and wanted no more goes, and nothing is written twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::datum::{Atom, Datum};
use super::ovsdb::{Replica, Row, Schema};
use super::rows::{Column, Desired, OWNER_KEY, RowKey, TABLES, is_root};

/// Operations, and how many rows they touch.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    pub operations: Vec<Value>,
    pub inserted: usize,
    pub updated: usize,
    pub deleted: usize,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

/// The difference between `replica` and `desired`. Columns that the server lacks are left out.
pub fn difference(
    replica: &Replica,
    desired: &Desired,
    has_column: impl Fn(&str, &str) -> bool,
) -> Changes {
    let mut changes = Changes::default();
    let mut present: HashMap<RowKey, (&str, &Row)> = HashMap::new();
    let mut surplus: BTreeSet<(&'static str, &str)> = BTreeSet::new();
    for table in TABLES {
        for (uuid, row) in replica.rows(table) {
            let Some(key) = row.get("external_ids").and_then(|ids| ids.get(OWNER_KEY)) else {
                continue;
            };
            let key = RowKey {
                table,
                key: key.to_owned(),
            };
            if !desired.rows.contains_key(&key) || present.contains_key(&key) {
                surplus.insert((table, uuid));
            } else {
                present.insert(key, (uuid, row));
            }
        }
    }
    // New rows are referred to by names that hold within the transaction.
    let new = desired.rows.keys().filter(|key| !present.contains_key(key));
    let names: HashMap<&RowKey, String> = new
        .enumerate()
        .map(|(number, key)| (key, format!("row{number}")))
        .collect();
    let reference = |key: &RowKey| match present.get(key) {
        Some((uuid, _)) => Some(Atom::Uuid((*uuid).to_owned())),
        None => names.get(key).cloned().map(Atom::NamedUuid),
    };
    for (table, uuid) in surplus {
        // The rest is collected by the server once nothing refers to it.
        if is_root(table) {
            changes.operations.push(
                json!({"op": "delete", "table": table, "where": [["_uuid", "==", ["uuid", uuid]]]}),
            );
            changes.deleted += 1;
        }
    }
    for (key, columns) in &desired.rows {
        let wanted = columns
            .iter()
            .filter(|(column, _)| has_column(key.table, column));
        let wanted: BTreeMap<&str, Datum> = wanted
            .map(|(column, content)| (*column, resolve(content, &reference)))
            .collect();
        match present.get(key) {
            None => {
                let filled = wanted.iter().filter(|(_, datum)| !datum.is_empty());
                let row: serde_json::Map<String, Value> = filled
                    .map(|(column, datum)| ((*column).to_owned(), datum.encode()))
                    .collect();
                changes.operations.push(json!({"op": "insert", "table": key.table, "row": row, "uuid-name": names.get(key)}));
                changes.inserted += 1;
            }
            Some((uuid, row)) => {
                let differs = |column: &str, datum: &Datum| match row.get(column) {
                    Some(held) if held.is_empty() && datum.is_empty() => false,
                    Some(held) => held != datum,
                    None => !datum.is_empty(),
                };
                let changed = wanted
                    .iter()
                    .filter(|(column, datum)| differs(column, datum));
                let row: serde_json::Map<String, Value> = changed
                    .map(|(column, datum)| {
                        ((*column).to_owned(), empty_as_held(datum, row.get(*column)))
                    })
                    .collect();
                if !row.is_empty() {
                    changes.operations.push(json!({"op": "update", "table": key.table, "row": row, "where": [["_uuid", "==", ["uuid", uuid]]]}));
                    changes.updated += 1;
                }
            }
        }
    }
    changes
}

/// [`difference`] against the server's own schema.
pub fn against(replica: &Replica, schema: &Schema<'_>, desired: &Desired) -> Changes {
    difference(replica, desired, |table, column| schema.has(table, column))
}

fn resolve(column: &Column, reference: &impl Fn(&RowKey) -> Option<Atom>) -> Datum {
    match column {
        Column::Value(datum) => datum.clone(),
        Column::References(keys) => Datum::Set(keys.iter().filter_map(reference).collect()),
    }
}

/// A map is emptied by an empty map, not by an empty set.
fn empty_as_held(datum: &Datum, held: Option<&Datum>) -> Value {
    match held {
        Some(Datum::Map(_)) if datum.is_empty() => json!(["map", []]),
        _ => datum.encode(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Topology;
    use crate::ovn::{samples, translate};
    use proptest::prelude::*;

    /// A database that carries out operations as ovsdb-server would, without its checks.
    #[derive(Default, Clone)]
    struct Server {
        tables: BTreeMap<String, BTreeMap<String, serde_json::Map<String, Value>>>,
        next: usize,
    }

    impl Server {
        fn replica(&self) -> Replica {
            let mut replica = Replica::default();
            let updates: Value = self
                .tables
                .iter()
                .map(|(table, rows)| {
                    let rows: serde_json::Map<String, Value> = rows
                        .iter()
                        .map(|(uuid, row)| (uuid.clone(), json!({"new": row})))
                        .collect();
                    (table.clone(), Value::Object(rows))
                })
                .collect::<serde_json::Map<_, _>>()
                .into();
            replica.apply(&updates).unwrap();
            replica
        }

        fn apply(&mut self, changes: &Changes) {
            let mut text = serde_json::to_string(&changes.operations).unwrap();
            for operation in &changes.operations {
                if let Some(name) = operation["uuid-name"].as_str() {
                    self.next += 1;
                    text = text.replace(
                        &format!("[\"named-uuid\",\"{name}\"]"),
                        &format!("[\"uuid\",\"u{}\"]", self.next),
                    );
                    text = text.replace(
                        &format!("\"uuid-name\":\"{name}\""),
                        &format!("\"uuid-name\":\"u{}\"", self.next),
                    );
                }
            }
            let operations: Vec<Value> = serde_json::from_str(&text).unwrap();
            for operation in operations {
                let table = self
                    .tables
                    .entry(operation["table"].as_str().unwrap().to_owned())
                    .or_default();
                let row = operation["row"].as_object().cloned().unwrap_or_default();
                match operation["op"].as_str().unwrap() {
                    "insert" => {
                        drop(table.insert(operation["uuid-name"].as_str().unwrap().to_owned(), row))
                    }
                    "update" => table
                        .get_mut(operation["where"][0][2][1].as_str().unwrap())
                        .unwrap()
                        .extend(row),
                    _ => drop(table.remove(operation["where"][0][2][1].as_str().unwrap())),
                }
            }
            // Rows of no root table vanish when nothing refers to them.
            loop {
                let all = serde_json::to_string(&self.tables).unwrap();
                let lost: Vec<(String, String)> = self
                    .tables
                    .iter()
                    .filter(|(table, _)| !is_root(table))
                    .flat_map(|(table, rows)| {
                        rows.keys()
                            .filter(|uuid| !all.contains(&format!("[\"uuid\",\"{uuid}\"]")))
                            .map(|uuid| (table.clone(), uuid.clone()))
                    })
                    .collect();
                if lost.is_empty() {
                    break;
                }
                for (table, uuid) in lost {
                    self.tables.get_mut(&table).unwrap().remove(&uuid);
                }
            }
        }

        fn rows(&self) -> usize {
            self.tables.values().map(BTreeMap::len).sum()
        }
    }

    fn desired(topology: &Topology) -> Desired {
        translate::northbound(topology, &samples::settings())
    }

    fn step(server: &mut Server, desired: &Desired) -> Changes {
        let changes = difference(&server.replica(), desired, |_, _| true);
        server.apply(&changes);
        changes
    }

    #[test]
    fn written_once_and_repaired_when_lost() {
        let wanted = desired(&samples::small_cloud());
        let mut server = Server::default();
        server
            .tables
            .entry("Logical_Switch".into())
            .or_default()
            .insert(
                "foreign".into(),
                json!({"name": "theirs", "external_ids": ["map", []]})
                    .as_object()
                    .cloned()
                    .unwrap(),
            );
        assert_eq!(step(&mut server, &wanted).inserted, wanted.rows.len());
        assert_eq!(step(&mut server, &wanted), Changes::default());

        let lost = server.tables["ACL"].keys().next().unwrap().clone();
        server.tables.get_mut("ACL").unwrap().remove(&lost);
        let repaired = step(&mut server, &wanted);
        assert_eq!(
            (repaired.inserted, repaired.updated, repaired.deleted),
            (1, 1, 0)
        );
        assert_eq!(step(&mut server, &wanted), Changes::default());

        let emptied = step(&mut server, &Desired::default());
        assert_eq!((emptied.inserted, emptied.updated), (0, 0));
        assert_eq!(server.rows(), 1, "somebody else's row stays");
    }

    #[test]
    fn columns_that_the_server_lacks_are_left_out() {
        let wanted = desired(&samples::small_cloud());
        let changes = difference(&Replica::default(), &wanted, |_, column| {
            column != "ipv6_ra_configs"
        });
        assert!(
            !serde_json::to_string(&changes.operations)
                .unwrap()
                .contains("ipv6_ra_configs")
        );
    }

    proptest! {
        /// From any part of the cloud to any other in one transaction.
        #[test]
        fn one_step_is_enough(parts in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 12), 1..4)) {
            let mut server = Server::default();
            for part in parts {
                let mut topology = samples::small_cloud();
                let mut kept = part.iter();
                topology.ports.retain(|_| *kept.next().unwrap_or(&true));
                topology.networks.retain(|_| *kept.next().unwrap_or(&true));
                topology.rules.retain(|_| *kept.next().unwrap_or(&true));
                if !*kept.next().unwrap_or(&true) {
                    topology.routers.clear();
                }
                let wanted = desired(&topology);
                step(&mut server, &wanted);
                prop_assert_eq!(step(&mut server, &wanted), Changes::default());
            }
        }
    }
}
