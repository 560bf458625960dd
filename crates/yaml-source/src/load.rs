//! From the parser's events to nodes: anchors, merge keys, tags, limits. Keeps its own stack, so
//! that deep nesting cannot exhaust the thread's.

use crate::node::{Document, Key, Map, Node, Span, Value};
use crate::{Fault, scalar};
use diagnostics::{Diagnostic, Diagnostics, Source};
use saphyr_parser::{Event, Parser, ScalarStyle, Span as Mark, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

const MAX_DEPTH: usize = 100;
/// Values in one file after aliases are replaced: a few lines of nested aliases are enough to ask
/// for billions.
const MAX_NODES: usize = 1_000_000;

pub(crate) fn load(file_name: &str, text: &str) -> Result<Vec<Document>, Diagnostics> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Arc::new(Source::new(file_name, text));
    let mut loader = Loader {
        source: source.clone(),
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        documents: Vec::new(),
        diags: unprintable(&source),
    };
    // The parser takes a NUL for the end of the file and would drop what follows.
    if loader.diags.has_errors() {
        return Err(loader.diags);
    }
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, mark)) => loader.event(event, mark),
            Err(error) => {
                let at = error.marker();
                let mark = Mark::empty(*at);
                Err(explain(error.info()).at(&loader.span(mark)))
            }
        };
        if let Err(fatal) = step {
            loader.diags.push(fatal);
            break;
        }
    }
    let Loader {
        documents, diags, ..
    } = loader;
    diags.into_result(documents)
}

/// Characters that YAML allows only escaped (YAML 1.1 section 4.1.1).
fn unprintable(source: &Source) -> Diagnostics {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{85}') || !c.is_control();
    source
        .text()
        .lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let (column, c) = line.chars().enumerate().find(|(_, c)| !allowed(*c))?;
            let shown = u32::from(c);
            Some(
                Diagnostic::error(format!(
                    "the control character U+{shown:04X} is not allowed"
                ))
                .at(source.location(index + 1, column + 1, 1))
                .hint("write it as an escape in double quotes, such as `\"\\e\"`"),
            )
        })
        .take(20)
        .collect()
}

/// The parser's words, with the usual cause.
fn explain(info: &str) -> Diagnostic {
    let hint = match info {
        i if i.contains("mapping values are not allowed") => {
            Some("a value that holds `: ` must be quoted; else check the indentation")
        }
        i if i.contains("cannot start any token") || i.contains("tab") => {
            Some("indent with spaces; quote what begins with `@`, `%` or a backtick")
        }
        i if i.contains("unexpected end") || i.contains("while scanning a quoted") => {
            Some("a quote or bracket is not closed")
        }
        i if i.contains("simple key expect") => {
            Some("a key is followed by `:`; check the indentation")
        }
        _ => None,
    };
    let diagnostic = Diagnostic::error(format!("this is not YAML: {info}"));
    match hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

struct Loader {
    source: Arc<Source>,
    stack: Vec<Open>,
    /// Nodes by anchor, with the number of nodes in each.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    documents: Vec<Document>,
    diags: Diagnostics,
}

/// A collection whose end has not come.
struct Open {
    start: Mark,
    anchor: usize,
    tag: Option<String>,
    /// Count of nodes when it began.
    before: usize,
    content: Content,
}

enum Content {
    Seq(Vec<Node>),
    Map {
        entries: Vec<(RawKey, Node)>,
        key: Option<RawKey>,
    },
}

/// A key and whether it was written without quotes, as only then `<<` merges.
struct RawKey {
    node: Node,
    text: Option<String>,
    plain: bool,
}

impl Loader {
    fn event(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, mark)?;
                self.scalar(&text, style, anchor, tag, mark);
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(self
                        .span(mark)
                        .error("this alias stands for something that holds the alias itself"));
                };
                let (node, size) = (node.clone(), *size);
                self.count(size, mark)?;
                self.check_depth(depth(&node), mark)?;
                let text = key_text(&node);
                self.attach(node, text, false);
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(mark, anchor, tag, Content::Seq(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    key: None,
                };
                self.open(mark, anchor, tag, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(mark),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn count(&mut self, more: usize, mark: Mark) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MAX_NODES {
            return Err(self.span(mark).error(format!(
                "the file stands for more than {MAX_NODES} values; its aliases multiply"
            )));
        }
        Ok(())
    }

    fn check_depth(&self, more: usize, mark: Mark) -> Result<(), Diagnostic> {
        if self.stack.len() + more > MAX_DEPTH {
            return Err(self
                .span(mark)
                .error(format!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    fn open(
        &mut self,
        start: Mark,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        content: Content,
    ) -> Result<(), Diagnostic> {
        self.check_depth(1, start)?;
        let before = self.nodes;
        self.count(1, start)?;
        let own = match content {
            Content::Seq(_) => "seq",
            Content::Map { .. } => "map",
        };
        let tag = tag.and_then(|tag| match core_tag(&tag) {
            Some("") => None,
            Some(name) if name == own => None,
            Some(name) => {
                let fault = self
                    .span(start)
                    .error(format!("the tag `!!{name}` does not fit here"));
                self.diags.push(fault);
                None
            }
            None => Some(tag.to_string()),
        });
        self.stack.push(Open {
            start,
            anchor,
            tag,
            before,
            content,
        });
        Ok(())
    }

    fn close(&mut self, end: Mark) {
        let Some(open) = self.stack.pop() else { return };
        let span = self.span(Mark::new(open.start.start, end.end));
        let value = match open.content {
            Content::Seq(items) => Value::Seq(items),
            Content::Map { entries, .. } => Value::Map(self.map(entries)),
        };
        let mut node = Node::new(span, value);
        if let Some(tag) = open.tag {
            node = Node::new(node.span.clone(), Value::Tagged(tag, Box::new(node)));
        }
        self.remember(open.anchor, &node, self.nodes - open.before);
        self.attach(node, None, false);
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        mark: Mark,
    ) {
        let span = self.span(mark);
        let plain = style == ScalarStyle::Plain && tag.is_none();
        let string = || Value::String(text.to_owned());
        let node = match tag {
            None if plain => Node::new(span, scalar::plain(text)),
            None => Node::new(span, string()),
            Some(tag) => match core_tag(&tag) {
                Some(name) => {
                    let value = match name {
                        "" | "str" => Some(string()),
                        "int" => scalar::integer(text).map(Value::Int),
                        "float" => scalar::float(text)
                            .or_else(|| text.parse().ok())
                            .map(Value::Float),
                        "bool" => scalar::boolean(text).map(Value::Bool),
                        "null" => Some(Value::Null),
                        _ => None,
                    };
                    if value.is_none() {
                        self.diags.push(
                            span.error(format!("`{text}` cannot be read as `!!{name}`"))
                                .expected(
                                    "`!!str`, `!!int`, `!!float`, `!!bool` or `!!null` and a value of that kind",
                                ),
                        );
                    }
                    Node::new(span, value.unwrap_or(Value::Null))
                }
                None => {
                    let inner = Node::new(span.clone(), string());
                    Node::new(span, Value::Tagged(tag.to_string(), Box::new(inner)))
                }
            },
        };
        self.remember(anchor, &node, 1);
        self.attach(node, Some(text.to_owned()), plain);
    }

    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    /// Puts a finished node where it belongs. `text` is that of a scalar, as it may be a key.
    fn attach(&mut self, node: Node, text: Option<String>, plain: bool) {
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(Document {
                source: self.source.clone(),
                root: node,
            }),
            Some(Content::Seq(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match key.take() {
                None => *key = Some(RawKey { node, text, plain }),
                Some(key) => entries.push((key, node)),
            },
        }
    }

    /// Merge keys first, then the map's own: the order and precedence of PyYAML.
    fn map(&mut self, entries: Vec<(RawKey, Node)>) -> Map {
        let mut merged = Map::default();
        let mut own = Map::default();
        for (raw, value) in entries {
            if raw.plain && raw.text.as_deref() == Some("<<") {
                self.merge(&value, &mut merged);
                continue;
            }
            let (
                Some(text),
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_),
            ) = (raw.text, &raw.node.value)
            else {
                self.diags.push(
                    raw.node
                        .error(format!("{} cannot be a key", raw.node.kind()))
                        .expected("text")
                        .hint("quote a value that begins with `{{`"),
                );
                continue;
            };
            let key = Key {
                span: raw.node.span,
                text,
                value: raw.node.value,
            };
            if let Some((first, _)) = own.get_entry(&key.text) {
                self.diags.push(
                    key.error(format!("the key `{}` is given twice", key.text))
                        .related(&first.span, "first given here"),
                );
                continue;
            }
            own.insert(key, value);
        }
        if merged.is_empty() {
            return own;
        }
        for (key, value) in &own {
            merged.insert(key.clone(), value.clone());
        }
        merged
    }

    fn merge(&mut self, value: &Node, into: &mut Map) {
        let sources: Vec<&Node> = match &value.value {
            Value::Seq(items) => items.iter().rev().collect(),
            _ => vec![value],
        };
        for source in sources {
            match source.map() {
                Some(map) => {
                    for (key, node) in map {
                        into.insert(key.clone(), node.clone());
                    }
                }
                None => self.diags.push(
                    source
                        .error(format!("`<<` merges maps, and this is {}", source.kind()))
                        .expected("an alias of a map, or a list of them"),
                ),
            }
        }
    }

    /// A place; of several lines only the first counts.
    fn span(&self, mark: Mark) -> Span {
        let (line, column) = (mark.start.line().max(1), mark.start.col() + 1);
        let length = if mark.end.line() == mark.start.line() {
            mark.end.col().saturating_sub(mark.start.col())
        } else {
            let rest = self.source.line(line).unwrap_or_default();
            rest.trim_end().chars().count().saturating_sub(column - 1)
        };
        Span::new(self.source.clone(), line, column, length)
    }
}

/// Name of one of YAML's own tags (`!!str`); empty for the bare `!`, which means "not resolved".
fn core_tag(tag: &Tag) -> Option<&str> {
    if tag.is_yaml_core_schema() || tag.handle == "!!" {
        Some(&tag.suffix)
    } else if (tag.handle.is_empty() && tag.suffix == "!")
        || (tag.handle == "!" && tag.suffix.is_empty())
    {
        Some("")
    } else {
        None
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Seq(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(map) => 1 + map.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        Value::Tagged(_, inner) => depth(inner),
        _ => 0,
    }
}

/// Text of a scalar that is used as a key through an alias.
fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Null => Some(String::new()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Seq(_) | Value::Map(_) | Value::Tagged(..) => None,
    }
}
