//! OVSDB values (RFC 7047 section 5.1): atoms, sets and maps, to and from JSON. A scalar is a set of one,
//! so that two spellings of one value compare equal. Knows no tables and no sockets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// One `<atom>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Atom {
    String(String),
    Integer(i64),
    Boolean(bool),
    Uuid(String),
    /// A row that is inserted in the same transaction.
    NamedUuid(String),
}

/// A column's `<value>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    Set(BTreeSet<Atom>),
    Map(BTreeMap<Atom, Atom>),
}

impl Atom {
    fn decode(value: &Value) -> Option<Atom> {
        match value {
            Value::String(text) => Some(Atom::String(text.clone())),
            Value::Bool(flag) => Some(Atom::Boolean(*flag)),
            Value::Number(number) => number.as_i64().map(Atom::Integer),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(tag), Value::String(id)] if tag == "uuid" => {
                    Some(Atom::Uuid(id.clone()))
                }
                [Value::String(tag), Value::String(id)] if tag == "named-uuid" => {
                    Some(Atom::NamedUuid(id.clone()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The atom as it goes over the wire.
    pub fn encode(&self) -> Value {
        match self {
            Atom::String(text) => json!(text),
            Atom::Integer(number) => json!(number),
            Atom::Boolean(flag) => json!(flag),
            Atom::Uuid(id) => json!(["uuid", id]),
            Atom::NamedUuid(name) => json!(["named-uuid", name]),
        }
    }
}

impl Datum {
    /// The column value of `value`, or `None` for what is not a value of RFC 7047 (or is a real number,
    /// which no column that we read has).
    pub fn decode(value: &Value) -> Option<Datum> {
        if let Value::Array(items) = value
            && let [Value::String(tag), Value::Array(members)] = items.as_slice()
        {
            if tag == "set" {
                return members
                    .iter()
                    .map(Atom::decode)
                    .collect::<Option<BTreeSet<_>>>()
                    .map(Datum::Set);
            }
            if tag == "map" {
                let pairs =
                    members
                        .iter()
                        .map(|member| match member.as_array().map(Vec::as_slice) {
                            Some([key, value]) => Some((Atom::decode(key)?, Atom::decode(value)?)),
                            _ => None,
                        });
                return pairs.collect::<Option<BTreeMap<_, _>>>().map(Datum::Map);
            }
        }
        Atom::decode(value).map(|atom| Datum::Set(BTreeSet::from([atom])))
    }

    /// The value as it goes over the wire.
    pub fn encode(&self) -> Value {
        match self {
            Datum::Set(atoms) => match atoms.iter().next() {
                Some(only) if atoms.len() == 1 => only.encode(),
                _ => json!(["set", atoms.iter().map(Atom::encode).collect::<Vec<_>>()]),
            },
            Datum::Map(pairs) => {
                json!([
                    "map",
                    pairs
                        .iter()
                        .map(|(key, value)| json!([key.encode(), value.encode()]))
                        .collect::<Vec<_>>()
                ])
            }
        }
    }

    /// An empty set or map: what a column holds that nobody set.
    pub fn is_empty(&self) -> bool {
        match self {
            Datum::Set(atoms) => atoms.is_empty(),
            Datum::Map(pairs) => pairs.is_empty(),
        }
    }

    /// The only string of the set.
    pub fn as_str(&self) -> Option<&str> {
        match self.only()? {
            Atom::String(text) => Some(text),
            _ => None,
        }
    }

    /// The only integer of the set.
    pub fn as_integer(&self) -> Option<i64> {
        match self.only()? {
            Atom::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The only boolean of the set.
    pub fn as_bool(&self) -> Option<bool> {
        match self.only()? {
            Atom::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The value of a string key of a map of strings.
    pub fn get(&self, key: &str) -> Option<&str> {
        match self {
            Datum::Map(pairs) => match pairs.get(&Atom::String(key.to_owned()))? {
                Atom::String(text) => Some(text),
                _ => None,
            },
            Datum::Set(_) => None,
        }
    }

    fn only(&self) -> Option<&Atom> {
        match self {
            Datum::Set(atoms) if atoms.len() == 1 => atoms.iter().next(),
            _ => None,
        }
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Datum {
        Datum::Set(BTreeSet::from([Atom::String(text.to_owned())]))
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Datum {
        Datum::Set(BTreeSet::from([Atom::String(text)]))
    }
}

impl From<i64> for Datum {
    fn from(number: i64) -> Datum {
        Datum::Set(BTreeSet::from([Atom::Integer(number)]))
    }
}

impl From<bool> for Datum {
    fn from(flag: bool) -> Datum {
        Datum::Set(BTreeSet::from([Atom::Boolean(flag)]))
    }
}

impl From<Vec<String>> for Datum {
    fn from(texts: Vec<String>) -> Datum {
        Datum::Set(texts.into_iter().map(Atom::String).collect())
    }
}

impl From<BTreeMap<String, String>> for Datum {
    fn from(pairs: BTreeMap<String, String>) -> Datum {
        Datum::Map(
            pairs
                .into_iter()
                .map(|(key, value)| (Atom::String(key), Atom::String(value)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scalar_equals_a_set_of_one() {
        assert_eq!(
            Datum::decode(&json!("a")),
            Datum::decode(&json!(["set", ["a"]]))
        );
        assert_eq!(
            Datum::decode(&json!(["uuid", "x"])).map(|datum| datum.encode()),
            Some(json!(["uuid", "x"]))
        );
        assert_eq!(
            Datum::decode(&json!(["set", []])).map(|datum| datum.is_empty()),
            Some(true)
        );
    }

    fn atom() -> impl Strategy<Value = Atom> {
        prop_oneof![
            ".*".prop_map(Atom::String),
            any::<i64>().prop_map(Atom::Integer),
            any::<bool>().prop_map(Atom::Boolean),
            "[0-9a-f]{8}".prop_map(Atom::Uuid),
        ]
    }

    proptest! {
        #[test]
        fn values_survive_the_wire(atoms in proptest::collection::btree_set(atom(), 0..5),
                                   pairs in proptest::collection::btree_map(atom(), atom(), 0..5)) {
            for datum in [Datum::Set(atoms), Datum::Map(pairs)] {
                prop_assert_eq!(Datum::decode(&datum.encode()), Some(datum));
            }
        }
    }
}
