//! `lookup('name', ...)` and `query('name', ...)`: the few that read what the deployment host holds beside the roles.
use std::path::{Path, PathBuf};

use minijinja::value::{Kwargs, Rest};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::text::bad;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_function(
        "lookup",
        |state: &State, name: String, terms: Rest<Value>, options: Kwargs| {
            let found = look(state, &name, &terms, &options)?;
            // As Ansible: one value stands for itself, several texts are joined with commas.
            Ok::<_, Error>(match found.len() {
                0 => Value::from(""),
                1 => found.into_iter().next().unwrap_or_default(),
                _ if matches!(name.as_str(), "vars" | "dict" | "items" | "list") => {
                    Value::from(found)
                }
                _ => Value::from(
                    found
                        .iter()
                        .map(Value::to_string)
                        .collect::<Vec<_>>()
                        .join(","),
                ),
            })
        },
    );
    for name in ["query", "q"] {
        env.add_function(
            name,
            |state: &State, name: String, terms: Rest<Value>, options: Kwargs| {
                look(state, &name, &terms, &options).map(Value::from)
            },
        );
    }
}

fn look(state: &State, name: &str, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
    let name = name.strip_prefix("ansible.builtin.").unwrap_or(name);
    let mut out = Vec::new();
    match name {
        "vars" => {
            for term in terms {
                match (
                    state.lookup(&term.to_string()),
                    options.get::<Option<Value>>("default")?,
                ) {
                    (Some(value), _) => out.push(value),
                    (None, Some(default)) => out.push(default),
                    (None, None) => {
                        return Err(Error::new(
                            ErrorKind::UndefinedError,
                            format!("lookup of variable `{term}`"),
                        ));
                    }
                }
            }
        }
        "env" => {
            for term in terms {
                out.push(Value::from(
                    std::env::var(term.to_string()).unwrap_or_default(),
                ));
            }
        }
        "file" => {
            for term in terms {
                let path = find(state, &term.to_string(), "files")?;
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    bad(format!("`{}` cannot be read: {error}", path.display()))
                })?;
                out.push(Value::from(text.trim_end()));
            }
        }
        "first_found" => {
            let mut names = Vec::new();
            for term in terms {
                match (term.get_attr("files"), term.as_str()) {
                    (Ok(files), _) if !files.is_undefined() => names.extend(files.try_iter()?),
                    (_, Some(_)) => names.push(term.clone()),
                    _ => names.extend(term.try_iter()?),
                }
            }
            let found = names.iter().find_map(|name| {
                let name = name.to_string();
                ["files", "templates", "vars", "tasks"]
                    .iter()
                    .find_map(|folder| find(state, &name, folder).ok())
            });
            match found {
                Some(path) => out.push(Value::from(path.to_string_lossy())),
                None if options.get::<Option<bool>>("skip")?.unwrap_or(false) => {}
                None => return Err(bad(format!("first_found: none of {names:?} exists"))),
            }
        }
        "items" | "list" | "flattened" => {
            for term in terms {
                match term.as_str() {
                    None if name == "items" || name == "flattened" => out.extend(term.try_iter()?),
                    _ => out.push(term.clone()),
                }
            }
        }
        "dict" => {
            for term in terms {
                for key in term.try_iter()? {
                    let value = term.get_item(&key)?;
                    out.push(Value::from_pairs([("key", key), ("value", value)]));
                }
            }
        }
        other => {
            return Err(bad(format!(
                "the lookup `{other}` is not supported; supported: dict, env, file, first_found, items, list, vars"
            )));
        }
    }
    Ok(out)
}

/// Where Ansible would look: the role's folder for this kind, the role, the playbook's folders.
fn find(state: &State, name: &str, folder: &str) -> Result<PathBuf, Error> {
    if Path::new(name).is_absolute() {
        return Ok(PathBuf::from(name));
    }
    for base in ["role_path", "playbook_dir"] {
        let Some(base) = state.lookup(base) else {
            continue;
        };
        for path in [
            Path::new(&base.to_string()).join(folder).join(name),
            Path::new(&base.to_string()).join(name),
        ] {
            if path.exists() {
                return Ok(path);
            }
        }
    }
    Err(bad(format!(
        "`{name}` was not found in `{folder}` of the role or the playbook"
    )))
}
