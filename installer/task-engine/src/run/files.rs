//! Arguments that name files of the deployment host: read, rendered, and sent as content, because a node's agent sees
//! nothing of the deployment host.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

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
            let full = path.to_string_lossy();
            let words = [
                ("template_path", full.to_string()),
                ("template_fullpath", full.to_string()),
                ("template_destpath", text(&args, "dest").unwrap_or_default()),
            ];
            let mut layer: Vec<(String, Json)> = words
                .into_iter()
                .map(|(name, text)| (name.to_owned(), Json::from(text)))
                .collect();
            if !scope.knows("ansible_managed") {
                layer.push(("ansible_managed".to_owned(), Json::from("Ansible managed")));
            }
            let scope = scope.with(Layer::literal(layer));
            let flag = |name: &str, otherwise: bool| match text(&args, name) {
                None => otherwise,
                Some(word) => matches!(word.to_lowercase().as_str(), "true" | "yes" | "on" | "1"),
            };
            let marks = crate::template::Marks {
                trim_blocks: flag("trim_blocks", true),
                lstrip_blocks: flag("lstrip_blocks", false),
                variable: pair(&args, "variable"),
                block: pair(&args, "block"),
                comment: pair(&args, "comment"),
            };
            let content = templates.file(&full, &source, &scope, marks)?;
            args.insert("content".to_owned(), Json::from(content));
        }
        "copy" if !remote && !args.contains_key("content") => {
            let Some(src) = text(&args, "src") else {
                return Ok(Ok(args));
            };
            let path = match find(&src, "files", context, playbook) {
                Ok(path) => path,
                Err(msg) => return Ok(Err(msg)),
            };
            if path.is_dir() {
                match tree(&path, src.ends_with('/')) {
                    Ok(leaves) => args.insert("tree".to_owned(), Json::Array(leaves)),
                    Err(msg) => return Ok(Err(msg)),
                };
                args.remove("src");
                return Ok(Ok(args));
            }
            if text(&args, "mode").as_deref() == Some("preserve")
                && let Some(mode) = mode_of(&path)
            {
                args.insert("mode".to_owned(), Json::from(mode));
            }
            match content(&path) {
                Ok((key, value)) => args.insert(key.to_owned(), Json::from(value)),
                Err(msg) => return Ok(Err(msg)),
            };
            // With `content` the module takes no `src`; a folder as destination needs the file's name.
            args.remove("src");
            if let Some(Json::String(dest)) = args.get_mut("dest")
                && dest.ends_with('/')
            {
                let name = path.file_name().unwrap_or_default();
                dest.push_str(&name.to_string_lossy());
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
            let path = match find(&name, "files", context, playbook) {
                Ok(path) => path,
                Err(msg) => return Ok(Err(msg)),
            };
            match content(&path) {
                Ok(("content", value)) => args.insert("content".to_owned(), Json::from(value)),
                Ok(_) => return Ok(Err(format!("the script `{name}` is no text"))),
                Err(msg) => return Ok(Err(msg)),
            };
        }
        "assemble" if args.contains_key("remote_src") && !remote => {
            return Ok(Err(
                "`assemble` of files of the deployment host is not supported: use `template` or `copy`".to_owned(),
            ));
        }
        "unarchive" if !remote => {
            let Some(src) = text(&args, "src") else {
                return Ok(Ok(args));
            };
            if src.contains("://") {
                return Ok(Ok(args));
            }
            let bytes = find(&src, "files", context, playbook).and_then(|path| bytes(&path));
            match bytes {
                Ok(bytes) => args.insert(
                    "content_base64".to_owned(),
                    Json::from(STANDARD.encode(bytes)),
                ),
                Err(msg) => return Ok(Err(msg)),
            };
        }
        _ => {}
    }
    Ok(Ok(args))
}

/// `variable_start_string` and `variable_end_string`, where both are given.
fn pair(args: &Map<String, Json>, kind: &str) -> Option<(String, String)> {
    let mark = |end: &str| {
        args.get(&format!("{kind}_{end}_string"))
            .and_then(Json::as_str)
            .map(str::to_owned)
    };
    Some((mark("start")?, mark("end")?))
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |why: String| format!("`{}` cannot be read: {why}", path.display());
    let about = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(format!(
            "`{}` is larger than {} MiB: use `get_url`",
            path.display(),
            FILE_BYTES_MAX >> 20
        ));
    }
    std::fs::read(path).map_err(|error| failed(error.to_string()))
}

fn content(path: &Path) -> Result<(&'static str, String), String> {
    Ok(match String::from_utf8(bytes(path)?) {
        Ok(text) if text.starts_with(crate::vault::MARK) => {
            return Err(format!(
                "`{}` is sealed by Ansible Vault: load it as variables, and write them by `content`",
                path.display()
            ));
        }
        Ok(text) => ("content", text),
        Err(error) => ("content_base64", STANDARD.encode(error.as_bytes())),
    })
}

/// The file's permission bits as `copy` takes them.
fn mode_of(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    Some(format!("{:04o}", mode & 0o7777))
}

/// A folder as a list of what is in it. With a slash behind its name its content is meant, else the folder itself too.
fn tree(folder: &Path, inside: bool) -> Result<Vec<Json>, String> {
    let mut out = Vec::new();
    let mut size = 0u64;
    let base = match inside {
        true => PathBuf::new(),
        false => PathBuf::from(folder.file_name().unwrap_or_default()),
    };
    if !inside {
        out.push(json!({"path": base.to_string_lossy(), "mode": mode_of(folder)}));
    }
    let mut waiting = vec![(folder.to_path_buf(), base, 0)];
    while let Some((folder, base, depth)) = waiting.pop() {
        if depth > 40 {
            return Err(format!("`{}` is too deep", folder.display()));
        }
        let entries = std::fs::read_dir(&folder)
            .map_err(|error| format!("`{}` cannot be read: {error}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = base.join(path.file_name().unwrap_or_default());
            let shown = name.to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                out.push(json!({"path": shown, "mode": mode_of(&path)}));
                waiting.push((path, name, depth + 1));
                continue;
            }
            if path.is_symlink() && !path.is_file() {
                let link = std::fs::read_link(&path).unwrap_or_default();
                out.push(json!({"path": shown, "link": link.to_string_lossy()}));
                continue;
            }
            let (key, value) = content(&path)?;
            size += value.len() as u64;
            if size > FILE_BYTES_MAX {
                return Err(format!(
                    "`{}` holds more than {} MiB: use `unarchive` with a URL, or `get_url`",
                    folder.display(),
                    FILE_BYTES_MAX >> 20
                ));
            }
            let mut leaf = json!({"path": shown, "mode": mode_of(&path)});
            leaf[key] = Json::from(value);
            out.push(leaf);
        }
    }
    Ok(out)
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
