//! Values of an inventory in INI form: a Python literal (`80`, `True`, `['a', 'b']`, `{'k': 1}`), or, where it is none,
//! text. That is how Ansible reads them; `yes` and `true` are text.

use yaml_source::{Key, Map, Node, Span, Value};

const DEPTH_MAX: usize = 50;

/// What `text` stands for. Never fails: what is no literal is text.
pub(crate) fn value(text: &str, span: &Span) -> Node {
    let mut reader = Reader {
        rest: text.trim(),
        span,
        depth: 0,
    };
    let value = match reader.value() {
        Some(value) if reader.at_end() => value,
        _ => Value::String(text.to_owned()),
    };
    Node::new(span.clone(), value)
}

struct Reader<'a> {
    rest: &'a str,
    span: &'a Span,
    depth: usize,
}

impl Reader<'_> {
    /// Nothing follows but a comment, as in Python.
    fn at_end(&mut self) -> bool {
        self.space();
        self.rest.is_empty() || self.rest.starts_with('#')
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, mark: char) -> bool {
        self.space();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.space();
        match self.rest.chars().next()? {
            '[' => self.list('[', ']').map(Value::Seq),
            '(' => self.list('(', ')').map(Value::Seq),
            '{' => self.map(),
            '\'' | '"' => self.text().map(Value::String),
            _ => self.word(),
        }
    }

    fn node(&mut self) -> Option<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let value = self.value()?;
        self.depth -= 1;
        Some(Node::new(self.span.clone(), value))
    }

    fn list(&mut self, open: char, close: char) -> Option<Vec<Node>> {
        self.eat(open);
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.node()?);
            if !self.eat(',') {
                return self.eat(close).then_some(items);
            }
        }
        Some(items)
    }

    fn map(&mut self) -> Option<Value> {
        self.eat('{');
        let mut map = Map::default();
        while !self.eat('}') {
            let key = self.node()?.value;
            let text = match &key {
                Value::String(text) => text.clone(),
                Value::Int(number) => number.to_string(),
                _ => return None,
            };
            if !self.eat(':') {
                return None;
            }
            let value = self.node()?;
            let key = Key {
                span: self.span.clone(),
                text,
                value: key,
            };
            map.insert(key, value);
            if !self.eat(',') {
                return self.eat('}').then_some(Value::Map(map));
            }
        }
        Some(Value::Map(map))
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut out = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = letters.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Some(out);
                }
                '\\' => match letters.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    c @ ('\\' | '\'' | '"') => out.push(c),
                    c => out.extend(['\\', c]),
                },
                c => out.push(c),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || ",:]})#".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(match word {
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            "None" => Value::Null,
            _ => number(word)?,
        })
    }
}

/// Python's numbers; `0644` is none, so a mode stays text.
fn number(word: &str) -> Option<Value> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let digits = digits.replace('_', "");
    let radix = |prefix: &str, radix| {
        let rest = digits.strip_prefix(prefix)?;
        i64::from_str_radix(rest, radix).ok()
    };
    if let Some(value) = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
    {
        return Some(Value::Int(sign * value));
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().any(|b| b != b'0') {
            return None;
        }
        return digits
            .parse::<i64>()
            .ok()
            .map(|value| Value::Int(sign * value));
    }
    let value: f64 = digits.parse().ok()?;
    (digits.bytes().any(|b| b.is_ascii_digit()) && value.is_finite())
        .then(|| Value::Float(sign as f64 * value))
}
