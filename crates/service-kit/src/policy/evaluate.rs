//! What a policy file decides of one caller and request. The file was checked before: see `file.rs`.

use super::{
    Target,
    check::{Attribute, Check, Operand},
    rule::{Rule, allows},
};
use openstack_types::Token;
use std::collections::HashMap;

/// A checked policy file.
#[derive(Debug, Default)]
pub struct Overrides {
    pub(super) service: &'static str,
    /// By operation without the service's name, or by name of a rule.
    pub(super) rules: HashMap<String, Check>,
    /// What holds for each operation unless it is above.
    pub(super) defaults: HashMap<&'static str, Rule>,
}

/// `identity:create_user` is `create_user` of identity.
pub(super) fn without_service<'a>(name: &'a str, service: &str) -> &'a str {
    let rest = name
        .strip_prefix(service)
        .and_then(|rest| rest.strip_prefix(':'));
    rest.unwrap_or(name)
}

impl Overrides {
    /// Whether the file lets a caller do an operation; `None` if it does not speak of it.
    pub(crate) fn decide(
        &self,
        operation: &str,
        token: &Token,
        target: &Target<'_>,
    ) -> Option<bool> {
        let check = self.rules.get(operation)?;
        let mut decision = Decision {
            overrides: self,
            token,
            target,
            known: HashMap::new(),
        };
        Some(decision.holds(check))
    }

    /// How many rules the file has.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether the file has no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

struct Decision<'a> {
    overrides: &'a Overrides,
    token: &'a Token,
    target: &'a Target<'a>,
    /// Each rule is decided once, however often others name it.
    known: HashMap<&'a str, bool>,
}

impl<'a> Decision<'a> {
    fn holds(&mut self, check: &'a Check) -> bool {
        match check {
            Check::Always => true,
            Check::Never => false,
            Check::Role(name) => self.token.is_scoped() && self.token.has_role(name),
            Check::Rule(name) => self.rule(name),
            Check::IsAdmin(wanted) => allows(Rule::Admin, self.token) == *wanted,
            Check::Token(attribute, operand) => {
                let wanted = match operand {
                    Operand::Text(text) => Some(text.as_str()),
                    Operand::Target(name) => self.target.get(name),
                };
                let own = of_token(self.token, *attribute).filter(|own| !own.is_empty());
                own.is_some() && own == wanted
            }
            Check::Literal(text, name) => self.target.get(name) == Some(text),
            Check::Not(inner) => !self.holds(inner),
            Check::All(parts) => parts.iter().all(|part| self.holds(part)),
            Check::Any(parts) => parts.iter().any(|part| self.holds(part)),
        }
    }

    fn rule(&mut self, name: &'a str) -> bool {
        let name = without_service(name, self.overrides.service);
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let held = match self.overrides.rules.get(name) {
            Some(check) => self.holds(check),
            None => {
                let default = self.overrides.defaults.get(name).copied();
                let rule = default.or_else(|| Rule::by_name(name));
                rule.is_some_and(|rule| allows(rule, self.token))
            }
        };
        self.known.insert(name, held);
        held
    }
}

fn of_token(token: &Token, attribute: Attribute) -> Option<&str> {
    match attribute {
        Attribute::UserId => Some(&token.user.id),
        Attribute::UserDomainId => Some(&token.user.domain.id),
        Attribute::ProjectId => token.project.as_ref().map(|project| &*project.id),
        Attribute::ProjectDomainId => token.project.as_ref().map(|project| &*project.domain.id),
        Attribute::DomainId => token.domain.as_ref().map(|domain| &*domain.id),
        Attribute::SystemScope => token.system.as_ref().map(|_| "all"),
    }
}
