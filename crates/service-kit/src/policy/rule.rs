//! The rule of a row: what its code says of who may call it. It does not know operators' policy files.

use openstack_types::Token;

/// What a token needs for an operation. Roles imply one another: admin ⊃ manager ⊃ member ⊃ reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// No token at all: version documents, getting a token.
    Public,
    /// Any valid token, even an unscoped one.
    Authenticated,
    /// At least `reader` in the token's scope.
    Reader,
    /// At least `member`.
    Member,
    /// At least `manager`.
    Manager,
    /// `admin`.
    Admin,
    /// `service` (other services of this cloud) or `admin`.
    Service,
}

impl Rule {
    /// The rules that a policy file can name, weakest first. `Public` is none: no token is asked for there.
    pub(crate) const NAMED: [(&'static str, Rule); 6] = [
        ("authenticated", Rule::Authenticated),
        ("reader", Rule::Reader),
        ("member", Rule::Member),
        ("manager", Rule::Manager),
        ("admin", Rule::Admin),
        ("service", Rule::Service),
    ];

    /// Its name in policy files; none for `Public`.
    pub fn name(self) -> Option<&'static str> {
        let found = Self::NAMED.iter().find(|(_, rule)| *rule == self);
        found.map(|(name, _)| *name)
    }

    /// The rule of that name.
    pub(crate) fn by_name(name: &str) -> Option<Rule> {
        let found = Self::NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, rule)| *rule)
    }
}

/// Whether a token satisfies a rule.
pub fn allows(rule: Rule, token: &Token) -> bool {
    let any = |names: &[&str]| token.is_scoped() && names.iter().any(|name| token.has_role(name));
    match rule {
        Rule::Public | Rule::Authenticated => true,
        Rule::Reader => any(&["reader", "member", "manager", "admin", "service"]),
        Rule::Member => any(&["member", "manager", "admin", "service"]),
        Rule::Manager => any(&["manager", "admin", "service"]),
        Rule::Admin => any(&["admin"]),
        Rule::Service => any(&["service", "admin"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openstack_types::{NamedRef, ProjectRef};

    fn token(roles: &[&str]) -> Token {
        Token {
            project: Some(ProjectRef::default()),
            roles: roles
                .iter()
                .map(|name| NamedRef {
                    id: String::new(),
                    name: (*name).to_owned(),
                })
                .collect(),
            ..Token::default()
        }
    }

    #[test]
    fn roles_imply_one_another() {
        let rules = [Rule::Reader, Rule::Member, Rule::Manager, Rule::Admin];
        let table = [
            ("reader", 1),
            ("member", 2),
            ("manager", 3),
            ("admin", 4),
            ("other", 0),
        ];
        for (role, reach) in table {
            let allowed = rules
                .iter()
                .filter(|rule| allows(**rule, &token(&[role])))
                .count();
            assert_eq!(allowed, reach, "{role}");
        }
        assert!(!allows(Rule::Service, &token(&["member"])));
        assert!(allows(Rule::Service, &token(&["service"])));
    }

    #[test]
    fn roles_without_a_scope_count_for_nothing() {
        let mut unscoped = token(&["admin"]);
        unscoped.project = None;
        assert!(!allows(Rule::Reader, &unscoped));
        assert!(allows(Rule::Authenticated, &unscoped));
    }
}
