//! Values as YAML, in the very form in which Ansible's `to_yaml` and `to_nice_yaml` (that is, PyYAML) write them: a file
//! made from a template must not change because another program wrote it.
use serde_json::Value as Json;

/// How it is to be written.
pub(super) struct Style {
    pub indent: usize,
    /// `Some(false)`: everything in blocks; `None`: collections of scalars on one line.
    pub flow: Option<bool>,
    pub width: usize,
    pub sort_keys: bool,
}

pub(super) fn write(value: &Json, style: &Style) -> String {
    let mut emitter = Emitter {
        style,
        out: String::new(),
        column: 0,
        whitespace: true,
        indention: true,
        indent: None,
        flow_level: 0,
    };
    emitter.node(value, Place::Root);
    if emitter.column != 0 {
        emitter.out.push('\n');
    }
    emitter.out
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Sequence,
    Mapping,
    Key,
}

/// The state of PyYAML's emitter: what decides where lines break.
struct Emitter<'a> {
    style: &'a Style,
    out: String,
    column: usize,
    whitespace: bool,
    indention: bool,
    indent: Option<usize>,
    flow_level: usize,
}

impl Emitter<'_> {
    fn node(&mut self, value: &Json, place: Place) {
        match value {
            Json::Array(items) => {
                if self.flows(value) {
                    self.flow_sequence(items);
                } else {
                    self.block_sequence(items, place);
                }
            }
            Json::Object(map) => {
                let mut pairs: Vec<(&String, &Json)> = map.iter().collect();
                if self.style.sort_keys {
                    pairs.sort_by_key(|(key, _)| key.as_str());
                }
                if self.flows(value) {
                    self.flow_mapping(&pairs);
                } else {
                    self.block_mapping(&pairs);
                }
            }
            Json::String(text) => {
                let before = self.increase(true, false);
                self.text(text, place == Place::Key);
                self.indent = before;
            }
            other => {
                let text = scalar(other);
                self.write(&text);
            }
        }
    }

    fn flows(&self, value: &Json) -> bool {
        let leaf = |item: &Json| !item.is_array() && !item.is_object();
        let (empty, all_scalars) = match value {
            Json::Array(items) => (items.is_empty(), items.iter().all(leaf)),
            Json::Object(map) => (map.is_empty(), map.values().all(leaf)),
            _ => (false, false),
        };
        self.flow_level > 0 || empty || self.style.flow.unwrap_or(all_scalars)
    }

    fn increase(&mut self, flow: bool, indentless: bool) -> Option<usize> {
        let before = self.indent;
        self.indent = match self.indent {
            None => Some(if flow { self.style.indent } else { 0 }),
            Some(indent) if !indentless => Some(indent + self.style.indent),
            same => same,
        };
        before
    }

    fn block_sequence(&mut self, items: &[Json], place: Place) {
        let indentless = place == Place::Mapping && !self.indention;
        let before = self.increase(false, indentless);
        for item in items {
            self.new_line();
            self.indicator("-", true, false, true);
            self.node(item, Place::Sequence);
        }
        self.indent = before;
    }

    fn block_mapping(&mut self, pairs: &[(&String, &Json)]) {
        let before = self.increase(false, false);
        for (key, value) in pairs {
            self.new_line();
            if is_simple(key) {
                self.node(&Json::String((*key).clone()), Place::Key);
                self.indicator(":", false, false, false);
            } else {
                self.indicator("?", true, false, true);
                self.node(&Json::String((*key).clone()), Place::Mapping);
                self.new_line();
                self.indicator(":", true, false, true);
            }
            self.node(value, Place::Mapping);
        }
        self.indent = before;
    }

    fn flow_sequence(&mut self, items: &[Json]) {
        self.indicator("[", true, true, false);
        self.flow_level += 1;
        let before = self.increase(true, false);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.indicator(",", false, false, false);
            }
            if self.column > self.style.width {
                self.new_line();
            }
            self.node(item, Place::Sequence);
        }
        self.indent = before;
        self.flow_level -= 1;
        self.indicator("]", false, false, false);
    }

    fn flow_mapping(&mut self, pairs: &[(&String, &Json)]) {
        self.indicator("{", true, true, false);
        self.flow_level += 1;
        let before = self.increase(true, false);
        for (index, (key, value)) in pairs.iter().enumerate() {
            if index > 0 {
                self.indicator(",", false, false, false);
            }
            if self.column > self.style.width {
                self.new_line();
            }
            if is_simple(key) {
                self.node(&Json::String((*key).clone()), Place::Key);
                self.indicator(":", false, false, false);
            } else {
                self.indicator("?", true, false, false);
                self.node(&Json::String((*key).clone()), Place::Mapping);
                self.indicator(":", true, false, false);
            }
            self.node(value, Place::Mapping);
        }
        self.indent = before;
        self.flow_level -= 1;
        self.indicator("}", false, false, false);
    }

    fn indicator(&mut self, text: &str, needs_space: bool, whitespace: bool, indention: bool) {
        if needs_space && !self.whitespace {
            self.push(" ");
        }
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
        self.push(text);
    }

    fn push(&mut self, text: &str) {
        self.column += text.chars().count();
        self.out.push_str(text);
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.whitespace = true;
        self.indention = true;
    }

    fn new_line(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break();
        }
        if self.column < indent {
            self.whitespace = true;
            let blanks = " ".repeat(indent - self.column);
            self.push(&blanks);
        }
    }

    /// A scalar that needs no quotes and no folding.
    fn write(&mut self, text: &str) {
        if !self.whitespace {
            self.push(" ");
        }
        self.whitespace = false;
        self.indention = false;
        self.push(text);
    }

    fn text(&mut self, text: &str, key: bool) {
        let about = Analysis::of(text);
        let plain = match self.flow_level > 0 {
            true => about.flow_plain,
            false => about.block_plain,
        };
        if plain && !is_other_type(text) && !(key && about.multiline) {
            self.plain(text, !key);
        } else if about.single_quoted && !(key && about.multiline) {
            self.single_quoted(text, !key);
        } else {
            self.double_quoted(text, !key);
        }
    }

    fn plain(&mut self, text: &str, split: bool) {
        if !self.whitespace {
            self.push(" ");
        }
        self.whitespace = false;
        self.indention = false;
        for piece in pieces(text) {
            match piece {
                Piece::Spaces(1) if self.column > self.style.width && split => {
                    self.new_line();
                    self.whitespace = false;
                    self.indention = false;
                }
                Piece::Spaces(count) => self.push(&" ".repeat(count)),
                Piece::Breaks(count) => self.breaks(count),
                Piece::Word(word) => self.push(word),
            }
        }
    }

    /// Line breaks inside a folded scalar: one stands for a blank, so one more is written.
    fn breaks(&mut self, count: usize) {
        for _ in 0..=count {
            self.line_break();
        }
        self.new_line();
    }

    fn single_quoted(&mut self, text: &str, split: bool) {
        self.indicator("'", true, false, false);
        let all = pieces(text);
        let last = all.len().saturating_sub(1);
        for (index, piece) in all.into_iter().enumerate() {
            match piece {
                Piece::Spaces(1)
                    if self.column > self.style.width && split && index != 0 && index != last =>
                {
                    self.new_line();
                }
                Piece::Spaces(count) => self.push(&" ".repeat(count)),
                Piece::Breaks(count) => self.breaks(count),
                Piece::Word(word) => self.push(&word.replace('\'', "''")),
            }
        }
        self.indicator("'", false, false, false);
    }

    fn double_quoted(&mut self, text: &str, split: bool) {
        self.indicator("\"", true, false, false);
        let letters: Vec<char> = text.chars().collect();
        let mut start = 0;
        let mut end = 0;
        while end <= letters.len() {
            let c = letters.get(end).copied();
            let plain = c.is_some_and(|c| !matches!(c, '"' | '\\') && is_printable(c));
            if !plain {
                if start < end {
                    let piece: String = letters[start..end].iter().collect();
                    self.push(&piece);
                    start = end;
                }
                if let Some(c) = c {
                    self.push(&escaped(c));
                    start = end + 1;
                }
            }
            if 0 < end
                && end + 1 < letters.len()
                && (c == Some(' ') || start >= end)
                && self.column + (end.saturating_sub(start)) > self.style.width
                && split
            {
                let mut piece: String = letters
                    .get(start..end)
                    .map(|rest| rest.iter().collect())
                    .unwrap_or_default();
                piece.push('\\');
                start = start.max(end);
                self.push(&piece);
                self.new_line();
                self.whitespace = false;
                self.indention = false;
                if letters.get(start) == Some(&' ') {
                    self.push("\\");
                }
            }
            end += 1;
        }
        self.indicator("\"", false, false, false);
    }
}

/// A key that stands on its line, without `?`.
fn is_simple(key: &str) -> bool {
    key.chars().count() < 128 && !key.contains(['\n', '\u{85}', '\u{2028}', '\u{2029}'])
}

fn escaped(c: char) -> String {
    let named = match c {
        '\0' => "0",
        '\x07' => "a",
        '\x08' => "b",
        '\t' => "t",
        '\n' => "n",
        '\x0b' => "v",
        '\x0c' => "f",
        '\r' => "r",
        '\x1b' => "e",
        '"' => "\"",
        '\\' => "\\",
        '\u{85}' => "N",
        '\u{a0}' => "_",
        '\u{2028}' => "L",
        '\u{2029}' => "P",
        _ => "",
    };
    match (named, u32::from(c)) {
        ("", code @ 0..=0xff) => format!("\\x{code:02X}"),
        ("", code @ 0..=0xffff) => format!("\\u{code:04X}"),
        ("", code) => format!("\\U{code:08X}"),
        (named, _) => format!("\\{named}"),
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
        && c != '\u{feff}'
}

enum Piece<'a> {
    Word(&'a str),
    Spaces(usize),
    Breaks(usize),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    let kind = |c: char| match c {
        ' ' => 1,
        '\n' => 2,
        _ => 0,
    };
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        out.push(match kind(first) {
            1 => Piece::Spaces(run.len()),
            2 => Piece::Breaks(run.len()),
            _ => Piece::Word(run),
        });
        rest = tail;
    }
    out
}

struct Analysis {
    multiline: bool,
    flow_plain: bool,
    block_plain: bool,
    single_quoted: bool,
}

impl Analysis {
    /// PyYAML's rules of what may be written how.
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Analysis {
                multiline: false,
                flow_plain: false,
                block_plain: false,
                single_quoted: true,
            };
        }
        let letters: Vec<char> = text.chars().collect();
        let space = |at: usize| {
            letters
                .get(at)
                .is_none_or(|c| " \t\n\r\u{85}\u{2028}\u{2029}\0".contains(*c))
        };
        let marks = text.starts_with("---") || text.starts_with("...");
        let (mut flow, mut block) = (marks, marks);
        let (mut breaks, mut special) = (false, false);
        let (mut space_break, mut break_space) = (false, false);
        let mut before = None;
        for (at, &c) in letters.iter().enumerate() {
            if at == 0 {
                match c {
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\''
                    | '"' | '%' | '@' | '`' => (flow, block) = (true, true),
                    '?' | ':' => {
                        flow = true;
                        block |= space(1);
                    }
                    '-' if space(1) => (flow, block) = (true, true),
                    _ => {}
                }
            } else {
                match c {
                    ',' | '?' | '[' | ']' | '{' | '}' => flow = true,
                    ':' => {
                        flow = true;
                        block |= space(at + 1);
                    }
                    '#' if space(at - 1) => (flow, block) = (true, true),
                    _ => {}
                }
            }
            let breaking = matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
            breaks |= breaking;
            if !(c == '\n' || is_printable(c) || c == '\u{85}') {
                special = true;
            }
            match (before, c) {
                (Some(' '), '\n') => space_break = true,
                (Some('\n'), ' ') => break_space = true,
                _ => {}
            }
            before = Some(c);
        }
        let ends = |c: Option<&char>| matches!(c, Some(' ' | '\n'));
        let mut out = Analysis {
            multiline: breaks,
            flow_plain: !(ends(letters.first()) || ends(letters.last())),
            block_plain: !(ends(letters.first()) || ends(letters.last())),
            single_quoted: true,
        };
        if break_space {
            (out.flow_plain, out.block_plain, out.single_quoted) = (false, false, false);
        }
        if space_break || special {
            (out.flow_plain, out.block_plain, out.single_quoted) = (false, false, false);
        }
        if breaks {
            (out.flow_plain, out.block_plain) = (false, false);
        }
        out.flow_plain &= !flow;
        out.block_plain &= !block;
        out
    }
}

/// Whether YAML 1.1 would read the plain text as something other than text.
fn is_other_type(text: &str) -> bool {
    let word = matches!(
        text,
        "yes"
            | "Yes"
            | "YES"
            | "no"
            | "No"
            | "NO"
            | "true"
            | "True"
            | "TRUE"
            | "false"
            | "False"
            | "FALSE"
            | "on"
            | "On"
            | "ON"
            | "off"
            | "Off"
            | "OFF"
            | "~"
            | "null"
            | "Null"
            | "NULL"
            | ""
            | "<<"
            | "="
    );
    if word {
        return true;
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return false;
    }
    // Quoting what needs no quotes is the harmless side.
    number_form().is_none_or(|form| form.is_match(text))
}

fn number_form() -> Option<&'static regex::Regex> {
    static FORM: std::sync::OnceLock<Option<regex::Regex>> = std::sync::OnceLock::new();
    FORM.get_or_init(|| {
        let forms = [
            // whole numbers
            r"[-+]?0b[0-1_]+",
            r"[-+]?0[0-7_]+",
            r"[-+]?(?:0|[1-9][0-9_]*)",
            r"[-+]?0x[0-9a-fA-F_]+",
            r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
            // others
            r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?",
            r"\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
            r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
            r"[-+]?\.(?:inf|Inf|INF)",
            r"\.(?:nan|NaN|NAN)",
            // points in time
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
            r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
        ];
        let pattern = format!("^(?:{})$", forms.join("|"));
        regex::Regex::new(&pattern).ok()
    })
    .as_ref()
}

fn scalar(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => {
            let text = super::text::python_number(number);
            match text.contains('e') && !text.contains('.') {
                true => text.replacen('e', ".0e", 1),
                false => text,
            }
        }
        other => other.to_string(),
    }
}
