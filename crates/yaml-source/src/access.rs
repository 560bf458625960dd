//! Reading a document by hand: typed accessors that collect faults instead of stopping at the first.
//!
//! `what` names the thing for the message, as in "`nics` of host `node-1`".

use crate::{Key, Map, Node, Span, Value};
use diagnostics::{Diagnostic, Diagnostics};

/// What has a place and can be complained about.
pub trait Fault {
    /// An error at this place.
    fn error(&self, message: impl Into<String>) -> Diagnostic;
    /// A warning at this place.
    fn warning(&self, message: impl Into<String>) -> Diagnostic;
}

impl Fault for Span {
    fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(self)
    }
    fn warning(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(message).at(self)
    }
}

impl Fault for Node {
    fn error(&self, message: impl Into<String>) -> Diagnostic {
        self.span.error(message)
    }
    fn warning(&self, message: impl Into<String>) -> Diagnostic {
        self.span.warning(message)
    }
}

impl Fault for Key {
    fn error(&self, message: impl Into<String>) -> Diagnostic {
        self.span.error(message)
    }
    fn warning(&self, message: impl Into<String>) -> Diagnostic {
        self.span.warning(message)
    }
}

impl Node {
    /// What the value is, for messages: "a list", "text", ...
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::String(_) => "text",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
            Value::Tagged(..) => "a tagged value",
        }
    }

    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The map, if it is one; does not complain.
    pub fn map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list, if it is one; does not complain.
    pub fn seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if it is text; does not complain.
    pub fn str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The map, or a fault.
    pub fn as_map(&self, what: &str, diags: &mut Diagnostics) -> Option<&Map> {
        self.wanted(self.map(), what, "a map", diags)
    }

    /// The list, or a fault.
    pub fn as_seq(&self, what: &str, diags: &mut Diagnostics) -> Option<&[Node]> {
        self.wanted(self.seq(), what, "a list", diags)
    }

    /// The text, or a fault. Numbers are not text: see [`Node::as_text`].
    pub fn as_str(&self, what: &str, diags: &mut Diagnostics) -> Option<&str> {
        self.wanted(self.str(), what, "text", diags)
    }

    /// Text or a number as text, or a fault; for what people forget to quote.
    pub fn as_text(&self, what: &str, diags: &mut Diagnostics) -> Option<String> {
        let text = match &self.value {
            Value::String(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            _ => None,
        };
        self.wanted(text, what, "text", diags)
    }

    /// The whole number, or a fault.
    pub fn as_int(&self, what: &str, diags: &mut Diagnostics) -> Option<i64> {
        let number = match &self.value {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        self.wanted(number, what, "a whole number", diags)
    }

    /// The boolean, or a fault.
    pub fn as_bool(&self, what: &str, diags: &mut Diagnostics) -> Option<bool> {
        let value = match &self.value {
            Value::Bool(value) => Some(*value),
            _ => None,
        };
        self.wanted(value, what, "`true` or `false`", diags)
    }

    fn wanted<T>(
        &self,
        value: Option<T>,
        what: &str,
        expected: &str,
        diags: &mut Diagnostics,
    ) -> Option<T> {
        if value.is_none() {
            diags.push(
                self.error(format!("{what} is {}", self.kind()))
                    .expected(expected),
            );
        }
        value
    }
}

impl Map {
    /// Complains about every key that is not among `known`, with a near one as the hint.
    pub fn check_keys(&self, what: &str, known: &[&str], diags: &mut Diagnostics) {
        for key in self.keys().filter(|key| !known.contains(&&*key.text)) {
            diags.push(
                key.error(format!("{what} has no key `{}`", key.text))
                    .expected(format!("one of {}", list(known)))
                    .suggest(&key.text, known.iter().copied()),
            );
        }
    }

    /// The value of a key that must be there. `at` is where to point if it is not, usually the key
    /// of this map in its parent.
    pub fn required(
        &self,
        key: &str,
        what: &str,
        at: &Span,
        diags: &mut Diagnostics,
    ) -> Option<&Node> {
        let value = self.get(key);
        if value.is_none() {
            diags.push(at.error(format!("{what} lacks `{key}`")));
        }
        value
    }
}

fn list(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
