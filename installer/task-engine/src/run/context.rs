//! What surrounds a task: everything that it takes over from play, role, block and include.
use std::sync::Arc;

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::Engine;
use super::node::{Node, read};
use crate::parse::{Inherited, Role};
use crate::plan::{Part, Work};
use crate::vars::{Layer, Scope};

#[derive(Clone)]
pub(crate) struct Context {
    /// Conditions, tags and environments of all levels, outermost first; of the rest the innermost.
    pub inherited: Inherited,
    pub role: Option<RoleLayers>,
    play_number: usize,
    /// The nodes that the play works on at the same time.
    batch: Arc<Vec<String>>,
    /// Roles that the present one was imported or included from, outermost first.
    outer: Vec<RoleLayers>,
    play_vars: Layer,
    /// Of blocks, includes and the task, outermost first.
    vars: Vec<Layer>,
    params: Vec<Layer>,
}

#[derive(Clone)]
pub(crate) struct RoleLayers {
    pub role: Arc<Role>,
    defaults: Layer,
    /// What the play says by `vars:` beside the role's name.
    given: Layer,
    vars: Layer,
    magic: Layer,
}

impl RoleLayers {
    fn new(role: &Arc<Role>) -> Self {
        RoleLayers {
            defaults: Layer::new(&role.defaults),
            given: Layer::default(),
            vars: Layer::new(&role.vars),
            magic: Layer::ready([
                ("role_name", Value::from(role.name.as_str())),
                ("ansible_role_name", Value::from(role.name.as_str())),
                ("role_path", Value::from(role.path.to_string_lossy())),
            ]),
            role: role.clone(),
        }
    }
}

impl Context {
    pub fn of(work: &Work) -> Self {
        let mut context = Context {
            inherited: work.play.defaults.clone(),
            outer: Vec::new(),
            role: None,
            play_number: work.play_number,
            batch: work.batch.clone(),
            play_vars: Layer::new(&work.play.vars),
            vars: Vec::new(),
            params: Vec::new(),
        };
        if let Part::Role(role) = &work.part {
            // Its `vars` are weaker than those of the role itself, and than results.
            let keywords = Inherited {
                vars: Map::new(),
                ..role.inherited.clone()
            };
            context = context.enter(&keywords);
            context.params.push(Layer::new(&role.params));
            context.role = Some(RoleLayers {
                given: Layer::new(&role.inherited.vars),
                ..RoleLayers::new(&role.role)
            });
        }
        context
    }

    /// One level further in.
    pub fn enter(&self, inner: &Inherited) -> Self {
        let mut context = self.clone();
        let all = &mut context.inherited;
        all.when.extend(inner.when.iter().cloned());
        all.tags.extend(inner.tags.iter().cloned());
        all.environment.extend(inner.environment.iter().cloned());
        all.r#become = inner.r#become.clone().or(all.r#become.take());
        all.become_user = inner.become_user.clone().or(all.become_user.take());
        all.delegate_to = inner.delegate_to.clone().or(all.delegate_to.take());
        all.run_once = inner.run_once.or(all.run_once);
        all.check_mode = inner.check_mode.or(all.check_mode);
        all.no_log = inner.no_log.clone().or(all.no_log.take());
        all.delegate_facts = inner.delegate_facts.or(all.delegate_facts);
        all.module_defaults
            .extend(inner.module_defaults.iter().cloned());
        all.ignore_errors = inner.ignore_errors.clone().or(all.ignore_errors.take());
        all.ignore_unreachable = inner
            .ignore_unreachable
            .clone()
            .or(all.ignore_unreachable.take());
        all.any_errors_fatal = inner.any_errors_fatal.or(all.any_errors_fatal);
        all.throttle = inner.throttle.clone().or(all.throttle.take());
        if !inner.vars.is_empty() {
            context.vars.push(Layer::new(&inner.vars));
        }
        context
    }

    /// Into another role, by import or include. It sees the defaults and variables of the roles that it was
    /// entered from, below its own.
    pub fn enter_role(&self, role: &Arc<Role>) -> Self {
        let mut context = self.clone();
        context.outer.extend(context.role.take());
        context.role = Some(RoleLayers::new(role));
        context
    }

    /// With the variables of an include, which win over results.
    pub fn with_params(&self, vars: &Map<String, Json>) -> Self {
        let mut context = self.clone();
        if !vars.is_empty() {
            context.params.push(Layer::new(vars));
        }
        context
    }

    /// With variables that are already rendered: what looks like a template in them is text.
    pub fn with_literals(&self, vars: impl IntoIterator<Item = (String, Json)>) -> Self {
        let mut context = self.clone();
        context.vars.push(Layer::literal(vars));
        context
    }

    /// All variables that a task in this place sees, in Ansible's order of precedence.
    pub fn scope(&self, engine: &Engine, node: &Node) -> Arc<Scope> {
        let (facts, mut unknown) = read(&node.facts).now();
        let (set, more) = read(&node.set).now();
        unknown.extend(more);
        let role = self.role.as_ref();
        let roles = || self.outer.iter().chain(role);
        let (public_defaults, public_vars) = node.published(self.play_number);
        let mut layers = Vec::with_capacity(16);
        layers.extend(public_defaults);
        layers.extend(roles().map(|role| role.defaults.clone()));
        layers.push(node.inventory.clone());
        layers.extend(facts);
        layers.push(self.play_vars.clone());
        layers.extend(public_vars);
        layers.extend(roles().flat_map(|role| [role.given.clone(), role.vars.clone()]));
        layers.extend(self.vars.iter().cloned());
        layers.extend(set);
        layers.extend(self.params.iter().cloned());
        layers.push(engine.extra.clone());
        layers.push(engine.magic(node));
        layers.push(engine.play_magic(self.play_number, &self.batch));
        if let Some(parents) = self.parents() {
            layers.push(parents);
        }
        layers.extend(role.map(|role| role.magic.clone()));
        Scope::new(engine.templates.clone(), layers, unknown)
    }

    /// Names and folders of the roles that the present one was entered from, the nearest first.
    fn parents(&self) -> Option<Layer> {
        let outer = || self.outer.iter().rev().map(|layers| &layers.role);
        outer().next()?;
        let names: Vec<String> = outer().map(|role| role.name.clone()).collect();
        let paths: Vec<String> = outer()
            .map(|role| role.path.to_string_lossy().into_owned())
            .collect();
        Some(Layer::ready([
            ("ansible_parent_role_names", Value::from(names)),
            ("ansible_parent_role_paths", Value::from(paths)),
        ]))
    }

    /// Whether the tags of this place are among those asked for.
    pub fn is_selected(&self, wanted: &[String], skipped: &[String]) -> bool {
        let tags = &self.inherited.tags;
        let has = |tag: &String| match tag.as_str() {
            "all" => true,
            "tagged" => !tags.is_empty(),
            "untagged" => tags.is_empty(),
            _ => tags.contains(tag),
        };
        let named = |word: &str| tags.iter().any(|tag| tag == word);
        let asked = if wanted.is_empty() {
            !named("never")
        } else {
            wanted.iter().any(has)
                && (!named("never") || wanted.iter().any(|tag| tags.contains(tag)))
        };
        (asked || (named("always") && !skipped.iter().any(|tag| tag == "always")))
            && !skipped.iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_select_as_in_ansible() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for (tags, wanted, skipped, expected) in [
            ("", "", "", true),
            ("a", "", "", true),
            ("a", "a", "", true),
            ("", "a", "", false),
            ("a b", "b", "a", false),
            ("always", "x", "", true),
            ("always", "x", "always", false),
            ("never", "", "", false),
            ("never a", "a", "", true),
            ("never", "all", "", false),
            ("", "untagged", "", true),
            ("a", "tagged", "", true),
            ("a", "", "tagged", false),
        ] {
            let context = Context {
                inherited: Inherited {
                    tags: words(tags),
                    ..Inherited::default()
                },
                outer: Vec::new(),
                role: None,
                play_number: 0,
                batch: Arc::default(),
                play_vars: Layer::default(),
                vars: Vec::new(),
                params: Vec::new(),
            };
            assert_eq!(
                context.is_selected(&words(wanted), &words(skipped)),
                expected,
                "{tags} | {wanted} | {skipped}"
            );
        }
    }
}
