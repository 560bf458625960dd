//! Inventories in INI form: `[group]` with hosts and their variables, `[group:children]`, `[group:vars]`.
//!
//! What the variables mean is not known here.

use crate::hosts_file::HostsFile;
use crate::literal;
use diagnostics::{Diagnostics, Source, did_you_mean};
use std::sync::Arc;
use yaml_source::{Fault, Key, Map, Node, Span, Value};

enum Section {
    Hosts(String),
    Children(String),
    Vars(String),
}

/// Takes a text into `file`; every fault of it with line and column.
pub(crate) fn read(name: &str, text: &str, file: &mut HostsFile, diags: &mut Diagnostics) {
    let source = Arc::new(Source::new(name, text));
    let mut section = Section::Hosts("ungrouped".to_owned());
    // Groups that are named before they are defined, and where.
    let mut promised: Vec<(String, Span, &str)> = Vec::new();
    let mut defined: Vec<String> = vec!["all".to_owned(), "ungrouped".to_owned()];
    defined.extend(file.groups.0.keys().cloned());
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let column = raw.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let span = |from: usize, length: usize| {
            Span::new(source.clone(), index + 1, column + from, length.max(1))
        };
        let whole = span(0, line.chars().count());
        if line.starts_with('[') && !is_bracketed_host(line) {
            match header(line) {
                Ok(Section::Hosts(group)) => {
                    file.group_entry(&group, &whole);
                    defined.push(group.clone());
                    section = Section::Hosts(group);
                }
                Ok(Section::Children(group)) => {
                    file.group_entry(&group, &whole);
                    defined.push(group.clone());
                    section = Section::Children(group);
                }
                Ok(Section::Vars(group)) => {
                    promised.push((group.clone(), whole.clone(), "vars"));
                    section = Section::Vars(group);
                }
                Err(why) => {
                    let fault = whole.error(format!("the section `{line}` {why}"));
                    diags.push(fault.expected("`[GROUP]`, `[GROUP:children]` or `[GROUP:vars]`"));
                }
            }
            continue;
        }
        match &section {
            Section::Hosts(group) => host(group, line, &span, file, diags),
            Section::Children(group) => {
                let child = line.split('#').next().unwrap_or_default().trim();
                if child.is_empty() || child.contains(char::is_whitespace) {
                    diags.push(whole.error(format!("`{line}` is not the name of one group")));
                    continue;
                }
                promised.push((child.to_owned(), whole.clone(), "children"));
                file.group_entry(child, &whole);
                file.group_entry(group, &whole)
                    .children
                    .insert(child.to_owned());
            }
            Section::Vars(group) => match line.split_once('=') {
                Some((name, value)) => {
                    let (name, value) = (name.trim(), value.trim());
                    let key = key(name, &span(0, name.chars().count()));
                    let value = literal::value(value, &whole);
                    file.group_entry(group, &whole).vars.insert(key, value);
                }
                None => {
                    let fault = whole.error(format!("`{line}` is no variable"));
                    diags.push(fault.expected("`name=value`"));
                }
            },
        }
    }
    for (group, span, what) in promised {
        if !defined.contains(&group) {
            let fault = span.error(format!("there is no group `{group}` for these {what}"));
            let near = did_you_mean(&group, defined.iter().map(String::as_str));
            diags.push(match near {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("a section `[{group}]` defines it")),
            });
        }
    }
}

/// `[2001:db8::1]:22` and `[a:c].example.org`: what follows the bracket at once belongs to a host's name.
fn is_bracketed_host(line: &str) -> bool {
    let after = line.split_once(']').map(|(_, after)| after);
    after.is_some_and(|after| after.starts_with(|c: char| c != '#' && !c.is_whitespace()))
}

fn header(line: &str) -> Result<Section, String> {
    let inner = line.strip_prefix('[').unwrap_or(line);
    let Some((inner, after)) = inner.split_once(']') else {
        return Err("has no closing `]`".to_owned());
    };
    let after = after.trim();
    if !after.is_empty() && !after.starts_with('#') {
        return Err(format!("is followed by `{after}`"));
    }
    let (group, kind) = match inner.split_once(':') {
        Some((group, kind)) => (group, kind),
        None => (inner, "hosts"),
    };
    if group.is_empty() || group.contains(char::is_whitespace) {
        return Err(format!("names no group: `{group}`"));
    }
    let group = group.to_owned();
    match kind {
        "hosts" => Ok(Section::Hosts(group)),
        "children" => Ok(Section::Children(group)),
        "vars" => Ok(Section::Vars(group)),
        other => Err(match did_you_mean(other, ["children", "vars", "hosts"]) {
            Some(near) => format!("has the unknown kind `{other}`; did you mean `{near}`?"),
            None => format!("has the unknown kind `{other}`"),
        }),
    }
}

fn key(text: &str, span: &Span) -> Key {
    Key {
        span: span.clone(),
        text: text.to_owned(),
        value: Value::String(text.to_owned()),
    }
}

/// `web[01:20].example.org:2222 port=80 motd='two words'   # remark`
fn host(
    group: &str,
    line: &str,
    span: &dyn Fn(usize, usize) -> Span,
    file: &mut HostsFile,
    diags: &mut Diagnostics,
) {
    let words = match words(line) {
        Ok(words) => words,
        Err(at) => {
            diags.push(span(at, 1).error("this quote is not closed"));
            return;
        }
    };
    let Some(((at, name), rest)) = words.split_first() else {
        return;
    };
    let name_span = span(*at, name.chars().count());
    let mut vars = Map::default();
    let (name, port) = split_port(name);
    if let Some(port) = port {
        let value = Node::new(name_span.clone(), Value::Int(i64::from(port)));
        vars.insert(key("ansible_port", &name_span), value);
    }
    for (at, word) in rest {
        let place = span(*at, word.chars().count());
        match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                vars.insert(key(name, &place), literal::value(value, &place));
            }
            _ => diags.push(
                place
                    .error(format!("`{word}` is no variable of the host `{name}`"))
                    .expected("`name=value`, one host a line"),
            ),
        }
    }
    file.group_entry(group, &name_span);
    let node = Node::new(name_span.clone(), Value::Map(vars));
    file.host(group, &key(name, &name_span), &node, diags);
}

/// The port behind a name; the colons of ranges and of IPv6 addresses are none of its business.
fn split_port(name: &str) -> (&str, Option<u16>) {
    if let Some((head, port)) = name.rsplit_once(':')
        && let Ok(port) = port.parse::<u16>()
        && !head.is_empty()
    {
        if let Some(inner) = head
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            && inner.contains(':')
            && inner.parse::<std::net::Ipv6Addr>().is_ok()
        {
            return (inner, Some(port));
        }
        let outside = head.rfind(']').map_or(head, |at| &head[at..]);
        let is_open = head.contains('[') && !head.contains(']');
        if !outside.contains(':') && !is_open {
            return (head, Some(port));
        }
    }
    (name, None)
}

/// Words as a shell splits them, with the column (from 0) at which each begins; the error is that of an open quote.
fn words(line: &str) -> Result<Vec<(usize, String)>, usize> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut word: Option<(usize, String)> = None;
    let mut quote: Option<(char, usize)> = None;
    let mut letters = line.chars().enumerate().peekable();
    while let Some((at, c)) = letters.next() {
        match (quote, c) {
            (Some((open, _)), c) if c == open => quote = None,
            (Some(('"', _)), '\\') | (None, '\\') => {
                let escaped = letters.next().map(|(_, c)| c);
                let into = &mut word.get_or_insert((at, String::new())).1;
                match (quote, escaped) {
                    (Some(_), Some(c)) if c != '"' && c != '\\' => into.extend(['\\', c]),
                    (_, Some(c)) => into.push(c),
                    (_, None) => into.push('\\'),
                }
            }
            (Some(_), c) => word.get_or_insert((at, String::new())).1.push(c),
            (None, '\'' | '"') => {
                quote = Some((c, at));
                word.get_or_insert((at, String::new()));
            }
            (None, '#') => break,
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (None, c) => word.get_or_insert((at, String::new())).1.push(c),
        }
    }
    if let Some((_, at)) = quote {
        return Err(at);
    }
    out.extend(word);
    Ok(out)
}
