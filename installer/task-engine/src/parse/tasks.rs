//! Task lists: tasks, blocks and handlers.
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use yaml_source::{Fault, Key, Map, Node, Span};

use super::action::{CONTROLLER, is_elsewhere};
use super::keywords::{BLOCK, SHARED, TASK, UNSUPPORTED};
use super::{Block, Context, Item, Parser, Task, get, place, short_name, texts};

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
}
