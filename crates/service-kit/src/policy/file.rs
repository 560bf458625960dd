//! A policy file, checked against the rows of a service. All faults are told at once, each with its place.
//!
//! A key is an operation, with or without the service's name before it (`identity:create_user`, `create_user`), or the name of a
//! rule that others use by `rule:NAME`; such a name has no colon.

use super::{
    attributes,
    check::Check,
    evaluate::{Overrides, without_service},
    parse::{Fault as RuleFault, Mention, Mentioned, parse, unknowable},
    rule::Rule,
};
use crate::table::Table;
use diagnostics::{Diagnostic, Diagnostics, Location, did_you_mean};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use yaml_source::{Fault, Key, Map, Node, Value};

/// Largest file.
const BYTES: usize = 1 << 20;
/// How far a rule may lead to others.
const CHAIN: usize = 32;

/// Reads a policy file for the service of a table.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn check(name: &str, text: &str, table: &Table) -> Result<Overrides, Diagnostics> {
    if text.len() > BYTES {
        return Err(Diagnostic::error(format!("`{name}` has more than {BYTES} bytes")).into());
    }
    let document = yaml_source::parse(name, text)?;
    let mut faults = Diagnostics::new();
    let empty = Map::default();
    let map = match &document.root.value {
        Value::Null => &empty,
        _ => match document.root.as_map("a policy file", &mut faults) {
            Some(map) => map,
            None => return Err(faults),
        },
    };
    let mut file = File {
        table,
        entries: BTreeMap::new(),
        written: BTreeSet::new(),
        unread: Vec::new(),
        unreadable: false,
        faults,
    };
    for (key, node) in map {
        file.entry(key, node);
    }
    file.unused();
    file.mentions();
    file.chains();
    file.targets();
    let rules = file
        .entries
        .into_iter()
        .map(|(name, entry)| (name, entry.check));
    let overrides = Overrides {
        service: table.service,
        rules: rules.collect(),
        defaults: defaults(table),
    };
    file.faults.into_result(overrides)
}

/// The rule of each operation: rows of one name have the same.
fn defaults(table: &Table) -> HashMap<&'static str, Rule> {
    table
        .rows
        .iter()
        .map(|row| (row.operation, row.rule))
        .collect()
}

/// One key with its rule.
struct Entry<'a> {
    key: &'a Key,
    node: &'a Node,
    check: Check,
    mentions: Vec<Mention>,
    names: Names,
}

/// What a key names.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Operation,
    Rule,
    /// Nothing that there is; told already.
    Nothing,
}

struct File<'a> {
    table: &'a Table,
    /// By operation or name of a rule, without the service's name.
    entries: BTreeMap<String, Entry<'a>>,
    /// Keys that are there, although their rules may be wrong.
    written: BTreeSet<String>,
    /// Keys whose rules could not be read.
    unread: Vec<(String, &'a Key)>,
    /// There is a rule that could not be read, so that nobody knows what it names.
    unreadable: bool,
    faults: Diagnostics,
}

impl<'a> File<'a> {
    fn bare<'t>(&self, name: &'t str) -> &'t str {
        without_service(name, self.table.service)
    }

    fn is_operation(&self, bare: &str) -> bool {
        self.table.operation(bare).next().is_some()
    }

    fn entry(&mut self, key: &'a Key, node: &'a Node) {
        let bare = self.bare(&key.text).to_owned();
        let mut names = match self.is_operation(&bare) {
            true => Names::Operation,
            false => Names::Rule,
        };
        if let Some(fault) = self.fault_of_key(key, &bare, names) {
            self.faults.push(fault);
            names = Names::Nothing;
        }
        self.written.insert(bare.clone());
        if let Some(first) = self.entries.get(&bare) {
            let again = key.error(format!("`{bare}` has a rule already"));
            self.faults
                .push(again.related(&first.key.span, "the first"));
            return;
        }
        match rule_of(node) {
            Ok(parsed) => {
                let entry = Entry {
                    key,
                    node,
                    check: parsed.check,
                    mentions: parsed.mentions,
                    names,
                };
                self.entries.insert(bare, entry);
            }
            Err(faults) => {
                if names == Names::Rule {
                    self.unread.push((bare, key));
                }
                self.unreadable = true;
                self.faults.extend(faults);
            }
        }
    }

    fn fault_of_key(&self, key: &Key, bare: &str, names: Names) -> Option<Diagnostic> {
        if names == Names::Operation {
            let mut rows = self.table.operation(bare);
            let fixed = rows.find(|row| row.rule == Rule::Public || row.is_internal())?;
            let error = key.error(format!("who may call `{bare}` cannot be changed"));
            return Some(if fixed.is_internal() {
                error.hint("only parts of this cloud call it")
            } else {
                error.hint("it is called without a token, so there is nobody to ask about")
            });
        }
        if Rule::by_name(bare).is_some() {
            let error = key.error(format!(
                "`{bare}` is a rule of every service and cannot be changed"
            ));
            return Some(error.hint("give the operations a rule of another name"));
        }
        if bare.contains(':') || bare.contains(char::is_whitespace) || bare.is_empty() {
            return Some(self.unknown(key, bare));
        }
        None
    }

    fn unknown(&self, key: &Key, bare: &str) -> Diagnostic {
        let service = self.table.service;
        let error = key.error(format!("{service} has no operation `{}`", key.text));
        match self.near(bare) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("`wright policy show {service}` lists all")),
        }
    }

    /// An operation of a similar name, also where upstream has further words before it: `os_compute_api:servers:create`.
    fn near(&self, name: &str) -> Option<&'static str> {
        let operations = || self.table.rows.iter().map(|row| row.operation);
        let shorter = name.split_once(':').map_or(name, |(_, rest)| rest);
        operations()
            .find(|known| *known == shorter)
            .or_else(|| did_you_mean(name, operations()))
            .or_else(|| did_you_mean(shorter, operations()))
            .or_else(|| did_you_mean(shorter.trim_start_matches("os-"), operations()))
    }

    /// A name that is no operation and that no rule uses is probably misspelt.
    fn unused(&mut self) {
        let used: BTreeSet<&str> = self
            .entries
            .values()
            .flat_map(|entry| &entry.mentions)
            .filter_map(|mention| match &mention.what {
                Mentioned::Rule(name) => Some(self.bare(name)),
                Mentioned::Target(_) => None,
            })
            .collect();
        let mut faults = Vec::new();
        let named = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.names == Names::Rule)
            .map(|(bare, entry)| (bare.as_str(), entry.key))
            .chain(self.unread.iter().map(|(bare, key)| (bare.as_str(), *key)));
        for (bare, key) in named.filter(|(bare, _)| !used.contains(bare)) {
            let service = self.table.service;
            let message = format!("`{bare}` is no operation of {service}, and no rule uses it");
            match self.near(bare) {
                Some(near) => {
                    faults.push(key.error(message).hint(format!("did you mean `{near}`?")));
                }
                // One that cannot be read may use it.
                None if self.unreadable => {}
                None => {
                    let hint = format!("`wright policy show {service}` lists all operations");
                    faults.push(key.error(message).hint(hint));
                }
            }
        }
        self.faults.extend(faults);
    }

    /// Rules that are named but not there.
    fn mentions(&mut self) {
        let mut found = Vec::new();
        for entry in self.entries.values() {
            for mention in &entry.mentions {
                let Mentioned::Rule(name) = &mention.what else {
                    continue;
                };
                let bare = self.bare(name);
                let mut rows = self.table.operation(bare).peekable();
                if rows.peek().is_some() {
                    if rows.any(|row| row.rule == Rule::Public) && !self.entries.contains_key(bare)
                    {
                        let message = format!("`{bare}` is called without a token: it has no rule");
                        found.push(Diagnostic::error(message).at(place(
                            entry.node,
                            mention.at,
                            mention.length,
                        )));
                    }
                    continue;
                }
                if self.written.contains(bare) || Rule::by_name(bare).is_some() {
                    continue;
                }
                let error = Diagnostic::error(format!("there is no rule `{name}`")).at(place(
                    entry.node,
                    mention.at,
                    mention.length,
                ));
                let own = self.written.iter().map(String::as_str);
                let kit = Rule::NAMED.iter().map(|(name, _)| *name);
                let operations = self.table.rows.iter().map(|row| row.operation);
                found.push(match did_you_mean(bare, own.chain(kit).chain(operations)) {
                    Some(near) => error.hint(format!("did you mean `rule:{near}`?")),
                    None => error.hint(format!(
                        "write it into this file, as in `{bare}: role:admin`; every service has {}",
                        Rule::NAMED
                            .map(|(name, _)| format!("`rule:{name}`"))
                            .join(", ")
                    )),
                });
            }
        }
        self.faults.extend(found);
    }

    /// The entries that the rule of an entry names.
    fn leads_to<'s>(&'s self, bare: &str) -> impl Iterator<Item = (&'s str, &'s Mention)> {
        let mentions = self
            .entries
            .get(bare)
            .into_iter()
            .flat_map(|entry| &entry.mentions);
        mentions.filter_map(|mention| match &mention.what {
            Mentioned::Rule(name) => {
                let (name, _) = self.entries.get_key_value(self.bare(name))?;
                Some((name.as_str(), mention))
            }
            Mentioned::Target(_) => None,
        })
    }

    /// Rules that lead back to themselves, or through too many others.
    fn chains(&mut self) {
        let mut lengths: HashMap<&str, usize> = HashMap::new();
        let mut found = Vec::new();
        for start in self.entries.keys() {
            let mut path = Vec::new();
            self.follow(start, &mut path, &mut lengths, &mut found);
        }
        self.faults.extend(found);
    }

    /// The length of the longest chain from an entry. Goes no deeper than [`CHAIN`], so that no file exhausts the stack.
    fn follow<'s>(
        &'s self,
        name: &'s str,
        path: &mut Vec<&'s str>,
        lengths: &mut HashMap<&'s str, usize>,
        found: &mut Vec<Diagnostic>,
    ) -> usize {
        if let Some(length) = lengths.get(name) {
            return *length;
        }
        path.push(name);
        let mut longest = 0;
        for (next, mention) in self.leads_to(name) {
            let Some(entry) = self.entries.get(name) else {
                continue;
            };
            let fault = |message: String| {
                Diagnostic::error(message).at(place(entry.node, mention.at, mention.length))
            };
            if let Some(from) = path.iter().position(|known| *known == next) {
                let mut circle: Vec<String> = path[from..]
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect();
                circle.push(format!("`{next}`"));
                found.push(fault(format!(
                    "this rule asks for itself: {}",
                    circle.join(" → ")
                )));
                continue;
            }
            let deeper = if path.len() > CHAIN {
                CHAIN
            } else {
                self.follow(next, path, lengths, found)
            };
            longest = longest.max(deeper + 1);
            if longest == CHAIN + 1 {
                found.push(fault(format!(
                    "more than {CHAIN} rules lead on to one another from here"
                )));
            }
        }
        path.pop();
        lengths.insert(name, longest);
        longest
    }

    /// Parts of the request that the paths of an operation do not have: the check would never hold.
    fn targets(&mut self) {
        let mut found: BTreeMap<(usize, usize), Diagnostic> = BTreeMap::new();
        for (bare, _) in self
            .entries
            .iter()
            .filter(|(_, entry)| entry.names == Names::Operation)
        {
            let mut reached = BTreeSet::from([bare.as_str()]);
            let mut open = vec![bare.as_str()];
            while let Some(name) = open.pop() {
                open.extend(
                    self.leads_to(name)
                        .map(|(next, _)| next)
                        .filter(|next| reached.insert(next)),
                );
                let Some(entry) = self.entries.get(name) else {
                    continue;
                };
                for mention in &entry.mentions {
                    if let Some(fault) = self.unknown_target(bare, entry, mention) {
                        let at = fault
                            .location
                            .as_ref()
                            .map_or((0, 0), |at| (at.line, at.column));
                        found.entry(at).or_insert(fault);
                    }
                }
            }
        }
        self.faults.extend(found.into_values());
    }

    fn unknown_target(
        &self,
        operation: &str,
        entry: &Entry<'_>,
        mention: &Mention,
    ) -> Option<Diagnostic> {
        let Mentioned::Target(wanted) = &mention.what else {
            return None;
        };
        for row in self.table.operation(operation) {
            let known = attributes(row.path);
            if known.iter().any(|(name, _)| name == wanted) {
                continue;
            }
            let words = unknowable(&format!("%({wanted})s"));
            let error = Diagnostic::error(format!(
                "`%({wanted})s` is not known when `{operation}` is called ({} {})",
                row.method, row.path
            ))
            .at(place(entry.node, mention.at, mention.length));
            let names: Vec<String> = known
                .iter()
                .map(|(name, _)| format!("`%({name})s`"))
                .collect();
            let error = match names.is_empty() {
                true => error.expected("nothing of the request: this path has no parameters"),
                false => error.expected(format!("one of {}", names.join(", "))),
            };
            return Some(match words.hint {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
        None
    }
}

fn rule_of(node: &Node) -> Result<super::parse::Parsed, Vec<Diagnostic>> {
    let wrong = |hint: &str| {
        let error = node.error(format!("a rule is text, and this is {}", node.kind()));
        Err(vec![error.hint(hint)])
    };
    match &node.value {
        Value::String(text) => parse(text).map_err(|faults| {
            faults
                .into_iter()
                .map(|fault| with_place(node, fault))
                .collect()
        }),
        Value::Seq(_) => wrong(
            "lists are the old form: inner lists were `and`, the outer one `or`; write `(A and B) or C`",
        ),
        Value::Null | Value::Tagged(..) => {
            wrong("`\"!\"` (nobody) and `\"@\"` (everybody with a token) stand in quotes")
        }
        _ => wrong(
            "`\"@\"` is for everybody with a token, `\"!\"` for nobody, `role:NAME` for who has the role",
        ),
    }
}

fn with_place(node: &Node, fault: RuleFault) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(fault.message).at(place(node, fault.at, fault.length));
    diagnostic.expected = fault.expected;
    diagnostic.hint = fault.hint;
    diagnostic
}

/// Where a part of a rule stands. For text that is not in the file as it is (over several lines, or with escapes) the whole.
fn place(node: &Node, at: usize, length: usize) -> Location {
    let whole = node.span.location();
    let (Some(text), Some(line)) = (node.str(), whole.excerpt.as_deref()) else {
        return whole;
    };
    let raw: String = line.chars().skip(whole.column.saturating_sub(1)).collect();
    let quoted = raw
        .strip_prefix(['"', '\''])
        .is_some_and(|rest| rest.starts_with(text));
    if !quoted && !raw.starts_with(text) {
        return whole;
    }
    Location {
        column: whole.column + at + usize::from(quoted),
        length,
        ..whole
    }
}
