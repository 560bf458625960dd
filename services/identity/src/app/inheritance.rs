//! Where an assignment reaches: roles that are inherited to projects, roles of groups, and roles that imply others. Pure;
//! knows no tables and no tokens.

use crate::store::entities::assignment;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Kind of target: every project below a project, not the project itself.
pub const PROJECT_TREE: &str = "project_tree";
/// Kind of target: every project of a domain, not the domain itself.
pub const DOMAIN_TREE: &str = "domain_tree";

/// The kind of target that assignments on `kind` have when they are inherited to projects.
pub fn inherited(kind: &str) -> &'static str {
    if kind == "domain" {
        DOMAIN_TREE
    } else {
        PROJECT_TREE
    }
}

/// Whether assignments of this kind are inherited to projects.
pub fn is_inherited(kind: &str) -> bool {
    kind == PROJECT_TREE || kind == DOMAIN_TREE
}

/// The kind of object that a target is: `project_tree` is a project.
pub fn object(kind: &str) -> &str {
    match kind {
        PROJECT_TREE => "project",
        DOMAIN_TREE => "domain",
        other => other,
    }
}

/// What lies above one project.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Above {
    /// Projects above it, not itself.
    pub projects: HashSet<String>,
    /// Its domain.
    pub domain: String,
}

impl Above {
    /// Whether an inherited assignment on this target reaches the project.
    pub fn covers(&self, target_kind: &str, target_id: &str) -> bool {
        match target_kind {
            PROJECT_TREE => self.projects.contains(target_id),
            DOMAIN_TREE => !target_id.is_empty() && self.domain == target_id,
            _ => false,
        }
    }
}

/// All projects, by what is above them.
#[derive(Debug, Default)]
pub struct Tree {
    children: HashMap<String, Vec<String>>,
    domains: HashMap<String, Vec<String>>,
}

impl Tree {
    /// From id, parent and domain of every project.
    pub fn new(projects: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let mut tree = Tree::default();
        for (id, parent, domain) in projects {
            tree.children.entry(parent).or_default().push(id.clone());
            tree.domains.entry(domain).or_default().push(id);
        }
        tree
    }

    /// Every project below one.
    pub fn below(&self, id: &str) -> Vec<&str> {
        let mut found = BTreeSet::new();
        let mut todo = vec![id];
        while let Some(next) = todo.pop() {
            for child in self.children.get(next).into_iter().flatten() {
                if found.insert(child.as_str()) {
                    todo.push(child);
                }
            }
        }
        found.into_iter().collect()
    }

    /// The objects on which an assignment gives its role.
    pub fn reach<'a>(&'a self, kind: &str, id: &'a str) -> Vec<&'a str> {
        match kind {
            PROJECT_TREE => self.below(id),
            DOMAIN_TREE => {
                let all = self.domains.get(id).into_iter().flatten();
                all.map(String::as_str).collect()
            }
            _ => vec![id],
        }
    }
}

/// Which roles follow from which.
#[derive(Debug, Default)]
pub struct Implications(HashMap<String, Vec<String>>);

impl Implications {
    /// From pairs of a role and one that it implies.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut implied: HashMap<String, Vec<String>> = HashMap::new();
        for (prior, follows) in pairs {
            implied.entry(prior).or_default().push(follows);
        }
        Implications(implied)
    }

    /// A role with all that follow from it, each with the role that implies it directly; the role itself has none.
    pub fn closure<'a>(&'a self, role: &'a str) -> Vec<(&'a str, Option<&'a str>)> {
        let mut found = vec![(role, None)];
        let mut seen = HashSet::from([role]);
        let mut at = 0;
        while let Some((prior, _)) = found.get(at).copied() {
            for follows in self.0.get(prior).into_iter().flatten() {
                if seen.insert(follows) {
                    found.push((follows.as_str(), Some(prior)));
                }
            }
            at += 1;
        }
        found
    }
}

/// What an assignment gives to one user on one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effect {
    /// Id of the user.
    pub user: String,
    /// Id of the role.
    pub role: String,
    /// The role that implies it, where it is not the assignment's own.
    pub prior: Option<String>,
    /// Id of the object; its kind is the assignment's.
    pub target: String,
}

/// What decides over effects.
pub struct Facts {
    /// Who is in which group.
    pub members: HashMap<String, Vec<String>>,
    /// Which roles follow from which.
    pub implications: Implications,
    /// Roles that belong to a domain: they stand for what they imply, and give nothing by themselves.
    pub domain_roles: HashSet<String>,
    /// Every project.
    pub projects: Tree,
}

impl Facts {
    /// What an assignment gives, to whom, where.
    pub fn effects(
        &self,
        row: &assignment::Model,
        wanted: impl Fn(&Effect) -> bool,
    ) -> Vec<Effect> {
        let own = std::slice::from_ref(&row.actor_id);
        let users = match row.actor_kind.as_str() {
            "group" => self
                .members
                .get(&row.actor_id)
                .map_or(&[][..], Vec::as_slice),
            _ => own,
        };
        // Users and objects first: a role of a whole domain can reach thousands, of which one is asked for.
        let targets = self.projects.reach(&row.target_kind, &row.target_id);
        let roles = self.implications.closure(&row.role_id);
        let mut found = Vec::new();
        for user in users {
            for target in &targets {
                for (role, prior) in &roles {
                    let effect = Effect {
                        user: user.clone(),
                        role: (*role).to_owned(),
                        prior: prior.map(str::to_owned),
                        target: (*target).to_owned(),
                    };
                    if !self.domain_roles.contains(*role) && wanted(&effect) {
                        found.push(effect);
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let projects = [
            ("a", "dom", "dom"),
            ("b", "a", "dom"),
            ("c", "b", "dom"),
            ("x", "other", "other"),
            // What should never be must not hang.
            ("loop", "pool", "bad"),
            ("pool", "loop", "bad"),
        ];
        let own = |text: &str| text.to_owned();
        Facts {
            members: HashMap::from([(own("g"), vec![own("u1"), own("u2")])]),
            implications: Implications::new(
                [
                    ("admin", "member"),
                    ("member", "reader"),
                    ("reader", "admin"),
                    ("local", "reader"),
                ]
                .map(|(prior, follows)| (own(prior), own(follows))),
            ),
            domain_roles: HashSet::from([own("local")]),
            projects: Tree::new(
                projects.map(|(id, parent, domain)| (own(id), own(parent), own(domain))),
            ),
        }
    }

    fn effects(actor: (&str, &str), target: (&str, &str), role: &str) -> Vec<String> {
        let row = assignment::Model {
            actor_kind: actor.0.into(),
            actor_id: actor.1.into(),
            target_kind: target.0.into(),
            target_id: target.1.into(),
            role_id: role.into(),
        };
        let effects = facts().effects(&row, |_| true);
        effects
            .iter()
            .map(|e| {
                let prior = e.prior.as_ref().map(|role| format!(" by {role}"));
                format!(
                    "{} {} {}{}",
                    e.user,
                    e.role,
                    e.target,
                    prior.unwrap_or_default()
                )
            })
            .collect()
    }

    #[test]
    fn roles_reach_where_they_are_inherited_to() {
        assert_eq!(
            effects(("user", "u"), ("project", "a"), "member"),
            ["u member a", "u reader a by member", "u admin a by reader"]
        );
        assert_eq!(
            effects(("user", "u"), ("project_tree", "a"), "plain"),
            ["u plain b", "u plain c"]
        );
        assert_eq!(
            effects(("user", "u"), ("domain_tree", "dom"), "plain"),
            ["u plain a", "u plain b", "u plain c"]
        );
        assert_eq!(
            effects(("group", "g"), ("system", "all"), "plain"),
            ["u1 plain all", "u2 plain all"]
        );
        assert_eq!(
            effects(("group", "empty"), ("project", "a"), "plain"),
            [""; 0]
        );
        assert_eq!(
            effects(("user", "u"), ("project_tree", "loop"), "plain"),
            ["u plain loop", "u plain pool"]
        );
    }

    #[test]
    fn a_domains_role_gives_what_it_implies() {
        assert_eq!(
            effects(("user", "u"), ("project", "c"), "local"),
            [
                "u reader c by local",
                "u admin c by reader",
                "u member c by admin"
            ]
        );
    }

    #[test]
    fn what_is_above_covers_a_project() {
        let above = Above {
            projects: HashSet::from(["a".to_owned(), "b".to_owned()]),
            domain: "dom".to_owned(),
        };
        assert!(above.covers(PROJECT_TREE, "a") && above.covers(DOMAIN_TREE, "dom"));
        for (kind, id) in [
            ("project", "a"),
            (PROJECT_TREE, "c"),
            (DOMAIN_TREE, "a"),
            ("domain", "dom"),
        ] {
            assert!(!above.covers(kind, id), "{kind} {id}");
        }
        assert!(!Above::default().covers(DOMAIN_TREE, ""));
    }
}
