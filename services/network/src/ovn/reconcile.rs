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
