//! The language of rules: `role:admin or (rule:owner and not user_id:%(user_id)s)`.
//!
//! `not` binds closest, then `and`, then `or`; these words may be written in capitals. It knows the form alone: whether the
//! rules and attributes that are named exist is looked up by `file.rs`.

use super::check::{Attribute, Check, Operand};
use diagnostics::did_you_mean;

/// How deep parentheses and `not` may be nested.
const DEPTH: usize = 50;

/// A rule, and what it names.
#[derive(Debug)]
pub struct Parsed {
    pub check: Check,
    /// In the order of the text.
    pub mentions: Vec<Mention>,
}

/// Something that a rule names, and where: the place of the whole check, in characters from the beginning of the text.
#[derive(Debug, Clone)]
pub struct Mention {
    pub at: usize,
    pub length: usize,
    pub what: Mentioned,
}

/// What can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mentioned {
    Rule(String),
    /// A part of the request.
    Target(String),
}

/// What is wrong with a rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub length: usize,
    pub message: String,
    pub expected: Option<String>,
    pub hint: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Fault {
            at: 0,
            length: 0,
            message: message.into(),
            expected: None,
            hint: None,
        }
    }

    fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn over(mut self, at: usize, length: usize) -> Self {
        (self.at, self.length) = (at, length);
        self
    }
}

/// Reads a rule.
///
/// # Errors
/// Every check that is wrong by itself; if there is none, the first place where they do not fit together.
pub fn parse(text: &str) -> Result<Parsed, Vec<Fault>> {
    let words = words(text)?;
    let length = text.chars().count();
    let mut parser = Parser {
        words: &words,
        at: 0,
        end: length,
    };
    if words.is_empty() {
        return Err(vec![Fault::new("the rule is empty").expected(
            "`\"@\"` for everybody with a token, or `\"!\"` for nobody, in quotes",
        )]);
    }
    let check = parser.any(0).map_err(|fault| vec![fault])?;
    if let Some(word) = parser.peek() {
        let fault = match word.what {
            What::Close => Fault::new("this parenthesis was not opened"),
            _ => Fault::new("two checks stand side by side").expected("`and` or `or` between them"),
        };
        return Err(vec![fault.over(word.at, word.length)]);
    }
    let mentions = words.iter().filter_map(mention).collect();
    Ok(Parsed { check, mentions })
}

fn mention(word: &Word) -> Option<Mention> {
    let what = match &word.what {
        What::Check(Check::Rule(name)) => Mentioned::Rule(name.clone()),
        What::Check(Check::Literal(_, name) | Check::Token(_, Operand::Target(name))) => {
            Mentioned::Target(name.clone())
        }
        _ => return None,
    };
    Some(Mention {
        at: word.at,
        length: word.length,
        what,
    })
}

struct Word {
    at: usize,
    length: usize,
    what: What,
}

#[derive(PartialEq)]
enum What {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(Check),
}

fn words(text: &str) -> Result<Vec<Word>, Vec<Fault>> {
    let chars: Vec<char> = text.chars().collect();
    let (mut words, mut faults) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(first) = chars.get(at) {
        if first.is_whitespace() {
            at += 1;
            continue;
        }
        let length = match first {
            '(' | ')' => 1,
            _ => word_length(&chars[at..]),
        };
        let word: String = chars[at..at + length].iter().collect();
        let what = match &*word.to_ascii_lowercase() {
            "(" => Ok(What::Open),
            ")" => Ok(What::Close),
            "and" => Ok(What::And),
            "or" => Ok(What::Or),
            "not" => Ok(What::Not),
            _ => single(&word).map(What::Check),
        };
        match what {
            Ok(what) => words.push(Word { at, length, what }),
            Err(fault) => faults.push(fault.over(at, length)),
        }
        at += length;
    }
    if faults.is_empty() {
        Ok(words)
    } else {
        Err(faults)
    }
}

/// Up to a blank or a parenthesis, but `%(...)` and what is in quotes belong to the word. At least 1.
fn word_length(chars: &[char]) -> usize {
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        let closing = match c {
            '%' if chars.get(at + 1) == Some(&'(') => ')',
            '\'' | '"' if at == 0 || chars[at - 1] == ':' => *c,
            ')' | '(' => break,
            c if c.is_whitespace() => break,
            _ => {
                at += 1;
                continue;
            }
        };
        let rest = &chars[at + 1..];
        at += 1 + rest
            .iter()
            .position(|c| *c == closing)
            .map_or(rest.len(), |end| end + 1);
    }
    at.max(1)
}

/// A check without `and`, `or`, `not` and parentheses.
fn single(word: &str) -> Result<Check, Fault> {
    match word {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ => {}
    }
    if let Some(quote) = word.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        return literal(word, quote);
    }
    let Some((kind, value)) = word.split_once(':') else {
        return Err(Fault::new(format!("`{word}` is no check"))
            .expected("`role:NAME`, `rule:NAME`, `user_id:%(user_id)s`, `@`, `!`, ...")
            .hint(format!(
                "a role is `role:{word}`, another rule `rule:{word}`"
            )));
    };
    match kind {
        "role" => Ok(Check::Role(name(value, "a role")?)),
        "rule" => Ok(Check::Rule(name(value, "a rule")?)),
        "is_admin" => match value {
            "True" | "true" | "1" => Ok(Check::IsAdmin(true)),
            "False" | "false" | "0" => Ok(Check::IsAdmin(false)),
            _ => Err(Fault::new(format!("`is_admin` is never `{value}`"))
                .expected("`is_admin:True` or `is_admin:False`")),
        },
        "http" | "https" => Err(Fault::new("no other server is asked about a policy")
            .hint("write what it would decide by as roles, and give those to users")),
        "field" => Err(unknowable(word)),
        _ => match Attribute::by_name(kind) {
            Some(attribute) => Ok(Check::Token(attribute, operand(attribute, value)?)),
            None => Err(strange(kind, value)),
        },
    }
}

/// The hint for what only a handler can know.
pub fn unknowable(what: &str) -> Fault {
    Fault::new(format!(
        "`{what}` asks for an object that is not looked at yet"
    ))
    .expected("roles, parts of the token, or parameters of the path")
    .hint("what belongs to whom is held by the service itself: others' objects are not found")
}

fn strange(kind: &str, value: &str) -> Fault {
    let fault = Fault::new(format!("`{kind}` is no part of a token"));
    let known = || Attribute::NAMES.iter().map(|(name, _)| *name);
    let mut words: Vec<&str> = ["role", "rule", "is_admin"].into();
    words.extend(known());
    let listed: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let fault = fault.expected(format!("one of {}", listed.join(", ")));
    if let Some(near) = did_you_mean(kind, words) {
        fault.hint(format!("did you mean `{near}:{value}`?"))
    } else if value.starts_with("%(") {
        fault.hint(format!(
            "a text that is compared stands in quotes: `'{kind}':{value}`"
        ))
    } else {
        fault
    }
}

fn name(text: &str, what: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new(format!("the name of {what} is missing")));
    }
    if text.contains(['%', '(', ')', '\'', '"']) {
        return Err(Fault::new(format!("`{text}` is no name of {what}"))
            .expected("the name itself, without quotes, percent signs and parentheses"));
    }
    Ok(text.to_owned())
}

fn operand(attribute: Attribute, text: &str) -> Result<Operand, Fault> {
    if text.starts_with('%') {
        return target(text).map(Operand::Target);
    }
    if attribute == Attribute::SystemScope && text != "all" {
        return Err(
            Fault::new(format!("there is no scope `{text}` of a system"))
                .expected("`system_scope:all`"),
        );
    }
    name(text, "something that is compared").map(Operand::Text)
}

/// `%(NAME)s`
fn target(text: &str) -> Result<String, Fault> {
    let inner = text
        .strip_prefix("%(")
        .and_then(|rest| rest.strip_suffix(")s"));
    match inner {
        Some(name)
            if !name.is_empty()
                && !name.contains(|c: char| c.is_whitespace() || "()%'\"".contains(c)) =>
        {
            Ok(name.to_owned())
        }
        _ => {
            Err(Fault::new(format!("`{text}` names no part of the request")).expected("`%(NAME)s`"))
        }
    }
}

/// `'x':%(NAME)s`
fn literal(word: &str, quote: char) -> Result<Check, Fault> {
    let Some((text, rest)) = word[1..].split_once(quote) else {
        return Err(Fault::new("this quote is not closed"));
    };
    match rest.strip_prefix(':') {
        Some(value) => Ok(Check::Literal(text.to_owned(), target(value)?)),
        None => Err(Fault::new("a text alone is no check").expected("`'TEXT':%(NAME)s`")),
    }
}

struct Parser<'a> {
    words: &'a [Word],
    at: usize,
    /// Length of the text.
    end: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Word> {
        self.words.get(self.at)
    }

    fn took(&mut self, what: &What) -> bool {
        let there = self.peek().is_some_and(|word| word.what == *what);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self, depth: usize) -> Result<Check, Fault> {
        let mut parts = vec![self.all(depth)?];
        while self.took(&What::Or) {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Check::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Check, Fault> {
        let mut parts = vec![self.one(depth)?];
        while self.took(&What::And) {
            parts.push(self.one(depth)?);
        }
        Ok(one_or(parts, Check::All))
    }

    fn one(&mut self, depth: usize) -> Result<Check, Fault> {
        let Some(word) = self.peek() else {
            return Err(Fault::new("a check is missing at the end").over(self.end, 0));
        };
        if depth > DEPTH {
            return Err(
                Fault::new(format!("more than {DEPTH} parentheses within one another"))
                    .over(word.at, word.length),
            );
        }
        self.at += 1;
        match &word.what {
            What::Check(check) => Ok(check.clone()),
            What::Not => Ok(Check::Not(Box::new(self.one(depth + 1)?))),
            What::Open => {
                let inner = self.any(depth + 1)?;
                if self.took(&What::Close) {
                    return Ok(inner);
                }
                Err(match self.peek() {
                    Some(next) => Fault::new("two checks stand side by side")
                        .expected("`and` or `or` between them")
                        .over(next.at, next.length),
                    None => Fault::new("this parenthesis is not closed").over(word.at, 1),
                })
            }
            What::And | What::Or | What::Close => {
                Err(Fault::new("a check is missing before this").over(word.at, word.length))
            }
        }
    }
}

fn one_or(mut parts: Vec<Check>, several: fn(Vec<Check>) -> Check) -> Check {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            several(parts)
        }
        None => Check::Never,
    }
}
