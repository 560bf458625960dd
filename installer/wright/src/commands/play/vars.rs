//! What the command line says of variables and vault passwords.
use crate::args::play::PlayArgs;
use crate::error::CommandError;
use serde_json::{Map, Value};
use std::path::Path;
use task_engine::vault::{MARK, Vault};

/// The vault with all passwords of the command line.
pub fn vault(args: &PlayArgs) -> Result<Vault, CommandError> {
    let mut passwords = Vec::new();
    for file in &args.vault_password_file {
        passwords.push((String::new(), password(file)?));
    }
    for word in &args.vault_id {
        let Some((id, file)) = word.rsplit_once('@') else {
            return Err(CommandError::failed(format!(
                "`--vault-id {word}` is not of the form ID@FILE"
            )));
        };
        if file == "prompt" {
            return Err(CommandError::failed(format!(
                "`--vault-id {word}`: nothing is asked for here"
            ))
            .hint("write the password into a file of mode 0600"));
        }
        passwords.push((id.to_owned(), password(Path::new(file))?));
    }
    Ok(Vault::new(passwords))
}

/// The first line of a file that holds a password; a script, as Ansible would run it, is refused.
pub fn password(file: &Path) -> Result<String, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CommandError::failed(format!("`{}` cannot be read: {error}", file.display()))
    })?;
    if text.starts_with("#!") {
        return Err(
            CommandError::failed(format!("`{}` is a script", file.display()))
                .hint("passwords are read from files only; let the script write one of mode 0600"),
        );
    }
    let line = text.lines().next().unwrap_or_default();
    match line.is_empty() {
        true => Err(CommandError::failed(format!(
            "`{}` holds no password",
            file.display()
        ))),
        false => Ok(line.to_owned()),
    }
}

/// `--extra-vars`: `a=1 b='two words'` (texts), JSON or YAML, or `@FILE`.
pub fn extra(words: &[String], vault: &Vault) -> Result<Map<String, Value>, CommandError> {
    let mut out = Map::new();
    for word in words {
        let trimmed = word.trim();
        if let Some(file) = trimmed.strip_prefix('@') {
            let text = std::fs::read_to_string(file).map_err(|error| {
                CommandError::failed(format!("`{file}` cannot be read: {error}"))
            })?;
            let sealed = text.starts_with(MARK);
            let text = match sealed {
                true => vault
                    .open(&text)
                    .map_err(|error| CommandError::failed(format!("`{file}`: {error}")))?,
                false => text,
            };
            let found = mapping(file, &text, vault)?;
            if sealed {
                found.values().for_each(|value| vault.keep(value));
            }
            out.extend(found);
        } else if trimmed.starts_with(['{', '[']) {
            out.extend(mapping("--extra-vars", trimmed, vault)?);
        } else {
            for pair in shlex::split(trimmed).unwrap_or_default() {
                match pair.split_once('=') {
                    Some((name, value)) if !name.is_empty() => {
                        out.insert(name.to_owned(), Value::from(value));
                    }
                    _ => {
                        return Err(CommandError::failed(format!(
                            "`{pair}` of `--extra-vars` is not of the form NAME=VALUE"
                        )));
                    }
                }
            }
        }
    }
    Ok(out)
}

fn mapping(name: &str, text: &str, vault: &Vault) -> Result<Map<String, Value>, CommandError> {
    let mut value = yaml_source::parse(name, text)?.root.to_json();
    vault
        .open_all(&mut value)
        .map_err(|error| CommandError::failed(format!("`{name}`: {error}")))?;
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(CommandError::failed(format!(
            "`{name}` is no mapping of variables"
        ))),
    }
}
