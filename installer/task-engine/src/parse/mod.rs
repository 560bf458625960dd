//! Reading playbooks and roles in Ansible's format. Every fault of every file is collected and told at once: unknown
//! keywords, modules and arguments are refused before anything runs.
//!
//! This knows the files of the deployment host, no nodes and no values of variables.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diagnostics::{Diagnostic, Diagnostics};
use yaml_source::{Fault, Map, Node, Span};

use crate::vault::{self, Vault};

mod action;
mod args;
mod catalogue;
mod includes;
mod keywords;
mod looping;
mod model;
mod plays;
mod roles;
mod tasks;

pub use catalogue::{ArgSpec, Catalogue, ModuleSpec, short_name};
pub use model::*;

/// Reads a playbook and all roles and task files that it can lead to.
///
/// Roles are looked for beside the playbook, in `roles/` beside it, and in `role_folders`.
pub fn playbook(
    path: &Path,
    role_folders: &[PathBuf],
    catalogue: &Catalogue,
) -> Result<Playbook, Diagnostics> {
    sealed_playbook(path, role_folders, catalogue, Arc::default())
}

/// The same with passwords for what Ansible Vault has sealed.
pub fn sealed_playbook(
    path: &Path,
    role_folders: &[PathBuf],
    catalogue: &Catalogue,
    vault: Arc<Vault>,
) -> Result<Playbook, Diagnostics> {
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut search = vec![folder.join("roles"), folder.clone()];
    search.extend(role_folders.iter().cloned());
    let mut parser = Parser {
        catalogue,
        vault: vault.clone(),
        search,
        folder: folder.clone(),
        roles: BTreeMap::new(),
        files: BTreeMap::new(),
        open: Vec::new(),
        notified: Vec::new(),
        defaulted: BTreeSet::new(),
        handler_names: BTreeSet::new(),
        diags: Diagnostics::new(),
    };
    let plays = parser.plays(path);
    parser.check_notifications();
    let roles = parser
        .roles
        .into_iter()
        .filter_map(|(name, role)| Some((name, role?)))
        .collect();
    parser.diags.into_result(Playbook {
        plays,
        roles,
        files: parser.files,
        folder,
        vault,
    })
}

struct Parser<'a> {
    catalogue: &'a Catalogue,
    vault: Arc<Vault>,
    search: Vec<PathBuf>,
    folder: PathBuf,
    /// `None` while a role is being read, and for good when it cannot be.
    roles: BTreeMap<String, Option<Arc<Role>>>,
    files: BTreeMap<PathBuf, Arc<Vec<Item>>>,
    /// Files that are being read, outermost first.
    open: Vec<PathBuf>,
    notified: Vec<(String, Span)>,
    /// Arguments that some `module_defaults` gives, as `module.argument`.
    defaulted: BTreeSet<String>,
    handler_names: BTreeSet<String>,
    diags: Diagnostics,
}

/// Where a task list stands: what its relative names refer to.
#[derive(Clone)]
struct Context {
    role: Option<RoleContext>,
    /// Folder of the file that holds the list.
    folder: PathBuf,
    handlers: bool,
    /// A condition around it may keep it from ever running.
    conditional: bool,
}

#[derive(Clone)]
struct RoleContext {
    name: String,
    path: PathBuf,
}

impl Parser<'_> {
    fn fault(&mut self, diagnostic: Diagnostic) {
        self.diags.push(diagnostic);
    }

    /// A file's one document; `None` after a fault was noted, or when it is absent and `span` does not ask for it.
    fn read(&mut self, path: &Path, wanted: Option<&Span>) -> Option<Node> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let absent = error.kind() == std::io::ErrorKind::NotFound;
                let message = match absent {
                    true => format!("`{}` does not exist", path.display()),
                    false => format!("`{}` cannot be read: {error}", path.display()),
                };
                match wanted {
                    Some(span) => self.fault(span.error(message)),
                    None if absent => {}
                    None => self.fault(Diagnostic::error(message)),
                }
                return None;
            }
        };
        let sealed = text.starts_with(vault::MARK);
        let text = match sealed {
            false => text,
            true => match self.vault.open(&text) {
                Ok(text) => text,
                Err(error) => {
                    let message = format!("`{}` cannot be read: {error}", path.display());
                    self.fault(Diagnostic::error(message));
                    return None;
                }
            },
        };
        match yaml_source::parse(&path.to_string_lossy(), &text) {
            Ok(document) => {
                // The values of sealed variables are secrets; words of sealed tasks are not.
                if sealed && document.root.map().is_some() {
                    self.vault.keep(&document.root.to_json());
                }
                Some(document.root)
            }
            Err(faults) => {
                self.diags.extend(faults);
                None
            }
        }
    }

    /// The first of `path`, `path.yml`, `path.yaml` that is a file.
    fn yaml_file(path: &Path) -> Option<PathBuf> {
        let with = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        ["", ".yml", ".yaml"]
            .into_iter()
            .map(with)
            .find(|path| path.is_file())
    }

    /// Variables: a mapping, kept as data.
    fn vars(&mut self, node: &Node, what: &str) -> serde_json::Map<String, serde_json::Value> {
        let mut out = serde_json::Map::new();
        if node.is_null() {
            return out;
        }
        let Some(map) = node.as_map(what, &mut self.diags) else {
            return out;
        };
        for (key, value) in map.iter() {
            if !is_variable_name(&key.text) {
                let fault = key.error(format!("`{}` cannot be the name of a variable", key.text));
                self.fault(fault.expected("letters, digits and `_`, not beginning with a digit"));
            }
            out.insert(key.text.clone(), self.data(value));
        }
        out
    }

    /// A value as data; what is sealed is opened.
    fn data(&mut self, node: &Node) -> serde_json::Value {
        let mut out = node.to_json();
        if self.check_tags(node)
            && let Err(error) = self.vault.open_all(&mut out)
        {
            self.fault(node.error(error.to_string()));
        }
        out
    }

    /// Whether there are tags; one that means nothing here is refused.
    fn check_tags(&mut self, node: &Node) -> bool {
        match &node.value {
            yaml_source::Value::Tagged(tag, inner) => {
                match tag.as_str() {
                    "!unsafe" => {}
                    "!vault" | "!vault-encrypted" if inner.str().is_some() => {}
                    _ => {
                        let fault = node.error(format!("the tag `{tag}` is not supported here"));
                        self.fault(fault.suggest(tag, ["!vault", "!unsafe"]));
                    }
                }
                true
            }
            yaml_source::Value::Seq(items) => items
                .iter()
                .fold(false, |any, item| self.check_tags(item) | any),
            yaml_source::Value::Map(map) => map
                .iter()
                .fold(false, |any, (_, value)| self.check_tags(value) | any),
            _ => false,
        }
    }

    fn check_notifications(&mut self) {
        for (name, span) in std::mem::take(&mut self.notified) {
            let templated = |known: &String| {
                crate::template::has_template(known) && matches_template(known, &name)
            };
            if !self.handler_names.contains(&name)
                && !self.handler_names.iter().any(templated)
                && !name.contains(" : ")
            {
                let fault =
                    span.error(format!("no handler has the name `{name}` or listens to it"));
                let known: Vec<String> = self.handler_names.iter().cloned().collect();
                self.fault(fault.suggest(&name, known.iter().map(String::as_str)));
            }
        }
    }
}

/// The task that reads the first of these files that a host has.
fn vars_file_task(names: &[(String, Span)], place: Place) -> Arc<Task> {
    let files: Vec<serde_json::Value> =
        names.iter().map(|(name, _)| name.as_str().into()).collect();
    let args = serde_json::Map::from_iter([("file".to_owned(), files.into())]);
    let mut task = Task::new(Action::IncludeVars { args }, place);
    task.name = Some("Read variables".to_owned());
    task.inherited.tags.push("always".to_owned());
    Arc::new(task)
}

/// Whether a text with templates in it could become this one.
fn matches_template(template: &str, text: &str) -> bool {
    let mut rest = template;
    let mut pieces = Vec::new();
    while let Some((head, tail)) = rest.split_once("{{") {
        pieces.push(head);
        rest = tail.split_once("}}").map_or("", |(_, tail)| tail);
    }
    pieces.push(rest);
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    let Some(mut inner) = text.strip_prefix(first) else {
        return false;
    };
    for piece in &pieces[1..pieces.len() - 1] {
        match inner.find(piece) {
            Some(at) => inner = &inner[at + piece.len()..],
            None => return false,
        }
    }
    inner.ends_with(last)
}

fn place(span: &Span) -> Place {
    Place {
        file: span.file().into(),
        line: span.line(),
        column: span.column(),
    }
}

fn is_variable_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_')
}

/// A text, or a list of texts; numbers and booleans count as they are written.
fn texts(node: &Node, what: &str, diags: &mut Diagnostics) -> Vec<(String, Span)> {
    match node.seq() {
        Some(items) => items
            .iter()
            .flat_map(|item| texts(item, what, diags))
            .collect(),
        None if node.is_null() => Vec::new(),
        None => node
            .as_text(what, diags)
            .map(|text| vec![(text, node.span.clone())])
            .unwrap_or_default(),
    }
}

/// The value of a key, if the key is there.
fn get<'a>(map: &'a Map, key: &str) -> Option<&'a Node> {
    map.get(key).filter(|node| !node.is_null())
}

#[cfg(test)]
mod tests;
