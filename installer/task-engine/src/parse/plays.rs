//! The playbook: a list of plays, each naming hosts and roles.
use std::path::Path;
use std::sync::Arc;

use diagnostics::Diagnostic;
use yaml_source::{Fault, Node, Span};

use super::keywords::SHARED;
use super::{Context, Inherited, Item, Parser, Play, RoleUse, get, place};

const PLAY: &[&str] = &[
    "hosts",
    "gather_facts",
    "gather_subset",
    "gather_timeout",
    "vars_files",
    "pre_tasks",
    "roles",
    "tasks",
    "post_tasks",
    "handlers",
    "strategy",
    "serial",
    "max_fail_percentage",
    "import_playbook",
    "vars_prompt",
];

impl Parser<'_> {
    pub(super) fn plays(&mut self, path: &Path) -> Vec<Arc<Play>> {
        let Some(root) = self.read_playbook(path) else {
            return Vec::new();
        };
        let Some(items) = root.as_seq("a playbook", &mut self.diags) else {
            return Vec::new();
        };
        if self.open.iter().any(|open| open == path) {
            self.fault(root.error(format!("`{}` imports itself", path.display())));
            return Vec::new();
        }
        self.open.push(path.to_path_buf());
        let mut out = Vec::new();
        for item in items {
            if let Some(file) = item.map().and_then(|map| get(map, "import_playbook")) {
                if let Some(name) = file.as_str("`import_playbook`", &mut self.diags) {
                    out.extend(self.plays(&self.folder.join(name)));
                }
            } else {
                out.extend(self.play(item).map(Arc::new));
            }
        }
        self.open.pop();
        out
    }

    fn read_playbook(&mut self, path: &Path) -> Option<Node> {
        if !path.is_file() {
            self.fault(Diagnostic::error(format!(
                "the playbook `{}` does not exist",
                path.display()
            )));
            return None;
        }
        self.read(path, None)
    }

    fn play(&mut self, item: &Node) -> Option<Play> {
        let map = item.as_map("a play", &mut self.diags)?;
        let known: Vec<&str> = PLAY.iter().chain(SHARED).copied().collect();
        for key in map.keys().filter(|key| !known.contains(&key.text.as_str())) {
            self.unknown_key(key, "a play", &known);
        }
        if let Some((key, _)) = map.get_entry("vars_prompt") {
            let fault =
                key.error("`vars_prompt` is not supported: nothing is asked while a playbook runs");
            self.fault(fault.expected("`vars`, `vars_files`, or `--extra-vars @FILE`"));
        }
        let hosts = map.required("hosts", "a play", &item.span, &mut self.diags)?;
        let hosts = super::texts(hosts, "`hosts`", &mut self.diags);
        let hosts = hosts
            .into_iter()
            .map(|(text, _)| text)
            .collect::<Vec<_>>()
            .join(":");
        let mut vars = get(map, "vars")
            .map(|node| self.vars(node, "`vars`"))
            .unwrap_or_default();
        // Names with templates differ from host to host: those are read when the host's facts are known.
        let mut later = Vec::new();
        if let Some(node) = get(map, "vars_files") {
            for entry in node.seq().unwrap_or(std::slice::from_ref(node)) {
                let names = super::texts(entry, "`vars_files`", &mut self.diags);
                if names
                    .iter()
                    .any(|(name, _)| crate::template::has_template(name))
                {
                    later.push((names, place(&entry.span)));
                    continue;
                }
                let found = names.iter().find_map(|(name, _)| {
                    let path = self.folder.join(name);
                    path.is_file().then_some(path)
                });
                let path = found.or_else(|| names.first().map(|(name, _)| self.folder.join(name)));
                if let Some(path) = path
                    && let Some(root) = self.read(&path, Some(&entry.span))
                {
                    vars.extend(self.vars(&root, "a file of variables"));
                }
            }
        }
        // Variables of the play have their own place in the order of precedence.
        let defaults = Inherited {
            vars: serde_json::Map::new(),
            ..self.inherited(map)
        };
        let context = Context {
            role: None,
            folder: self.folder.clone(),
            handlers: false,
            conditional: map.contains_key("when"),
        };
        let list = |parser: &mut Self, name: &str, handlers: bool| -> Vec<Item> {
            let context = Context {
                handlers,
                ..context.clone()
            };
            get(map, name)
                .map(|node| parser.task_list(node, &context))
                .unwrap_or_default()
        };
        let handlers = list(self, "handlers", true);
        let mut pre_tasks: Vec<Item> = later
            .into_iter()
            .map(|(names, place)| Item::Task(super::vars_file_task(&names, place)))
            .collect();
        pre_tasks.extend(list(self, "pre_tasks", false));
        let (tasks, post_tasks) = (list(self, "tasks", false), list(self, "post_tasks", false));
        let mut roles = Vec::new();
        if let Some(items) =
            get(map, "roles").and_then(|node| node.as_seq("`roles`", &mut self.diags))
        {
            for item in items {
                if let Some(role) = self.role_use(item)
                    && is_new(&roles, &role)
                {
                    self.with_dependencies(role, &mut roles, 0, &item.span);
                }
            }
        }
        let name = get(map, "name").and_then(|node| node.as_text("`name`", &mut self.diags));
        let serial = match get(map, "serial") {
            None => Vec::new(),
            Some(node) => match node.seq() {
                Some(items) => items
                    .iter()
                    .filter_map(|item| self.allowance(item, "`serial`"))
                    .collect(),
                None => self.allowance(node, "`serial`").into_iter().collect(),
            },
        };
        let max_fail_percentage = get(map, "max_fail_percentage").and_then(|node| {
            let share = node.as_int("`max_fail_percentage`", &mut self.diags)?;
            let share = u8::try_from(share).ok().filter(|share| *share <= 100);
            if share.is_none() {
                let fault = node.error("`max_fail_percentage` is out of range");
                self.fault(fault.expected("0 to 100"));
            }
            share
        });
        Some(Play {
            serial,
            max_fail_percentage,
            name: name.unwrap_or_else(|| hosts.clone()),
            gather_facts: get(map, "gather_facts")
                .and_then(|node| node.as_bool("`gather_facts`", &mut self.diags)),
            any_errors_fatal: get(map, "any_errors_fatal")
                .and_then(|node| node.as_bool("`any_errors_fatal`", &mut self.diags))
                .unwrap_or(false),
            handlers: self.handlers(&handlers),
            remote_user: get(map, "remote_user")
                .and_then(|node| node.as_text("`remote_user`", &mut self.diags)),
            place: place(&item.span),
            hosts,
            vars,
            defaults,
            pre_tasks,
            roles,
            tasks,
            post_tasks,
        })
    }

    /// A role's dependencies come before it, each role with the same parameters once a play.
    fn with_dependencies(
        &mut self,
        role: RoleUse,
        out: &mut Vec<RoleUse>,
        depth: usize,
        span: &Span,
    ) {
        if depth > 20 {
            self.fault(span.error(format!(
                "the dependencies of the role `{}` lead back to itself",
                role.role.name
            )));
            return;
        }
        for mut dependency in self.dependencies(&role.role) {
            // Conditions, tags and `become` of a role are those of what it depends on, too.
            let (own, outer) = (&mut dependency.inherited, &role.inherited);
            own.when = outer.when.iter().chain(&own.when).cloned().collect();
            own.tags = outer.tags.iter().chain(&own.tags).cloned().collect();
            own.r#become = own.r#become.take().or_else(|| outer.r#become.clone());
            own.become_user = own.become_user.take().or_else(|| outer.become_user.clone());
            if is_new(out, &dependency) {
                self.with_dependencies(dependency, out, depth + 1, span);
            }
        }
        out.push(role);
    }

    /// `- name`, or `- role: name` with parameters and keywords.
    pub(super) fn role_use(&mut self, item: &Node) -> Option<RoleUse> {
        if let Some(name) = item.str() {
            let role = self.role(name, &item.span)?;
            let place = place(&item.span);
            return Some(RoleUse {
                role,
                params: serde_json::Map::new(),
                inherited: Inherited::default(),
                place,
            });
        }
        let map = item.as_map("a role", &mut self.diags)?;
        let Some(name) = get(map, "role").or_else(|| get(map, "name")) else {
            self.fault(item.error("a role lacks its name").expected("`role: NAME`"));
            return None;
        };
        let text = name.as_str("`role`", &mut self.diags)?;
        let role = self.role(text, &name.span)?;
        let inherited = self.inherited(map);
        let mut params = serde_json::Map::new();
        for (key, node) in map
            .iter()
            .filter(|(key, _)| key.text != "role" && !SHARED.contains(&key.text.as_str()))
        {
            let data = self.data(node);
            params.insert(key.text.clone(), data);
        }
        Some(RoleUse {
            role,
            params,
            inherited,
            place: place(&item.span),
        })
    }
}

/// A role runs once in a play with the same parameters, unless it says that it may run again.
fn is_new(before: &[RoleUse], role: &RoleUse) -> bool {
    role.role.allow_duplicates
        || !before.iter().any(|other| {
            other.role.name == role.role.name
                && other.params == role.params
                && other.inherited.vars == role.inherited.vars
                && other.inherited.when == role.inherited.when
        })
}
