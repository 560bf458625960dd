//! Arguments that name files of the deployment host: read, rendered, and sent as content, because a node's agent sees
//! nothing of the deployment host.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

use super::context::Context;
use crate::template::{TemplateError, Templates, display};
use crate::vars::{Layer, Scope};

/// What one frame can carry, with room for the rest of the task. Larger files are for `get_url`.
const FILE_BYTES_MAX: u64 = 10 << 20;

type Filled = Result<Map<String, Json>, String>;

/// Completes the arguments of modules that take a file of the deployment host.
pub(super) fn fill_in(
    templates: &Templates,
    module: &str,
    mut args: Map<String, Json>,
    context: &Context,
    scope: &Arc<Scope>,
    playbook: &Path,
) -> Result<Filled, TemplateError> {
    let text = |args: &Map<String, Json>, name: &str| args.get(name).map(display);
    let remote = text(&args, "remote_src")
        .is_some_and(|value| matches!(value.to_lowercase().as_str(), "true" | "yes"));
    match module {
        "template" => {
            let Some(src) = text(&args, "src") else {
                return Ok(Ok(args));
            };
            let path = match find(&src, "templates", context, playbook) {
                Ok(path) => path,
                Err(msg) => return Ok(Err(msg)),
            };
            let source = match std::fs::read_to_string(&path) {
                Ok(source) => source,
                Err(error) => {
                    return Ok(Err(format!("`{}` cannot be read: {error}", path.display())));
                }
            };
            let scope = scope.with(Layer::literal([
                (
                    "template_path".to_owned(),
                    Json::from(path.to_string_lossy()),
                ),
                ("ansible_managed".to_owned(), Json::from("Ansible managed")),
            ]));
            let content = templates.text(&path.to_string_lossy(), &source, &scope)?;
            args.insert("content".to_owned(), Json::from(content));
        }
        "copy" if !remote && !args.contains_key("content") => {
            let Some(src) = text(&args, "src") else {
                return Ok(Ok(args));
            };
            match content(&src, context, playbook) {
                Ok((key, value)) => args.insert(key.to_owned(), Json::from(value)),
                Err(msg) => return Ok(Err(msg)),
            };
            // With `content` the module takes no `src`; a folder as destination needs the file's name.
            args.remove("src");
            if let Some(Json::String(dest)) = args.get_mut("dest")
                && dest.ends_with('/')
            {
                dest.push_str(
                    Path::new(&src)
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .as_ref(),
                );
            }
        }
        "script" => {
            let Some(line) = text(&args, "cmd") else {
                return Ok(Ok(args));
            };
            let name = line
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            match content(&name, context, playbook) {
                Ok(("content", value)) => args.insert("content".to_owned(), Json::from(value)),
                Ok(_) => return Ok(Err(format!("the script `{name}` is no text"))),
                Err(msg) => return Ok(Err(msg)),
            };
        }
        "unarchive" | "assemble" if !remote => {
            return Ok(Err(format!(
                "`{module}` of files of the deployment host is not supported: use `remote_src: true`, or `get_url`"
            )));
        }
        _ => {}
    }
    Ok(Ok(args))
}

fn content(
    name: &str,
    context: &Context,
    playbook: &Path,
) -> Result<(&'static str, String), String> {
    let path = find(name, "files", context, playbook)?;
    let about = std::fs::metadata(&path)
        .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    if about.is_dir() {
        return Err(format!(
            "`{}` is a folder; copying whole folders is not supported",
            path.display()
        ));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(format!(
            "`{}` is larger than {} MiB: use `get_url`",
            path.display(),
            FILE_BYTES_MAX >> 20
        ));
    }
    let bytes = std::fs::read(&path)
        .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => ("content", text),
        Err(error) => ("content_base64", STANDARD.encode(error.as_bytes())),
    })
}

/// Where Ansible looks: the role's folder of this kind, the role's tasks, then the same beside the playbook.
fn find(name: &str, folder: &str, context: &Context, playbook: &Path) -> Result<PathBuf, String> {
    let role = context.role.as_ref().map(|role| role.role.path.clone());
    let mut places = Vec::new();
    if let Some(role) = &role {
        places.extend([role.join(folder), role.join("tasks"), role.clone()]);
    }
    places.extend([playbook.join(folder), playbook.to_path_buf()]);
    let found = places
        .iter()
        .map(|place| place.join(name))
        .find(|path| path.exists());
    found.ok_or_else(|| {
        let places: Vec<String> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        format!("`{name}` was not found in {}", places.join(", "))
    })
}
