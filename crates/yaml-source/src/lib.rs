//! YAML that people write (inventories, roles, HOT and CFN templates), parsed once into values that
//! know where they stand in the file.
//!
//! [`parse`] reads a file with one document, [`parse_all`] one with several. Plain scalars are read
//! as YAML 1.1 has them, because that is what the users of Ansible and Heat have in their files
//! (see `scalar.rs` for the rules). Tags that are not YAML's own (`!vault`, `!Ref`) are kept.
//!
//! This crate does not know what a document means. For checking it by hand there are accessors that
//! collect faults ([`Node::as_map`], [`Map::check_keys`], ...); [`Node::deserialize`] reads it into a
//! type with `serde`.

mod access;
mod de;
mod json;
mod load;
mod node;
mod scalar;

pub use access::Fault;
pub use node::{Document, Key, Map, Node, Span, Value};

use diagnostics::{Diagnostic, Diagnostics};

/// Reads a file that holds one document; an empty one is [`Value::Null`].
///
/// # Errors
/// All faults found: a syntax error ends the reading, the others (duplicate keys, tags of YAML's own
/// that do not fit, merges of what is no map) do not. Depth is limited to 100, and the number of
/// values after replacing aliases to a million.
pub fn parse(file_name: &str, text: &str) -> Result<Document, Diagnostics> {
    let mut documents = parse_all(file_name, text)?;
    if let Some(second) = documents.get(1) {
        return Err(Diagnostic::error("this file holds more than one document")
            .at(second.root.span.location())
            .expected("one document; `---` may stand only at the beginning")
            .into());
    }
    match documents.pop() {
        Some(document) => Ok(document),
        None => Ok(Document::empty(file_name, text)),
    }
}

/// Reads a file that may hold several documents, separated by `---`.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(file_name: &str, text: &str) -> Result<Vec<Document>, Diagnostics> {
    load::load(file_name, text)
}

#[cfg(test)]
mod tests;
