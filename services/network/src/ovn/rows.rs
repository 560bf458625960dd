//! Rows as they should be in OVN's northbound database. A row is found again by our key in its `external_ids`;
//! rows without such a key belong to somebody else and are left alone.

use std::collections::BTreeMap;
use std::fmt;

use super::datum::{Atom, Datum};

/// The key in `external_ids` that marks a row as ours and names what it stands for.
pub const OWNER_KEY: &str = "stackwright:key";

/// Tables that we write. The others are never touched.
pub const TABLES: [&str; 11] = [
    "Logical_Switch",
    "Logical_Switch_Port",
    "DHCP_Options",
    "DNS",
    "Logical_Router",
    "Logical_Router_Port",
    "Logical_Router_Static_Route",
    "NAT",
    "Gateway_Chassis",
    "Port_Group",
    "ACL",
];

/// Rows of the other tables vanish by themselves once no row refers to them.
pub fn is_root(table: &str) -> bool {
    matches!(
        table,
        "Logical_Switch" | "Logical_Router" | "DHCP_Options" | "DNS" | "Port_Group"
    )
}

/// Names a row that is to exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    pub table: &'static str,
    pub key: String,
}

/// What one column is to hold. Columns that a row does not name are left as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    Value(Datum),
    References(Vec<RowKey>),
}

/// The rows that are to exist, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub rows: BTreeMap<RowKey, BTreeMap<&'static str, Column>>,
}

impl Desired {
    /// Adds a row. `names` are further `external_ids`, for people who look at the database.
    pub fn add(
        &mut self,
        table: &'static str,
        key: impl Into<String>,
        names: &[(&str, &str)],
        columns: Vec<(&'static str, Column)>,
    ) -> RowKey {
        let key = RowKey {
            table,
            key: key.into(),
        };
        let mut ids = BTreeMap::from([(OWNER_KEY.to_owned(), key.key.clone())]);
        ids.extend(
            names
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut columns: BTreeMap<_, _> = columns.into_iter().collect();
        columns.insert("external_ids", value(ids));
        self.rows.insert(key.clone(), columns);
        key
    }
}

/// A column with a value.
pub fn value(datum: impl Into<Datum>) -> Column {
    Column::Value(datum.into())
}

/// A column that holds nothing.
pub fn nothing() -> Column {
    Column::Value(Datum::Set(Default::default()))
}

/// A column that holds at most one value.
pub fn optional(datum: Option<impl Into<Datum>>) -> Column {
    datum.map_or_else(nothing, value)
}

/// A map of strings.
pub fn map<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

impl fmt::Display for Desired {
    /// As golden tests hold it: one line a column, empty columns left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, columns) in &self.rows {
            writeln!(f, "{} {}", key.table, key.key)?;
            for (name, column) in columns {
                match column {
                    Column::Value(datum) if datum.is_empty() => {}
                    Column::Value(Datum::Set(atoms)) => {
                        let texts: Vec<_> = atoms.iter().map(atom_text).collect();
                        writeln!(f, "  {name} = {}", texts.join(", "))?;
                    }
                    Column::Value(Datum::Map(pairs)) => {
                        let own = Atom::String(OWNER_KEY.to_owned());
                        let pairs = pairs.iter().filter(|(key, _)| **key != own);
                        let texts: Vec<_> = pairs
                            .map(|(key, value)| format!("{}={}", atom_text(key), atom_text(value)))
                            .collect();
                        if !texts.is_empty() {
                            writeln!(f, "  {name} = {{{}}}", texts.join(", "))?;
                        }
                    }
                    Column::References(keys) if keys.is_empty() => {}
                    Column::References(keys) => {
                        let texts: Vec<_> = keys.iter().map(|key| key.key.as_str()).collect();
                        writeln!(f, "  {name} -> {}", texts.join(", "))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn atom_text(atom: &Atom) -> String {
    match atom {
        Atom::String(text) | Atom::Uuid(text) | Atom::NamedUuid(text) => text.clone(),
        Atom::Integer(number) => number.to_string(),
        Atom::Boolean(flag) => flag.to_string(),
    }
}
