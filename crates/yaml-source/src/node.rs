//! The parsed values: [`Node`] (a value and its place), [`Map`] in the order of the file.

use diagnostics::{Location, Source};
use indexmap::IndexMap;
use std::fmt;
use std::sync::Arc;

/// One YAML document and the file that it came from.
#[derive(Debug, Clone)]
pub struct Document {
    pub source: Arc<Source>,
    pub root: Node,
}

impl Document {
    /// A file without any document: a null at its beginning.
    pub(crate) fn empty(file_name: &str, text: &str) -> Self {
        let source = Arc::new(Source::new(file_name, text));
        let span = Span::new(source.clone(), 1, 1, 0);
        Self {
            source,
            root: Node::new(span, Value::Null),
        }
    }
}

/// Where something stands. Lines and columns count from 1, columns and length in characters; of
/// what goes over several lines the first counts.
#[derive(Clone)]
pub struct Span {
    source: Arc<Source>,
    line: u32,
    column: u32,
    length: u32,
}

impl Span {
    /// A place in a text that another parser read, for example an inventory in INI form.
    pub fn new(source: Arc<Source>, line: usize, column: usize, length: usize) -> Self {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            source,
            line: small(line),
            column: small(column),
            length: small(length),
        }
    }

    pub fn file(&self) -> &str {
        self.source.name()
    }

    pub fn line(&self) -> usize {
        self.line as usize
    }

    pub fn column(&self) -> usize {
        self.column as usize
    }

    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The place as messages show it, with the text of its line.
    pub fn location(&self) -> Location {
        self.source
            .location(self.line(), self.column(), self.length())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line, self.column)
    }
}

impl From<&Span> for Location {
    fn from(span: &Span) -> Self {
        span.location()
    }
}

/// A value and its place. Nodes are equal if their values are; the place does not count.
#[derive(Debug, Clone)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

impl Node {
    pub fn new(span: Span, value: Value) -> Self {
        Self { span, value }
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Seq(Vec<Node>),
    Map(Map),
    /// A tag that is not YAML's own, with its `!`, and what it stands before. A scalar behind such a
    /// tag is always a [`Value::String`], as its meaning is the tag's business.
    Tagged(String, Box<Node>),
}

/// A map in the order of the file. Merge keys (`<<`) are already resolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    entries: IndexMap<String, (Key, Node)>,
}

/// A key of a [`Map`]. Two keys with the same text are duplicates, even if one is a number.
#[derive(Debug, Clone)]
pub struct Key {
    pub span: Span,
    /// The key as it was written, without quotes.
    pub text: String,
    /// The key read as a scalar: `80` is a number, `on` a boolean.
    pub value: Value,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Map {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|(_, node)| node)
    }

    /// The key as it stands in the file, and its value.
    pub fn get_entry(&self, key: &str) -> Option<(&Key, &Node)> {
        self.entries.get(key).map(|(key, node)| (key, node))
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Node)> + Clone {
        self.entries.values().map(|(key, node)| (key, node))
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Key> + Clone {
        self.entries.values().map(|(key, _)| key)
    }

    /// Adds an entry, or replaces the one of the same key in its place.
    pub fn insert(&mut self, key: Key, value: Node) {
        self.entries.insert(key.text.clone(), (key, value));
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Key, &'a Node);
    type IntoIter = std::iter::Map<
        indexmap::map::Values<'a, String, (Key, Node)>,
        fn(&'a (Key, Node)) -> (&'a Key, &'a Node),
    >;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.values().map(|(key, node)| (key, node))
    }
}
