//! Task lists: tasks, blocks, imports and includes.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use yaml_source::{Fault, Key, Map, Node, Span};

use super::keywords::{BLOCK, SHARED, TASK, UNSUPPORTED};
use super::{
    Action, Block, Context, Inherited, Item, Loop, LoopSource, ModuleSpec, Parser, Task, get,
    place, short_name, texts,
};

/// Modules that run here and not on the node.
const CONTROLLER: &[&str] = &[
    "add_host",
    "assert",
    "debug",
    "fail",
    "group_by",
    "import_role",
    "import_tasks",
    "include",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "set_fact",
    "wait_for_connection",
];

/// Modules of Ansible for systems that nodes of this product do not run, or for which it has no use. Where a condition
/// may keep one from running (`when: ansible_os_family == 'RedHat'`) it is no fault of the role.
const ELSEWHERE: &[&str] = &[
    "apk",
    "dnf",
    "dnf5",
    "firewalld",
    "homebrew",
    "homebrew_cask",
    "homebrew_tap",
    "launchd",
    "openbsd_pkg",
    "opkg",
    "pacman",
    "pkg5",
    "pkgin",
    "pkgng",
    "pkgutil",
    "portage",
    "rhsm_repository",
    "redhat_subscription",
    "rpm_key",
    "seboolean",
    "sefcontext",
    "selinux",
    "selinux_permissive",
    "seport",
    "slackpkg",
    "snap",
    "svr4pkg",
    "swdepot",
    "urpmi",
    "win_command",
    "win_copy",
    "win_feature",
    "win_file",
    "win_package",
    "win_reboot",
    "win_regedit",
    "win_service",
    "win_shell",
    "win_template",
    "win_user",
    "xbps",
    "yum",
    "yum_repository",
    "zypper",
    "zypper_repository",
];

fn is_elsewhere(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    ELSEWHERE.contains(&last)
}

impl Parser<'_> {
    /// A file of tasks, read once.
    pub(super) fn task_file(
        &mut self,
        path: &Path,
        context: &Context,
        span: &Span,
    ) -> Arc<Vec<Item>> {
        if let Some(items) = self.files.get(path) {
            return items.clone();
        }
        let Some(root) = self.read(path, Some(span)) else {
            return Arc::default();
        };
        self.open.push(path.to_path_buf());
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let context = Context {
            folder,
            ..context.clone()
        };
        let items = Arc::new(self.task_list(&root, &context));
        self.open.pop();
        self.files.insert(path.to_path_buf(), items.clone());
        items
    }

    pub(super) fn task_list(&mut self, node: &Node, context: &Context) -> Vec<Item> {
        if node.is_null() {
            return Vec::new();
        }
        let Some(items) = node.as_seq("a list of tasks", &mut self.diags) else {
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.item(item, context))
            .collect()
    }

    /// Handlers of a list, blocks taken apart; their names become known to `notify`.
    pub(super) fn handlers(&mut self, items: &[Item]) -> Vec<Arc<Task>> {
        let mut out = Vec::new();
        for item in items {
            match item {
                Item::Task(task) => {
                    self.handler_names.extend(task.name.clone());
                    self.handler_names.extend(task.listen.iter().cloned());
                    out.push(task.clone());
                }
                Item::Block(block) => out.extend(self.handlers(&block.body)),
            }
        }
        out
    }

    fn item(&mut self, node: &Node, context: &Context) -> Option<Item> {
        let map = node.as_map("a task", &mut self.diags)?;
        if map.contains_key("block") {
            return self.block(node, map, context);
        }
        let (key, value) = self.action_key(node, map)?;
        let mut inherited = self.inherited(map);
        let context = &Context {
            conditional: context.conditional || map.contains_key("when"),
            ..context.clone()
        };
        // `action: copy src=a dest=b`, and the same on the deployment host.
        let unfolded;
        let (key, value) = match key.text.as_str() {
            "action" | "local_action" => {
                if key.text == "local_action" {
                    inherited.delegate_to = Some(Json::from("localhost"));
                }
                unfolded = self.unfold(key, value)?;
                (&unfolded.0, &unfolded.1)
            }
            _ => (key, value),
        };
        match short_name(&key.text) {
            "import_tasks" => return self.import_tasks(key, value, map, inherited, context),
            "import_role" => return self.import_role(key, value, inherited, context),
            _ => {}
        }
        let action = self.action(key, value, map, context)?;
        let mut task = Task {
            name: get(map, "name").and_then(|node| node.as_text("`name`", &mut self.diags)),
            inherited,
            r#loop: self.looping(map),
            retries: get(map, "retries").map(|node| self.data(node)),
            delay: get(map, "delay").map(|node| self.data(node)),
            timeout: match (get(map, "timeout"), self.waits(map)) {
                (Some(node), _) => Some(self.data(node)),
                (None, limit) => limit,
            },
            ..Task::new(action, place(&node.span))
        };
        if let Some(node) = get(map, "register") {
            task.register = node
                .as_str("`register`", &mut self.diags)
                .map(str::to_owned);
            if task
                .register
                .as_deref()
                .is_some_and(|name| !super::is_variable_name(name))
            {
                self.fault(node.error("`register` is not the name of a variable"));
            }
        }
        for (keyword, into) in [
            ("changed_when", &mut task.changed_when),
            ("failed_when", &mut task.failed_when),
            ("until", &mut task.until),
        ] {
            *into = get(map, keyword).map(|node| self.conditions(node, keyword));
        }
        if let Some(node) = get(map, "notify") {
            for (name, span) in texts(node, "`notify`", &mut self.diags) {
                if !crate::template::has_template(&name) {
                    self.notified.push((name.clone(), span));
                }
                task.notify.push(name);
            }
        }
        if let Some((key, node)) = map.get_entry("listen") {
            task.listen = texts(node, "`listen`", &mut self.diags)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            if !context.handlers {
                self.fault(key.error("only handlers can `listen`"));
            }
        }
        Some(Item::Task(Arc::new(task)))
    }

    /// The one key that is no keyword.
    fn action_key<'a>(&mut self, node: &Node, map: &'a Map) -> Option<(&'a Key, &'a Node)> {
        let is_keyword = |key: &Key| {
            let key = key.text.as_str();
            SHARED.contains(&key)
                || (TASK.contains(&key) && !matches!(key, "action" | "local_action"))
                || key.starts_with("with_")
        };
        let mut found: Vec<(&Key, &Node)> = Vec::new();
        for (key, value) in map.iter().filter(|(key, _)| !is_keyword(key)) {
            let name = short_name(&key.text);
            if matches!(name, "action" | "local_action")
                || CONTROLLER.contains(&name)
                || self.catalogue.get(name).is_some()
                || is_elsewhere(&key.text)
            {
                found.push((key, value));
            } else {
                self.unknown_module(key);
                return None;
            }
        }
        match found.as_slice() {
            [one] => Some(*one),
            [] => {
                self.fault(
                    node.error("a task lacks its module")
                        .expected("one key that names a module"),
                );
                None
            }
            [(first, _), (second, _), ..] => {
                let message = format!(
                    "a task has two modules, `{}` and `{}`",
                    first.text, second.text
                );
                self.fault(second.error(message).expected("one module a task"));
                None
            }
        }
    }

    /// The module and its arguments inside `action`.
    fn unfold(&mut self, key: &Key, value: &Node) -> Option<(Key, Node)> {
        let named = |text: &str, span: &Span| Key {
            span: span.clone(),
            text: text.to_owned(),
            value: yaml_source::Value::String(text.to_owned()),
        };
        let (inner, args) = if let Some(text) = value.str() {
            let text = text.trim();
            let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            let rest = match rest.trim() {
                "" => yaml_source::Value::Null,
                rest => yaml_source::Value::String(rest.to_owned()),
            };
            (
                named(name, &value.span),
                Node::new(value.span.clone(), rest),
            )
        } else {
            let map = value.as_map(&format!("`{}`", key.text), &mut self.diags)?;
            let Some(module) = get(map, "module") else {
                self.fault(key.error(format!("`{}` lacks `module`", key.text)));
                return None;
            };
            let name = module.as_str("`module`", &mut self.diags)?;
            let mut rest = Map::default();
            for (key, value) in map.iter().filter(|(key, _)| key.text != "module") {
                rest.insert(key.clone(), value.clone());
            }
            let rest = Node::new(value.span.clone(), yaml_source::Value::Map(rest));
            (named(name, &module.span), rest)
        };
        let name = short_name(&inner.text);
        if !CONTROLLER.contains(&name)
            && self.catalogue.get(name).is_none()
            && !is_elsewhere(&inner.text)
        {
            self.unknown_module(&inner);
            return None;
        }
        Some((inner, args))
    }

    fn unknown_module(&mut self, key: &Key) {
        if UNSUPPORTED.contains(&key.text.as_str()) {
            return self.unknown_key(key, "a task", &[]);
        }
        let known: Vec<String> = self
            .catalogue
            .names()
            .chain(CONTROLLER.iter().chain(SHARED).chain(TASK).copied())
            .map(str::to_owned)
            .collect();
        let fault = key.error(format!("there is no module or keyword `{}`", key.text));
        self.fault(fault.suggest(short_name(&key.text), known.iter().map(String::as_str)));
    }

    fn block(&mut self, node: &Node, map: &Map, context: &Context) -> Option<Item> {
        let known: Vec<&str> = SHARED.iter().chain(BLOCK).copied().collect();
        for key in map.keys().filter(|key| !known.contains(&key.text.as_str())) {
            self.unknown_key(key, "a block", &known);
        }
        let inherited = self.inherited(map);
        let context = &Context {
            conditional: context.conditional || map.contains_key("when"),
            ..context.clone()
        };
        let mut list = |name: &str| {
            map.get(name)
                .map(|node| self.task_list(node, context))
                .unwrap_or_default()
        };
        let (body, rescue, always) = (list("block"), list("rescue"), list("always"));
        let name = get(map, "name").and_then(|node| node.as_text("`name`", &mut self.diags));
        Some(Item::Block(Arc::new(Block {
            name,
            inherited,
            body,
            rescue,
            always,
            role: None,
            place: place(&node.span),
        })))
    }

    fn import_tasks(
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

    fn import_role(
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

    fn action(&mut self, key: &Key, value: &Node, map: &Map, context: &Context) -> Option<Action> {
        let name = short_name(&key.text);
        if is_elsewhere(&key.text) && self.catalogue.get(name).is_none() {
            if context.conditional {
                let name = key.text.clone();
                return Some(Action::Unsupported { name });
            }
            self.fault(
                key.error(format!(
                    "the module `{}` is for systems that are not supported",
                    key.text
                ))
                .expected("`apt` or `package`, or a condition that keeps it from running here"),
            );
            return None;
        }
        let mut more = get(map, "args");
        let spec = |args: &[&str], free_form| ModuleSpec {
            args: args
                .iter()
                .map(|name| super::ArgSpec {
                    name: (*name).to_owned(),
                    ..Default::default()
                })
                .collect(),
            free_form,
            idempotent: true,
        };
        let mut plain = |parser: &mut Self, names: &[&str], free_form| {
            let spec = spec(names, free_form);
            match parser.arguments(key, value, more.take(), &spec) {
                super::Args::Map(args) => Some(args),
                super::Args::Template(_) => {
                    parser.fault(
                        value.error(format!("the arguments of `{name}` must be written out")),
                    );
                    None
                }
            }
        };
        Some(match name {
            "set_fact" => {
                let mut facts = match value.map() {
                    Some(_) => self.vars(value, "`set_fact`"),
                    None => plain(self, &[], None)?,
                };
                facts.remove("cacheable");
                Action::SetFact { facts }
            }
            "debug" => {
                let mut args = plain(self, &["msg", "var", "verbosity"], None)?;
                let var = args
                    .remove("var")
                    .and_then(|var| var.as_str().map(str::to_owned));
                let verbosity = args
                    .remove("verbosity")
                    .and_then(|level| level.as_i64())
                    .unwrap_or(0);
                Action::Debug {
                    msg: args.remove("msg"),
                    var,
                    verbosity,
                }
            }
            "assert" => {
                let mut args = plain(
                    self,
                    &["that", "fail_msg", "msg", "success_msg", "quiet"],
                    None,
                )?;
                let that = match value.map().and_then(|map| get(map, "that")) {
                    Some(node) => self.conditions(node, "that"),
                    None => {
                        self.fault(key.error("`assert` lacks `that`"));
                        Vec::new()
                    }
                };
                let fail_msg = args.remove("fail_msg").or_else(|| args.remove("msg"));
                let quiet = args
                    .remove("quiet")
                    .and_then(|quiet| quiet.as_bool())
                    .unwrap_or(false);
                Action::Assert {
                    that,
                    fail_msg,
                    success_msg: args.remove("success_msg"),
                    quiet,
                }
            }
            "fail" => Action::Fail {
                msg: plain(self, &["msg"], None)?.remove("msg"),
            },
            "pause" => {
                let mut args = plain(self, &["seconds", "minutes"], None)?;
                let seconds = match (args.remove("seconds"), args.remove("minutes")) {
                    (Some(seconds), _) => seconds,
                    (None, Some(Json::Number(minutes))) => {
                        Json::from(minutes.as_f64().unwrap_or(0.0) * 60.0)
                    }
                    _ => {
                        self.fault(
                            key.error("`pause` cannot wait for a key")
                                .expected("`seconds` or `minutes`"),
                        );
                        return None;
                    }
                };
                Action::Pause { seconds }
            }
            "meta" => self.meta(value)?,
            "include_tasks" | "include" => {
                let file = self.file_name(key, value)?;
                // What includes it may never come to it.
                let inner = Context {
                    conditional: context.conditional || crate::template::has_template(&file),
                    ..context.clone()
                };
                if crate::template::has_template(&file) {
                    self.read_all_task_files(&inner, &file, &key.span);
                } else {
                    let path = self.task_path(&file, context, &value.span)?;
                    if !self.open.contains(&path) {
                        self.task_file(&path, &inner, &value.span);
                    }
                }
                let apply = self.apply(value);
                Action::IncludeTasks { file, apply }
            }
            "include_role" => {
                let reference = self.role_reference(key, value)?;
                let names = match crate::template::has_template(&reference.name) {
                    true => self.roles_like(&reference.name),
                    false => vec![reference.name.clone()],
                };
                if names.is_empty() {
                    let fault = reference
                        .span
                        .error("no role has a name that this can become");
                    self.fault(fault.expected("a role in one of the folders of roles"));
                }
                for name in names {
                    if let Some(role) = self.role(&name, &reference.span) {
                        if reference.from.tasks != "main"
                            && !crate::template::has_template(&reference.from.tasks)
                        {
                            let file = &reference.from.tasks;
                            self.role_file(&role, file, &reference.span, true)?;
                        } else if reference.from.tasks != "main" {
                            let inner = Context {
                                role: Some(super::RoleContext {
                                    name: role.name.clone(),
                                    path: role.path.clone(),
                                }),
                                folder: role.path.join("tasks"),
                                handlers: false,
                                conditional: true,
                            };
                            self.read_all_task_files(&inner, &reference.from.tasks, &key.span);
                        }
                        self.role_with(&role, &reference.from, &reference.span)?;
                    }
                }
                Action::IncludeRole {
                    role: reference.name,
                    from: reference.from,
                    apply: self.apply(value),
                    public: reference.public,
                }
            }
            "group_by" => {
                let mut args = plain(self, &["key", "parents"], None)?;
                let Some(key) = args.remove("key") else {
                    self.fault(key.error("`group_by` lacks `key`"));
                    return None;
                };
                let parents = args.remove("parents");
                Action::GroupBy { key, parents }
            }
            "add_host" => {
                let args = self.vars(value, "`add_host`");
                if !["name", "hostname", "host"]
                    .iter()
                    .any(|name| args.contains_key(*name))
                {
                    self.fault(key.error("`add_host` lacks `name`"));
                    return None;
                }
                Action::AddHost { args }
            }
            "include_vars" => {
                let names = [
                    "file",
                    "name",
                    "dir",
                    "depth",
                    "files_matching",
                    "ignore_files",
                    "extensions",
                    "ignore_unknown_extensions",
                ];
                let args = plain(self, &names, Some("file"))?;
                if args.contains_key("file") == args.contains_key("dir") {
                    self.fault(key.error("`include_vars` takes either `file` or `dir`"));
                    return None;
                }
                Action::IncludeVars { args }
            }
            "wait_for_connection" => {
                let mut args = plain(
                    self,
                    &["timeout", "delay", "sleep", "connect_timeout"],
                    None,
                )?;
                Action::WaitForConnection {
                    timeout: args.remove("timeout"),
                }
            }
            name => {
                let spec = self.catalogue.get(name)?;
                Action::Module {
                    name: name.to_owned(),
                    args: self.arguments(key, value, more, spec),
                }
            }
        })
    }

    fn meta(&mut self, value: &Node) -> Option<Action> {
        const KNOWN: &[&str] = &[
            "flush_handlers",
            "noop",
            "end_host",
            "end_play",
            "clear_facts",
            "reset_connection",
            "clear_host_errors",
            "end_batch",
            "end_role",
        ];
        let word = value.as_str("`meta`", &mut self.diags)?;
        Some(match word {
            "flush_handlers" => Action::FlushHandlers,
            "noop" | "reset_connection" | "clear_host_errors" => Action::Noop,
            // Every host comes here by itself, so each ends its own part of the play.
            "end_host" | "end_play" | "end_batch" => Action::EndHost,
            "end_role" => Action::EndRole,
            "refresh_inventory" => {
                let fault = value.error(
                    "`meta: refresh_inventory` is not supported: the inventory is read once",
                );
                self.fault(
                    fault.expected("`add_host` for hosts that come up while the playbook runs"),
                );
                return None;
            }
            "clear_facts" => Action::ClearFacts,
            _ => {
                let fault = value
                    .error(format!("`meta` cannot `{word}`"))
                    .suggest(word, KNOWN.iter().copied());
                self.fault(fault);
                return None;
            }
        })
    }

    /// The file that `include_tasks: x.yml` or `include_tasks: {file: x.yml}` names.
    fn file_name(&mut self, key: &Key, value: &Node) -> Option<String> {
        match value.map().and_then(|map| get(map, "file")) {
            Some(node) => node.as_str("`file`", &mut self.diags).map(str::to_owned),
            None => value
                .as_str(&format!("`{}`", key.text), &mut self.diags)
                .map(|text| text.trim().to_owned()),
        }
    }

    /// `apply` of a dynamic include: keywords for every task in it.
    fn apply(&mut self, value: &Node) -> Inherited {
        let Some(node) = value.map().and_then(|map| get(map, "apply")) else {
            return Inherited::default();
        };
        let Some(map) = node.as_map("`apply`", &mut self.diags) else {
            return Inherited::default();
        };
        map.check_keys("`apply`", SHARED, &mut self.diags);
        self.inherited(map)
    }

    fn role_reference(&mut self, key: &Key, value: &Node) -> Option<RoleReference> {
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

    fn role_file(
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
    fn task_path(&mut self, file: &str, context: &Context, span: &Span) -> Option<PathBuf> {
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
    fn read_all_task_files(&mut self, context: &Context, pattern: &str, span: &Span) {
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

    fn looping(&mut self, map: &Map) -> Option<Loop> {
        let mut found = None;
        for (key, node) in map.iter() {
            let source: fn(Json) -> LoopSource = match key.text.as_str() {
                "loop" | "with_list" => LoopSource::List,
                "with_items" => LoopSource::Items,
                "with_dict" => LoopSource::Dict,
                "with_sequence" => LoopSource::Sequence,
                "with_nested" | "with_cartesian" => LoopSource::Nested,
                "with_together" => LoopSource::Together,
                "with_subelements" => LoopSource::Subelements,
                "with_indexed_items" => LoopSource::Indexed,
                "with_first_found" => |raw| LoopSource::Lookup("first_found".to_owned(), raw),
                "with_fileglob" => |raw| LoopSource::Lookup("fileglob".to_owned(), raw),
                "with_flattened" => |raw| LoopSource::Lookup("flattened".to_owned(), raw),
                "with_file" => |raw| LoopSource::Lookup("file".to_owned(), raw),
                "with_vars" => |raw| LoopSource::Lookup("vars".to_owned(), raw),
                "with_random_choice" => |raw| LoopSource::Lookup("random_choice".to_owned(), raw),
                "with_inventory_hostnames" => {
                    |raw| LoopSource::Lookup("inventory_hostnames".to_owned(), raw)
                }
                "with_lines" => {
                    let fault = key.error("`with_lines` is not supported: it would run a program on the deployment host");
                    self.fault(fault.expected(
                        "a task `command` with `delegate_to: localhost` and `register`, then `loop: \"{{ x.stdout_lines }}\"`",
                    ));
                    continue;
                }
                other if other.starts_with("with_") => {
                    let known = [
                        "with_items",
                        "with_dict",
                        "with_list",
                        "with_sequence",
                        "with_nested",
                        "with_together",
                        "with_subelements",
                        "with_first_found",
                        "with_fileglob",
                        "with_flattened",
                        "with_indexed_items",
                        "with_random_choice",
                        "with_cartesian",
                        "with_inventory_hostnames",
                    ];
                    let fault = key.error(format!("the loop `{other}` is not supported"));
                    self.fault(fault.suggest(other, known));
                    continue;
                }
                _ => continue,
            };
            if found.is_some() {
                self.fault(key.error("a task can have one loop only"));
            }
            found = Some(source(self.data(node)));
        }
        let mut out = Loop {
            source: found?,
            variable: "item".to_owned(),
            index_variable: None,
            label: None,
            pause_seconds: None,
            extended: false,
        };
        if let Some(control) =
            get(map, "loop_control").and_then(|node| node.as_map("`loop_control`", &mut self.diags))
        {
            let known = ["loop_var", "index_var", "label", "pause", "extended"];
            control.check_keys("`loop_control`", &known, &mut self.diags);
            let mut name = |key: &str| {
                get(control, key)
                    .and_then(|node| node.as_str(key, &mut self.diags))
                    .map(str::to_owned)
            };
            if let Some(variable) = name("loop_var") {
                out.variable = variable;
            }
            out.index_variable = name("index_var");
            out.label = get(control, "label").map(|node| self.data(node));
            out.extended = get(control, "extended")
                .and_then(|node| node.as_bool("`extended`", &mut self.diags))
                .unwrap_or(false);
            out.pause_seconds = get(control, "pause").map(|node| self.data(node));
        }
        Some(out)
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

/// What `include_role` and `import_role` say of the role.
struct RoleReference {
    name: String,
    span: Span,
    from: super::RoleFiles,
    public: bool,
}
