//! `serde` on top of nodes: any `Deserialize` type can be read, and a fault points to its place.

use crate::{Key, Map, Node, Span, Value};
use diagnostics::{Diagnostic, did_you_mean};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use std::fmt;

impl Node {
    /// Reads the node into a type.
    ///
    /// # Errors
    /// The first fault that `serde` finds, at its line and column.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Diagnostic> {
        T::deserialize(self).map_err(|error| {
            let Error {
                message,
                hint,
                span,
            } = error;
            let diagnostic = Diagnostic::error(message).at(span.as_ref().unwrap_or(&self.span));
            match hint {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            }
        })
    }
}

/// A fault on its way up; the innermost place stays.
#[derive(Debug)]
pub struct Error {
    message: String,
    hint: Option<String>,
    span: Option<Span>,
}

impl Error {
    fn at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            hint: None,
            span: None,
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        unknown("key", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        unknown("value", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("`{field}` is missing"))
    }
}

fn unknown(what: &str, word: &str, expected: &'static [&'static str]) -> Error {
    let hint = match did_you_mean(word, expected.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if expected.is_empty() => None,
        None => Some(format!("known are `{}`", expected.join("`, `"))),
    };
    Error {
        message: format!("unknown {what} `{word}`"),
        hint,
        span: None,
    }
}

impl<'de> de::Deserializer<'de> for &Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(value) => visitor.visit_str(value),
            Value::Seq(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(map) => visitor.visit_map(Entries::new(map)),
            Value::Tagged(tag, _) => Err(de::Error::custom(format!(
                "the tag `{tag}` has no meaning here"
            ))),
        }
        .map_err(|error: Error| error.at(&self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|error: Error| error.at(&self.span))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor
            .visit_newtype_struct(self)
            .map_err(|error: Error| error.at(&self.span))
    }

    /// Text, or a map with the variant's name as its only key.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::String(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Value::Map(map) if map.len() == 1 => {
                visitor.visit_enum(de::value::MapAccessDeserializer::new(Entries::new(map)))
            }
            _ => Err(de::Error::custom(format!(
                "expected text or a map with one key, not {}",
                self.kind()
            ))),
        }
        .map_err(|error: Error| error.at(&self.span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Entries<'a> {
    rest: Vec<(&'a Key, &'a Node)>,
    value: Option<&'a Node>,
}

impl<'a> Entries<'a> {
    fn new(map: &'a Map) -> Self {
        let mut rest: Vec<_> = map.iter().collect();
        rest.reverse();
        Self { rest, value: None }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.pop() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(key.text.as_str().into_deserializer())
            .map(Some)
            .map_err(|error: Error| error.at(&key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}
