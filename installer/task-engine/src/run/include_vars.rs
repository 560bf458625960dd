//! `include_vars`: a file of variables, or all files of a folder, opened where Ansible Vault has sealed them.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::context::Context;
use super::controller::result;
use super::item::RoundEnd;
use super::walk::Walk;
use crate::template::{TemplateError, display};
use crate::vars::{Layer, Scope};
use crate::vault::{self, Vault};

/// Folders in folders; a link that goes round is stopped here.
const DEPTH_MAX: usize = 20;

pub(super) fn run(
    walk: &Walk,
    context: &Context,
    scope: &Arc<Scope>,
    args: &Map<String, Json>,
) -> Result<RoundEnd, TemplateError> {
    let Json::Object(args) = walk
        .engine
        .templates
        .value(&Json::Object(args.clone()), scope)?
    else {
        return Ok(RoundEnd::failed(
            "the arguments of `include_vars` are no mapping",
        ));
    };
    let places = places(walk, context);
    let paths = match (args.get("file"), args.get("dir")) {
        (Some(file), _) => {
            let names = texts(file);
            let found = names.iter().find_map(|name| {
                places
                    .iter()
                    .map(|place| place.join(name))
                    .find(|path| path.is_file())
            });
            match found {
                Some(path) => vec![path],
                None => {
                    return Ok(RoundEnd::failed(format!(
                        "there is no file of variables `{}`",
                        names.join("`, `")
                    )));
                }
            }
        }
        (None, Some(dir)) => {
            let name = display(dir);
            let Some(folder) = places
                .iter()
                .map(|place| place.join(&name))
                .find(|path| path.is_dir())
            else {
                return Ok(RoundEnd::failed(format!(
                    "there is no folder of variables `{name}`"
                )));
            };
            match Choice::of(&args).and_then(|choice| choice.files(&folder)) {
                Ok(paths) => paths,
                Err(msg) => return Ok(RoundEnd::failed(msg)),
            }
        }
        (None, None) => return Ok(RoundEnd::failed("`include_vars` lacks `file` or `dir`")),
    };
    let mut vars = Map::new();
    for path in &paths {
        match read(path, &walk.engine.playbook.vault) {
            Ok(found) => vars.extend(found),
            Err(msg) => return Ok(RoundEnd::failed(msg)),
        }
    }
    walk.engine
        .spec
        .hidden
        .add(walk.engine.playbook.vault.opened());
    // Rendered now: what is kept with results is text, not templates. What cannot be rendered yet is left out of sight
    // no longer than until it is asked for, so it stays as it is.
    let inner = scope.with(Layer::new(&vars));
    let mut set = Vec::new();
    for (name, raw) in &vars {
        set.push((name.clone(), walk.engine.templates.value(raw, &inner)?));
    }
    let set = match args.get("name") {
        Some(name) => vec![(display(name), Json::Object(set.into_iter().collect()))],
        None => set,
    };
    let files: Vec<String> = paths
        .iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let facts: Map<String, Json> = set.iter().cloned().collect();
    Ok(RoundEnd {
        set,
        ..RoundEnd::ok(result(
            "",
            [
                ("ansible_included_var_files", json!(files)),
                ("facts", Json::Object(facts)),
            ],
        ))
    })
}

/// Where Ansible looks, in this order.
fn places(walk: &Walk, context: &Context) -> Vec<PathBuf> {
    let mut out = Vec::new();
    if let Some(role) = &context.role {
        let path = &role.role.path;
        out.extend([path.join("vars"), path.join("tasks"), path.clone()]);
    }
    let playbook = &walk.engine.playbook.folder;
    out.extend([playbook.join("vars"), playbook.clone()]);
    out
}

fn texts(value: &Json) -> Vec<String> {
    match value {
        Json::Array(items) => items.iter().map(display).collect(),
        one => vec![display(one)],
    }
}

/// A file's variables.
fn read(path: &Path, vault: &Vault) -> Result<Map<String, Json>, String> {
    let failed = |why: String| format!("`{}` cannot be read: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let sealed = text.starts_with(vault::MARK);
    let text = match sealed {
        true => vault
            .open(&text)
            .map_err(|error| failed(error.to_string()))?,
        false => text,
    };
    let document =
        yaml_source::parse(&path.to_string_lossy(), &text).map_err(|faults| faults.to_string())?;
    let mut root = document.root.to_json();
    vault
        .open_all(&mut root)
        .map_err(|error| failed(error.to_string()))?;
    if sealed {
        vault.keep(&root);
    }
    match root {
        Json::Object(map) => Ok(map),
        Json::Null => Ok(Map::new()),
        _ => Err(format!("`{}` is no mapping", path.display())),
    }
}

/// Which files of a folder are meant.
struct Choice {
    depth: usize,
    matching: Option<regex::Regex>,
    ignored: Vec<String>,
    endings: Vec<String>,
    lenient: bool,
}

impl Choice {
    fn of(args: &Map<String, Json>) -> Result<Self, String> {
        let matching =
            match args.get("files_matching") {
                None | Some(Json::Null) => None,
                Some(pattern) => Some(regex::Regex::new(&display(pattern)).map_err(|error| {
                    format!("`files_matching` is no regular expression: {error}")
                })?),
            };
        let depth = args
            .get("depth")
            .and_then(|depth| display(depth).parse::<usize>().ok())
            .unwrap_or(0);
        Ok(Choice {
            depth: if depth == 0 {
                DEPTH_MAX
            } else {
                depth.min(DEPTH_MAX)
            },
            matching,
            ignored: args.get("ignore_files").map(texts).unwrap_or_default(),
            endings: args
                .get("extensions")
                .map(texts)
                .unwrap_or_else(|| ["json", "yaml", "yml"].map(str::to_owned).to_vec()),
            lenient: args.get("ignore_unknown_extensions").is_some_and(|value| {
                matches!(display(value).to_lowercase().as_str(), "true" | "yes")
            }),
        })
    }

    /// In the order of their names, those of inner folders after those of outer ones.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        let mut out = Vec::new();
        let mut level = vec![folder.to_path_buf()];
        for _ in 0..self.depth {
            let mut next = Vec::new();
            for folder in level {
                let entries = std::fs::read_dir(&folder)
                    .map_err(|error| format!("`{}` cannot be read: {error}", folder.display()))?;
                let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                paths.sort();
                for path in paths {
                    if path.is_dir() {
                        next.push(path);
                    } else if self.takes(&path)? {
                        out.push(path);
                    }
                }
            }
            level = next;
        }
        Ok(out)
    }

    fn takes(&self, path: &Path) -> Result<bool, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || self.ignored.iter().any(|ignored| *ignored == name) {
            return Ok(false);
        }
        if self
            .matching
            .as_ref()
            .is_some_and(|pattern| !pattern.is_match(&name))
        {
            return Ok(false);
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if self.endings.iter().any(|known| *known == ending) {
            return Ok(true);
        }
        match self.lenient {
            true => Ok(false),
            false => Err(format!(
                "`{}` has none of the endings {}",
                path.display(),
                self.endings.join(", ")
            )),
        }
    }
}
