//! Nodes as JSON values, in the order of the file.

use crate::{Map, Node, Value};
use serde_json::{Map as JsonMap, Value as Json};

impl Node {
    /// The value without places. A tagged value becomes an object with the tag as its only key
    /// (`!vault x` is `{"!vault": "x"}`); infinities and NaN, which JSON lacks, become text.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => match serde_json::Number::from_f64(*value) {
                Some(number) => Json::Number(number),
                None if value.is_nan() => Json::from(".nan"),
                None if *value > 0.0 => Json::from(".inf"),
                None => Json::from("-.inf"),
            },
            Value::String(value) => Json::from(value.as_str()),
            Value::Seq(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(map) => Json::Object(map.to_json()),
            Value::Tagged(tag, inner) => {
                Json::Object(JsonMap::from_iter([(tag.clone(), inner.to_json())]))
            }
        }
    }
}

impl Map {
    /// The map without places; keys are as they were written.
    pub fn to_json(&self) -> JsonMap<String, Json> {
        self.iter()
            .map(|(key, node)| (key.text.clone(), node.to_json()))
            .collect()
    }
}
