//! One role's folder: `tasks handlers defaults vars meta`.
use std::path::PathBuf;
use std::sync::Arc;

use graph::Need;
use yaml_source::{Fault, Node, Span};

use super::{
    Action, Context, Item, Parser, Role, RoleContext, RoleFiles, RoleGraph, RoleNeed, RoleUse,
    Task, get, place, texts,
};

impl Parser<'_> {
    /// The role of this name, read once. `None` after a fault was noted.
    pub(super) fn role(&mut self, name: &str, span: &Span) -> Option<Arc<Role>> {
        if let Some(known) = self.roles.get(name).cloned() {
            if known.is_none() && self.open.iter().any(|path| path.ends_with(name)) {
                self.fault(span.error(format!("the role `{name}` leads back to itself")));
            }
            return known;
        }
        self.roles.insert(name.to_owned(), None);
        let short = name.rsplit('.').next().unwrap_or(name);
        let Some(path) = self
            .search
            .iter()
            .map(|folder| folder.join(short))
            .find(|path| is_role(path))
        else {
            let names = self.role_names();
            let fault = span.error(format!("there is no role `{name}`"));
            let folders = self
                .search
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", ");
            let fault = fault.expected(format!("a folder of this name in one of: {folders}"));
            self.fault(fault.suggest(name, names.iter().map(String::as_str)));
            return None;
        };
        self.open.push(path.clone());
        let role = self.read_role(name, path, span);
        self.open.pop();
        let role = Arc::new(role);
        self.roles.insert(name.to_owned(), Some(role.clone()));
        Some(role)
    }

    /// The roles that `meta/main.yml` of a role names, to be run before it.
    pub(super) fn dependencies(&mut self, role: &Role) -> Vec<RoleUse> {
        let Some(root) = self.role_meta(&role.path) else {
            return Vec::new();
        };
        let Some(list) = root.map().and_then(|map| get(map, "dependencies")) else {
            return Vec::new();
        };
        let Some(items) = list.as_seq("`dependencies`", &mut self.diags) else {
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.role_use(item))
            .collect()
    }

    fn read_role(&mut self, name: &str, path: PathBuf, span: &Span) -> Role {
        let context = Context {
            role: Some(RoleContext {
                name: name.to_owned(),
                path: path.clone(),
            }),
            folder: path.join("tasks"),
            handlers: false,
            conditional: false,
        };
        let meta = self.role_meta(&path);
        let mut role = Role {
            allow_duplicates: meta
                .as_ref()
                .and_then(|meta| get(meta.map()?, "allow_duplicates"))
                .and_then(|node| node.as_bool("`allow_duplicates`", &mut self.diags))
                .unwrap_or(false),
            more_vars: self.more_vars(&path),
            name: name.to_owned(),
            defaults: self.role_vars(&path, "defaults"),
            vars: self.role_vars(&path, "vars"),
            graph: self.role_graph(&path),
            main: Arc::default(),
            handlers: Vec::new(),
            path,
        };
        if let Some(file) = Self::yaml_file(&role.path.join("handlers/main")) {
            let context = Context {
                folder: role.path.join("handlers"),
                handlers: true,
                ..context.clone()
            };
            let items = self.task_file(&file, &context, span);
            role.handlers = self.handlers(&items);
        }
        if let Some(file) = Self::yaml_file(&role.path.join("tasks/main")) {
            role.main = self.task_file(&file, &context, span);
        }
        if let Some(check) = self.argument_specs(&role.path, name) {
            let mut items = vec![Item::Task(check)];
            items.extend(role.main.iter().cloned());
            role.main = Arc::new(items);
        }
        role
    }

    fn role_meta(&mut self, role: &std::path::Path) -> Option<Node> {
        let path = Self::yaml_file(&role.join("meta/main"))?;
        self.read(&path, None)
    }

    /// The check of the role's entry point `main`, if it describes its arguments.
    fn argument_specs(&mut self, role: &std::path::Path, name: &str) -> Option<Arc<Task>> {
        let root = match Self::yaml_file(&role.join("meta/argument_specs")) {
            Some(path) => self.read(&path, None)?,
            None => self.role_meta(role)?,
        };
        let specs = get(root.map()?, "argument_specs")?;
        let main = get(specs.map()?, "main")?;
        let options = get(main.map()?, "options")?;
        let serde_json::Value::Object(map) = self.data(options) else {
            return None;
        };
        let mut task = Task::new(
            Action::ValidateArguments {
                role: name.to_owned(),
                options: map,
            },
            place(&options.span),
        );
        task.name = Some("Check the role's arguments".to_owned());
        task.inherited.tags.push("always".to_owned());
        Some(Arc::new(task))
    }

    /// The role with other files of variables and handlers than `main`.
    pub(super) fn role_with(
        &mut self,
        role: &Arc<Role>,
        from: &RoleFiles,
        span: &Span,
    ) -> Option<Arc<Role>> {
        if from.vars == "main" && from.defaults == "main" && from.handlers == "main" {
            return Some(role.clone());
        }
        let mut faults = Vec::new();
        let mut other =
            |folder: &str, name: &str, own: &serde_json::Map<String, serde_json::Value>| {
                if name == "main" || crate::template::has_template(name) {
                    return own.clone();
                }
                match role.more_vars.get(&(folder.to_owned(), name.to_owned())) {
                    Some(found) => found.clone(),
                    None => {
                        faults.push(span.error(format!(
                            "the role `{}` has no file `{folder}/{name}`",
                            role.name
                        )));
                        own.clone()
                    }
                }
            };
        let defaults = other("defaults", &from.defaults, &role.defaults);
        let vars = other("vars", &from.vars, &role.vars);
        faults.into_iter().for_each(|fault| self.fault(fault));
        let handlers = match from.handlers.as_str() {
            "main" => role.handlers.clone(),
            name => {
                let Some(file) = Self::yaml_file(&role.path.join("handlers").join(name)) else {
                    self.fault(span.error(format!(
                        "the role `{}` has no file `handlers/{name}`",
                        role.name
                    )));
                    return None;
                };
                let context = Context {
                    role: Some(RoleContext {
                        name: role.name.clone(),
                        path: role.path.clone(),
                    }),
                    folder: role.path.join("handlers"),
                    handlers: true,
                    conditional: false,
                };
                let items = self.task_file(&file, &context, span);
                self.handlers(&items)
            }
        };
        Some(Arc::new(Role {
            defaults,
            vars,
            handlers,
            ..Role::clone(role)
        }))
    }

    /// Files beside `main.yml` in `vars/` and `defaults/`, for `vars_from` and `defaults_from`. Their faults are told
    /// when one is asked for: some roles keep other things there.
    fn more_vars(
        &mut self,
        role: &std::path::Path,
    ) -> std::collections::BTreeMap<(String, String), serde_json::Map<String, serde_json::Value>>
    {
        let mut out = std::collections::BTreeMap::new();
        for folder in ["vars", "defaults"] {
            let Ok(entries) = std::fs::read_dir(role.join(folder)) else {
                continue;
            };
            for path in entries.flatten().map(|entry| entry.path()) {
                let ending = path.extension().and_then(|ending| ending.to_str());
                let stem = path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if !matches!(ending, Some("yml" | "yaml")) || stem == "main" || !path.is_file() {
                    continue;
                }
                let before = std::mem::take(&mut self.diags);
                let found = self
                    .read(&path, None)
                    .map(|root| self.vars(&root, "a file of variables"));
                let faults = std::mem::replace(&mut self.diags, before);
                if let (Some(vars), false) = (found, faults.has_errors()) {
                    out.insert((folder.to_owned(), stem), vars);
                }
            }
        }
        out
    }

    /// Roles whose name a text with templates can become. One that cannot be read is left out: it is a fault only when
    /// a host comes to it.
    pub(super) fn roles_like(&mut self, pattern: &str) -> Vec<String> {
        let mut names = self.role_names();
        names.sort();
        names.dedup();
        names.retain(|name| super::matches_template(pattern, name));
        // Everything matches a name that is one template: then only the roles beside the playbook can be meant.
        let mut out = Vec::new();
        for name in names {
            let before = std::mem::take(&mut self.diags);
            let span = Span::new(Arc::new(diagnostics::Source::new("", "")), 1, 1, 1);
            let found = self.role(&name, &span);
            let faults = std::mem::replace(&mut self.diags, before);
            match (found, faults.has_errors()) {
                (Some(_), false) => out.push(name),
                _ => {
                    self.roles.insert(name, None);
                }
            }
        }
        out
    }

    /// `defaults/main.yml`, or all files of the folder `defaults/main/`.
    fn role_vars(
        &mut self,
        role: &std::path::Path,
        folder: &str,
    ) -> serde_json::Map<String, serde_json::Value> {
        let main = role.join(folder).join("main");
        let mut files: Vec<PathBuf> = Self::yaml_file(&main).into_iter().collect();
        if let Ok(entries) = std::fs::read_dir(&main) {
            let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            inside.retain(|path| {
                path.extension()
                    .is_some_and(|ending| ending == "yml" || ending == "yaml")
            });
            inside.sort();
            files.extend(inside);
        }
        let mut out = serde_json::Map::new();
        for file in files {
            if let Some(root) = self.read(&file, None) {
                out.extend(self.vars(&root, &format!("`{folder}` of a role")));
            }
        }
        out
    }

    fn role_graph(&mut self, role: &std::path::Path) -> RoleGraph {
        let mut out = RoleGraph::default();
        let Some(path) = Self::yaml_file(&role.join("meta/graph")) else {
            return out;
        };
        let Some(root) = self.read(&path, None) else {
            return out;
        };
        if root.is_null() {
            return out;
        }
        let Some(map) = root.as_map("a role's graph", &mut self.diags) else {
            return out;
        };
        map.check_keys(
            "a role's graph",
            &["needs", "provides", "budget"],
            &mut self.diags,
        );
        if let Some(budget) =
            get(map, "budget").and_then(|node| node.as_map("`budget`", &mut self.diags))
        {
            for (group, node) in budget.iter() {
                let allowed = self.allowance(node, "a budget");
                out.budget
                    .extend(allowed.map(|allowed| (group.text.clone(), allowed)));
            }
        }
        if let Some(node) = get(map, "provides") {
            out.provides = texts(node, "`provides`", &mut self.diags)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
        }
        if let Some(items) =
            get(map, "needs").and_then(|node| node.as_seq("`needs`", &mut self.diags))
        {
            out.needs = items
                .iter()
                .filter_map(|item| self.role_need(item))
                .collect();
        }
        out
    }

    fn role_need(&mut self, item: &Node) -> Option<RoleNeed> {
        if let Some(name) = item.str() {
            return Some(RoleNeed {
                capability: name.to_owned(),
                policy: Need::All,
                place: place(&item.span),
            });
        }
        let map = item.as_map("a need", &mut self.diags)?;
        map.check_keys("a need", &["capability", "policy"], &mut self.diags);
        let capability = map.required("capability", "a need", &item.span, &mut self.diags)?;
        let capability = capability
            .as_str("`capability`", &mut self.diags)?
            .to_owned();
        let policy = match get(map, "policy") {
            None => Need::All,
            Some(node) => match node.as_text("`policy`", &mut self.diags)?.as_str() {
                "all" => Need::All,
                "any" => Need::AtLeast(1),
                text => match text.strip_suffix('%').map(str::parse) {
                    Some(Ok(share @ 1..=100)) => Need::Percent(share),
                    _ => {
                        let fault = node.error(format!("`{text}` is no policy"));
                        self.fault(fault.expected("`any`, `all`, or a share such as `60%`"));
                        return None;
                    }
                },
            },
        };
        Some(RoleNeed {
            capability,
            policy,
            place: place(&item.span),
        })
    }

    fn role_names(&self) -> Vec<String> {
        let entries = self
            .search
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .flatten();
        let names = entries
            .filter(|entry| is_role(&entry.path()))
            .map(|entry| entry.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

fn is_role(path: &std::path::Path) -> bool {
    [
        "tasks",
        "handlers",
        "defaults",
        "vars",
        "meta",
        "templates",
        "files",
    ]
    .iter()
    .any(|name| path.join(name).is_dir())
}
