//! A rule of a policy file as a tree, and its text. It does not know how the text is read, nor whom it lets through.

use std::fmt;

/// What is asked of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// `@`: every caller, that is everybody with a token.
    Always,
    /// `!`: nobody.
    Never,
    /// `role:NAME`: the token has this very role in its scope.
    Role(String),
    /// `rule:NAME`: another rule of the file, one of the kit's, or what holds for another operation.
    Rule(String),
    /// `is_admin:True`.
    IsAdmin(bool),
    /// `user_id:%(user_id)s`: something of the token is the same as something else.
    Token(Attribute, Operand),
    /// `'x':%(id)s`: a part of the request has this value.
    Literal(String, String),
    /// `not CHECK`.
    Not(Box<Check>),
    /// `CHECK and CHECK`, two at least.
    All(Vec<Check>),
    /// `CHECK or CHECK`, two at least.
    Any(Vec<Check>),
}

/// What a token tells of its bearer, beside roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    UserId,
    UserDomainId,
    ProjectId,
    ProjectDomainId,
    /// The domain that the token is scoped to; not that of the project.
    DomainId,
    /// `all` for a token with the system's scope.
    SystemScope,
}

impl Attribute {
    /// By the names that upstream has for them; `tenant_id` is an old one of `project_id`.
    pub const NAMES: [(&'static str, Attribute); 7] = [
        ("user_id", Attribute::UserId),
        ("user_domain_id", Attribute::UserDomainId),
        ("project_id", Attribute::ProjectId),
        ("tenant_id", Attribute::ProjectId),
        ("project_domain_id", Attribute::ProjectDomainId),
        ("domain_id", Attribute::DomainId),
        ("system_scope", Attribute::SystemScope),
    ];

    /// The attribute of that name.
    pub fn by_name(name: &str) -> Option<Attribute> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, attribute)| *attribute)
    }

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, known)| *known == self);
        found.map_or("", |(name, _)| name)
    }
}

/// What an attribute of the token is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A text, without quotes.
    Text(String),
    /// `%(NAME)s`: a part of the request.
    Target(String),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Text(text) => f.write_str(text),
            Operand::Target(name) => write!(f, "%({name})s"),
        }
    }
}

/// As it would be written, with no more parentheses than are needed.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Always => f.write_str("@"),
            Check::Never => f.write_str("!"),
            Check::Role(name) => write!(f, "role:{name}"),
            Check::Rule(name) => write!(f, "rule:{name}"),
            Check::IsAdmin(true) => f.write_str("is_admin:True"),
            Check::IsAdmin(false) => f.write_str("is_admin:False"),
            Check::Token(attribute, operand) => write!(f, "{}:{operand}", attribute.name()),
            Check::Literal(text, name) => {
                let quote = if text.contains('\'') { '"' } else { '\'' };
                write!(f, "{quote}{text}{quote}:%({name})s")
            }
            Check::Not(inner) => {
                f.write_str("not ")?;
                within(f, inner, &[Kind::All, Kind::Any])
            }
            Check::All(parts) => joined(f, parts, " and ", &[Kind::All, Kind::Any]),
            Check::Any(parts) => joined(f, parts, " or ", &[Kind::Any]),
        }
    }
}

#[derive(PartialEq)]
enum Kind {
    All,
    Any,
}

fn joined(
    f: &mut fmt::Formatter<'_>,
    parts: &[Check],
    word: &str,
    enclosed: &[Kind],
) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        within(f, part, enclosed)?;
    }
    Ok(())
}

/// A part, in parentheses if it is of a kind that needs them there.
fn within(f: &mut fmt::Formatter<'_>, part: &Check, enclosed: &[Kind]) -> fmt::Result {
    let kind = match part {
        Check::All(_) => Some(Kind::All),
        Check::Any(_) => Some(Kind::Any),
        _ => None,
    };
    if kind.is_some_and(|kind| enclosed.contains(&kind)) {
        write!(f, "({part})")
    } else {
        write!(f, "{part}")
    }
}
