//! Imports and includes: which files and roles they name, and reading them.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use yaml_source::{Fault, Key, Map, Node, Span};

use super::keywords::SHARED;
use super::{Block, Context, Inherited, Item, Parser, get, place};

/// What `include_role` and `import_role` say of the role.
pub(super) struct RoleReference {
    pub name: String,
    pub span: Span,
    pub from: super::RoleFiles,
    pub public: bool,
}

impl Parser<'_> {
    pub(super) fn import_tasks(
        &mut self,
        key: &Key,
        value: &Node,
        map: &Map,
        inherited: Inherited,
        context: &Context,
    ) -> Option<Item> {
        let file = self.file_name(key, value)?;
        if map
            .keys()
            .any(|key| key.text == "loop" || key.text.starts_with("with_"))
        {
            self.fault(
                key.error("`import_tasks` cannot be looped")
                    .expected("`include_tasks`"),
            );
        }
        if crate::template::has_template(&file) {
            self.fault(
                value
                    .error("the file of `import_tasks` must be known beforehand")
                    .expected("`include_tasks`"),
            );
            return None;
        }
        let path = self.task_path(&file, context, &value.span)?;
        if self.open.contains(&path) {
            self.fault(value.error(format!("`{file}` imports itself")));
            return None;
        }
        let body = self.task_file(&path, context, &value.span).to_vec();
        Some(self.imported(key, inherited, body, None))
    }

    pub(super) fn import_role(
        &mut self,
        key: &Key,
        value: &Node,
        inherited: Inherited,
        context: &Context,
    ) -> Option<Item> {
        let reference = self.role_reference(key, value)?;
        if crate::template::has_template(&reference.name) {
            let fault = reference
                .span
                .error("the name of a role that is imported must be known beforehand");
            self.fault(fault.expected("`include_role`"));
            return None;
        }
        let role = self.role(&reference.name, &reference.span)?;
        let from = &reference.from;
        let body = match from.tasks.as_str() {
            "main" => role.main.clone(),
            file => self.role_file(&role, file, &reference.span, context.conditional)?,
        };
        let role = self.role_with(&role, from, &reference.span)?;
        Some(self.imported(key, inherited, body.to_vec(), Some(role)))
    }

    fn imported(
        &mut self,
        key: &Key,
        inherited: Inherited,
        body: Vec<Item>,
        role: Option<Arc<super::Role>>,
    ) -> Item {
        let (rescue, always) = (Vec::new(), Vec::new());
        Item::Block(Arc::new(Block {
            name: None,
            inherited,
            body,
            rescue,
            always,
            role,
            place: place(&key.span),
        }))
    }

    /// The file that `include_tasks: x.yml` or `include_tasks: {file: x.yml}` names.
    pub(super) fn file_name(&mut self, key: &Key, value: &Node) -> Option<String> {
        match value.map().and_then(|map| get(map, "file")) {
            Some(node) => node.as_str("`file`", &mut self.diags).map(str::to_owned),
            None => value
                .as_str(&format!("`{}`", key.text), &mut self.diags)
                .map(|text| text.trim().to_owned()),
        }
    }

    /// `apply` of a dynamic include: keywords for every task in it.
    pub(super) fn apply(&mut self, value: &Node) -> Inherited {
        let Some(node) = value.map().and_then(|map| get(map, "apply")) else {
            return Inherited::default();
        };
        let Some(map) = node.as_map("`apply`", &mut self.diags) else {
            return Inherited::default();
        };
        map.check_keys("`apply`", SHARED, &mut self.diags);
        self.inherited(map)
    }

    pub(super) fn role_reference(&mut self, key: &Key, value: &Node) -> Option<RoleReference> {
        let what = format!("`{}`", key.text);
        // `include_role: name=x tasks_from=y` in old roles.
        let unfolded;
        let map = match value.str() {
            Some(text) => {
                let mut map = Map::default();
                for word in text.split_whitespace() {
                    let Some((name, text)) = word.split_once('=') else {
                        self.fault(value.error(format!("{what} takes no free text")));
                        return None;
                    };
                    let key = Key {
                        span: value.span.clone(),
                        text: name.to_owned(),
                        value: yaml_source::Value::String(name.to_owned()),
                    };
                    let text = yaml_source::Value::String(text.to_owned());
                    map.insert(key, Node::new(value.span.clone(), text));
                }
                unfolded = map;
                &unfolded
            }
            None => value.as_map(&what, &mut self.diags)?,
        };
        let known = [
            "name",
            "role",
            "tasks_from",
            "public",
            "apply",
            "handlers_from",
            "vars_from",
            "defaults_from",
            "allow_duplicates",
            "rolespec_validate",
        ];
        map.check_keys(&what, &known, &mut self.diags);
        let Some(name) = get(map, "name").or_else(|| get(map, "role")) else {
            self.fault(key.error(format!("{what} lacks `name`")));
            return None;
        };
        let mut from = super::RoleFiles::default();
        for (key, into) in [
            ("tasks_from", &mut from.tasks),
            ("vars_from", &mut from.vars),
            ("defaults_from", &mut from.defaults),
            ("handlers_from", &mut from.handlers),
        ] {
            if let Some(node) = get(map, key) {
                let text = node.as_str(&format!("`{key}`"), &mut self.diags)?;
                let bare = text
                    .strip_suffix(".yml")
                    .or_else(|| text.strip_suffix(".yaml"));
                *into = bare.unwrap_or(text).to_owned();
            }
        }
        let public = get(map, "public")
            .and_then(|node| node.as_bool("`public`", &mut self.diags))
            .unwrap_or(false);
        Some(RoleReference {
            name: name.as_str("`name`", &mut self.diags)?.to_owned(),
            span: name.span.clone(),
            from,
            public,
        })
    }

    pub(super) fn role_file(
        &mut self,
        role: &super::Role,
        file: &str,
        span: &Span,
        conditional: bool,
    ) -> Option<Arc<Vec<Item>>> {
        let Some(path) = Self::yaml_file(&role.path.join("tasks").join(file)) else {
            self.fault(span.error(format!(
                "the role `{}` has no task file `{file}`",
                role.name
            )));
            return None;
        };
        let context = Context {
            role: Some(super::RoleContext {
                name: role.name.clone(),
                path: role.path.clone(),
            }),
            folder: role.path.join("tasks"),
            handlers: false,
            conditional,
        };
        Some(self.task_file(&path, &context, span))
    }

    /// Relative to the file that names it, else to the role's tasks, else to the playbook.
    pub(super) fn task_path(
        &mut self,
        file: &str,
        context: &Context,
        span: &Span,
    ) -> Option<PathBuf> {
        let mut folders = vec![context.folder.clone()];
        folders.extend(context.role.iter().map(|role| role.path.join("tasks")));
        folders.push(self.folder.clone());
        let found = folders
            .iter()
            .find_map(|folder| Self::yaml_file(&folder.join(file)));
        if found.is_none() {
            let role = context
                .role
                .as_ref()
                .map(|role| format!(" of the role `{}`", role.name))
                .unwrap_or_default();
            self.fault(span.error(format!("there is no task file `{file}`{role}")));
        }
        found
    }

    /// For an include whose file name is known only at run time: every file that it can name is checked beforehand.
    pub(super) fn read_all_task_files(&mut self, context: &Context, pattern: &str, span: &Span) {
        let folder = context
            .role
            .as_ref()
            .map_or(context.folder.clone(), |role| role.path.join("tasks"));
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                if path.is_dir() {
                    folders.push(path);
                } else if path
                    .extension()
                    .is_some_and(|ending| ending == "yml" || ending == "yaml")
                    && !self.open.contains(&path)
                    && context.role.is_some()
                    && can_be(pattern, &path)
                {
                    self.task_file(&path, context, span);
                }
            }
        }
    }
}

/// Whether a file name with templates can become this path: its last part is compared, with and without ending.
fn can_be(pattern: &str, path: &Path) -> bool {
    let last = match pattern.rsplit_once('/') {
        // A slash inside a template says nothing about the name.
        Some((_, last)) if last.contains("{{") || !last.contains("}}") => last,
        _ => pattern,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    super::matches_template(last, &name) || super::matches_template(last, &stem)
}
