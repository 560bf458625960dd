//! The keywords that tasks, blocks, roles and plays share, and the names of all keywords for messages.
use serde_json::Value as Json;
use yaml_source::{Fault, Key, Map, Node};

use super::{Allowance, Condition, Inherited, Parser, texts};

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
    "ignore_unreachable",
    "throttle",
    "delegate_facts",
    "remote_user",
    "connection",
    "module_defaults",
];

/// Keywords of tasks alone.
pub(super) const TASK: &[&str] = &[
    "action",
    "local_action",
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
    "async",
    "poll",
];

pub(super) const BLOCK: &[&str] = &["block", "rescue", "always"];

/// Ansible has them, this engine does not: better refused than ignored.
pub(super) const UNSUPPORTED: &[&str] = &[
    "debugger",
    "port",
    "vars_prompt",
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
                // On the deployment host, with this host's variables: what `delegate_to: localhost` is.
                "connection" => match node.str().map(super::short_name) {
                    Some("local") => {
                        out.delegate_to.get_or_insert(Json::from("localhost"));
                    }
                    Some("ssh" | "smart" | "paramiko") => {}
                    _ => {
                        let fault = node.error("this `connection` is not supported");
                        self.fault(fault.expected("`local` or `ssh`"));
                    }
                },
                "delegate_to" => out.delegate_to = Some(self.data(node)),
                "run_once" => out.run_once = node.as_bool("`run_once`", &mut self.diags),
                "check_mode" => out.check_mode = node.as_bool("`check_mode`", &mut self.diags),
                "no_log" => out.no_log = Some(self.data(node)),
                "delegate_facts" => {
                    out.delegate_facts = node.as_bool("`delegate_facts`", &mut self.diags);
                }
                "module_defaults" => out.module_defaults.extend(self.module_defaults(node)),
                "ignore_errors" => out.ignore_errors = Some(self.data(node)),
                "ignore_unreachable" => out.ignore_unreachable = Some(self.data(node)),
                "throttle" => out.throttle = Some(self.data(node)),
                "any_errors_fatal" => {
                    out.any_errors_fatal = node.as_bool("`any_errors_fatal`", &mut self.diags);
                }
                _ => {}
            }
        }
        out
    }

    /// `module_defaults: {apt: {update_cache: true}}`; names and arguments are checked as a task's are.
    fn module_defaults(&mut self, node: &Node) -> Option<serde_json::Map<String, Json>> {
        let mut out = serde_json::Map::new();
        for (key, args) in node.as_map("`module_defaults`", &mut self.diags)?.iter() {
            let name = super::short_name(&key.text);
            if name.starts_with("group/") {
                let fault = key.error("groups of modules are not supported in `module_defaults`");
                self.fault(fault.expected("the name of a module"));
                continue;
            }
            let Some(spec) = self.catalogue.get(name) else {
                let known: Vec<String> = self.catalogue.names().map(str::to_owned).collect();
                let fault = key.error(format!("there is no module `{}`", key.text));
                self.fault(fault.suggest(name, known.iter().map(String::as_str)));
                continue;
            };
            for (arg, _) in args.map().into_iter().flatten() {
                self.defaulted.insert(format!("{name}.{}", arg.text));
            }
            let lenient = super::ModuleSpec {
                args: spec
                    .args
                    .iter()
                    .map(|arg| super::ArgSpec {
                        required: false,
                        ..arg.clone()
                    })
                    .collect(),
                table: None,
                ..spec.clone()
            };
            if let super::Args::Map(args) = self.arguments(key, args, None, &lenient) {
                out.insert(name.to_owned(), Json::Object(args));
            }
        }
        Some(out)
    }

    /// A number of nodes, or a share of them such as `30%`.
    pub(super) fn allowance(&mut self, node: &Node, what: &str) -> Option<Allowance> {
        let text = node.as_text(what, &mut self.diags)?;
        let text = text.trim();
        let found = match text.strip_suffix('%') {
            Some(share) => share
                .trim()
                .parse()
                .ok()
                .filter(|share| *share <= 100)
                .map(Allowance::Percent),
            None => text.parse().ok().map(Allowance::Nodes),
        };
        if found.is_none() {
            let fault = node.error(format!("{what} cannot be `{text}`"));
            self.fault(fault.expected("a number of nodes, or a share such as `30%`"));
        }
        found
    }

    /// `async` with `poll`: a task with a time limit. The engine's connections outlive any task, so that nothing else
    /// is meant by it; but it waits for every task, and a task that nobody waits for is refused.
    pub(super) fn waits(&mut self, map: &Map) -> Option<serde_json::Value> {
        let limit = map.get("async").filter(|node| !node.is_null());
        if let Some((key, node)) = map.get_entry("poll") {
            if limit.is_none() {
                self.fault(key.error("`poll` means nothing without `async`"));
            } else if node.as_int("`poll`", &mut self.diags) == Some(0) {
                let fault = node.error("`poll: 0` is not supported: every task is waited for");
                self.fault(fault.expected("a number of seconds; other nodes are not held up"));
            }
        }
        limit.map(|node| self.data(node))
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
