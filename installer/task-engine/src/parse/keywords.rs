//! The keywords that tasks, blocks, roles and plays share, and the names of all keywords for messages.
use serde_json::Value as Json;
use yaml_source::{Fault, Key, Map, Node};

use super::{Condition, Inherited, Parser, texts};

/// Keywords of everything that holds or is a task.
pub(super) const SHARED: &[&str] = &[
    "name",
    "when",
    "tags",
    "vars",
    "environment",
    "become",
    "become_user",
    "become_method",
    "become_flags",
    "delegate_to",
    "run_once",
    "check_mode",
    "no_log",
    "ignore_errors",
    "collections",
    "diff",
    "any_errors_fatal",
    "delegate_facts",
    "remote_user",
];

/// Keywords of tasks alone.
pub(super) const TASK: &[&str] = &[
    "action",
    "args",
    "loop",
    "loop_control",
    "register",
    "notify",
    "listen",
    "changed_when",
    "failed_when",
    "until",
    "retries",
    "delay",
    "timeout",
];

pub(super) const BLOCK: &[&str] = &["block", "rescue", "always"];

/// Ansible has them, this engine does not: better refused than ignored.
pub(super) const UNSUPPORTED: &[&str] = &[
    "async",
    "poll",
    "throttle",
    "serial",
    "local_action",
    "debugger",
    "connection",
    "port",
    "module_defaults",
    "ignore_unreachable",
    "vars_prompt",
    "max_fail_percentage",
    "order",
    "force_handlers",
    "fact_path",
];

impl Parser<'_> {
    pub(super) fn inherited(&mut self, map: &Map) -> Inherited {
        let mut out = Inherited::default();
        for (key, node) in map.iter().filter(|(_, node)| !node.is_null()) {
            match key.text.as_str() {
                "when" => out.when = self.conditions(node, "when"),
                "tags" => {
                    let tags = texts(node, "`tags`", &mut self.diags);
                    out.tags = tags
                        .iter()
                        .flat_map(|(tag, _)| tag.split(','))
                        .map(|tag| tag.trim().to_owned())
                        .collect();
                }
                "vars" => out.vars = self.vars(node, "`vars`"),
                "environment" => out.environment = vec![self.data(node)],
                "become" => out.r#become = Some(self.data(node)),
                "become_user" => out.become_user = Some(self.data(node)),
                "become_method" if !matches!(node.str(), Some("sudo" | "su" | "doas")) => {
                    let fault = node.error("this `become_method` is not supported");
                    self.fault(fault.expected(
                        "`sudo` or `su`: the agent runs as root and changes the user itself",
                    ));
                }
                "delegate_to" => out.delegate_to = Some(self.data(node)),
                "run_once" => out.run_once = node.as_bool("`run_once`", &mut self.diags),
                "check_mode" => out.check_mode = node.as_bool("`check_mode`", &mut self.diags),
                "no_log" => out.no_log = Some(self.data(node)),
                "ignore_errors" => out.ignore_errors = Some(self.data(node)),
                _ => {}
            }
        }
        out
    }

    pub(super) fn conditions(&mut self, node: &Node, what: &str) -> Vec<Condition> {
        match &node.value {
            yaml_source::Value::Seq(items) => items
                .iter()
                .flat_map(|item| self.conditions(item, what))
                .collect(),
            yaml_source::Value::Bool(value) => vec![Condition::Literal(*value)],
            yaml_source::Value::Int(number) => vec![Condition::Literal(*number != 0)],
            yaml_source::Value::String(text) => {
                if let Err(message) = crate::template::check_expression(text) {
                    self.fault(node.error(format!("`{what}` is no expression: {message}")));
                }
                vec![Condition::Expression(text.clone())]
            }
            _ => {
                let fault = node.error(format!("`{what}` is {}", node.kind()));
                self.fault(
                    fault.expected("an expression, or a list of expressions that must all hold"),
                );
                Vec::new()
            }
        }
    }

    /// Refuses a key, with the nearest one that would have been right.
    pub(super) fn unknown_key(&mut self, key: &Key, what: &str, known: &[&str]) {
        let fault = match UNSUPPORTED.contains(&key.text.as_str()) {
            true => key.error(format!("the keyword `{}` is not supported", key.text)),
            false => key
                .error(format!("{what} has no keyword `{}`", key.text))
                .suggest(&key.text, known.iter().copied()),
        };
        self.fault(fault);
    }
}

/// True for a literal that says so; a text with a template counts as not known.
pub(super) fn is_literal(value: &Json) -> bool {
    match value {
        Json::String(text) => !crate::template::has_template(text),
        Json::Array(items) => items.iter().all(is_literal),
        Json::Object(map) => map.values().all(is_literal),
        _ => true,
    }
}
