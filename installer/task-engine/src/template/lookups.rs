//! `lookup('name', ...)` and `query('name', ...)`: variables and lists here, files in `files`. What would run programs
//! or ask the network on the deployment host is refused.
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::files;
use super::text::bad;

/// All lookups, for messages.
const KNOWN: &[&str] = &[
    "csvfile",
    "dict",
    "env",
    "file",
    "fileglob",
    "first_found",
    "flattened",
    "indexed_items",
    "ini",
    "inventory_hostnames",
    "items",
    "list",
    "nested",
    "password",
    "random_choice",
    "sequence",
    "subelements",
    "template",
    "together",
    "varnames",
    "vars",
];

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_function(
        "lookup",
        |state: &State, name: String, terms: Rest<Value>, options: Kwargs| {
            let wants_list = options.get::<Option<bool>>("wantlist")?.unwrap_or(false);
            let found = look(state, &name, &terms, &options)?;
            if wants_list {
                return Ok(Value::from(found));
            }
            // As Ansible: one value stands for itself, several texts are joined with commas.
            Ok::<_, Error>(match found.len() {
                0 => Value::from(""),
                1 => found.into_iter().next().unwrap_or_default(),
                _ if found.iter().any(|value| value.as_str().is_none()) => Value::from(found),
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
                let _ = options.get::<Option<bool>>("wantlist")?;
                look(state, &name, &terms, &options).map(Value::from)
            },
        );
    }
}

fn look(state: &State, name: &str, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
    let quiet = options.get::<Option<String>>("errors")?;
    match (found(state, name, terms, options), quiet.as_deref()) {
        (Err(_), Some("ignore" | "warn")) => Ok(Vec::new()),
        (result, _) => result,
    }
}

fn found(
    state: &State,
    name: &str,
    terms: &[Value],
    options: &Kwargs,
) -> Result<Vec<Value>, Error> {
    let name = name.strip_prefix("ansible.builtin.").unwrap_or(name);
    let name = name.strip_prefix("community.general.").unwrap_or(name);
    let mut out = Vec::new();
    // `query('file', ['a', 'b'])` asks for each.
    let flat = || -> Result<Vec<Value>, Error> {
        let mut out = Vec::new();
        for term in terms {
            match term.kind() {
                ValueKind::Seq | ValueKind::Iterable => out.extend(term.try_iter()?),
                _ => out.push(term.clone()),
            }
        }
        Ok(out)
    };
    match name {
        "vars" => {
            let default = options.get::<Option<Value>>("default")?;
            for term in flat()? {
                match (state.lookup(&term.to_string()), &default) {
                    (Some(value), _) if !value.is_undefined() => out.push(value),
                    (_, Some(default)) => out.push(default.clone()),
                    _ => {
                        return Err(Error::new(
                            ErrorKind::UndefinedError,
                            format!("lookup of variable `{term}`"),
                        ));
                    }
                }
            }
        }
        "varnames" => {
            let names: Vec<String> = match state.lookup("vars") {
                Some(all) => all.try_iter()?.map(|name| name.to_string()).collect(),
                None => Vec::new(),
            };
            for term in flat()? {
                let pattern = regex::Regex::new(&term.to_string())
                    .map_err(|error| bad(format!("varnames: {error}")))?;
                out.extend(
                    names
                        .iter()
                        .filter(|name| pattern.is_match(name))
                        .map(|name| Value::from(name.as_str())),
                );
            }
        }
        "env" => {
            let default = options.get::<Option<Value>>("default")?;
            for term in flat()? {
                let value = std::env::var(term.to_string()).ok().map(Value::from);
                out.push(value.or(default.clone()).unwrap_or_else(|| Value::from("")));
            }
        }
        "file" => {
            for term in flat()? {
                out.push(files::file(state, &term.to_string(), options)?);
            }
        }
        "template" => {
            for term in flat()? {
                out.push(files::template(state, &term.to_string(), options)?);
            }
        }
        "fileglob" => {
            for term in flat()? {
                out.extend(files::fileglob(state, &term.to_string())?);
            }
        }
        "csvfile" => {
            for term in flat()? {
                out.extend(files::csvfile(state, &term.to_string(), options)?);
            }
        }
        "ini" => {
            for term in flat()? {
                out.push(files::ini(state, &term.to_string(), options)?);
            }
        }
        "password" => {
            for term in flat()? {
                out.push(files::password(state, &term.to_string(), options)?);
            }
        }
        "first_found" => out = files::first_found(state, terms, options)?,
        "items" => out = flat()?,
        "list" => out.extend(terms.iter().cloned()),
        "flattened" => {
            let mut waiting: Vec<Value> = terms.iter().rev().cloned().collect();
            while let Some(term) = waiting.pop() {
                match term.kind() {
                    ValueKind::Seq | ValueKind::Iterable => {
                        let mut inner: Vec<Value> = term.try_iter()?.collect();
                        inner.reverse();
                        waiting.extend(inner);
                    }
                    ValueKind::None => {}
                    _ => out.push(term),
                }
            }
        }
        "dict" => {
            for term in terms {
                let maps = match term.kind() {
                    ValueKind::Map => vec![term.clone()],
                    _ => term.try_iter()?.collect(),
                };
                for map in maps {
                    for key in map.try_iter()? {
                        let value = map.get_item(&key)?;
                        out.push(Value::from_pairs([("key", key), ("value", value)]));
                    }
                }
            }
        }
        "indexed_items" => {
            for (index, item) in flat()?.into_iter().enumerate() {
                out.push(Value::from(vec![Value::from(index), item]));
            }
        }
        "nested" | "cartesian" => {
            let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
            for term in terms {
                let column: Vec<Value> = term.try_iter()?.collect();
                if rows.len().saturating_mul(column.len()) > 100_000 {
                    return Err(bad("nested: more than 100000 rows"));
                }
                let longer = |row: &Vec<Value>, item: &Value| {
                    row.iter()
                        .cloned()
                        .chain([item.clone()])
                        .collect::<Vec<_>>()
                };
                rows = rows
                    .iter()
                    .flat_map(|row| column.iter().map(move |item| longer(row, item)))
                    .collect();
            }
            out.extend(rows.into_iter().map(Value::from));
        }
        "together" => {
            let mut columns: Vec<Vec<Value>> = Vec::new();
            for term in terms {
                columns.push(term.try_iter()?.collect());
            }
            let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
            for at in 0..rows {
                let cell = |column: &Vec<Value>| column.get(at).cloned().unwrap_or(Value::from(()));
                out.push(Value::from(columns.iter().map(cell).collect::<Vec<_>>()));
            }
        }
        "subelements" => {
            let [items, path, ..] = terms else {
                return Err(bad("subelements takes a list and the name of an element"));
            };
            let skip = terms
                .get(2)
                .and_then(|flags| flags.get_attr("skip_missing").ok())
                .is_some_and(|skip| skip.is_true());
            out = super::collections::subelements_of(items, &path.to_string(), skip)?;
        }
        "sequence" => {
            for term in flat()? {
                let texts = super::sequence::sequence(&term.to_string())
                    .map_err(|why| bad(format!("sequence: {why}")))?;
                out.extend(texts.into_iter().map(Value::from));
            }
        }
        "random_choice" => match flat()?.as_slice() {
            [] => {}
            [one] => out.push(one.clone()),
            _ => {
                return Err(bad(
                    "random_choice gives another item each time, so every run would change something; \
                     write `LIST | random(seed=inventory_hostname)`",
                ));
            }
        },
        "inventory_hostnames" => {
            let groups = state.lookup("groups").unwrap_or_default();
            for term in flat()? {
                for word in term.to_string().split([':', ',']) {
                    match word.strip_prefix('!') {
                        Some(away) => {
                            let away: Vec<Value> = match groups.get_attr(away)?.try_iter() {
                                Ok(members) => members.collect(),
                                Err(_) => vec![Value::from(away)],
                            };
                            out.retain(|host| !away.contains(host));
                        }
                        None => {
                            for host in groups.get_attr(word)?.try_iter().into_iter().flatten() {
                                if !out.contains(&host) {
                                    out.push(host);
                                }
                            }
                        }
                    }
                }
            }
        }
        "pipe" | "lines" => {
            return Err(bad(format!(
                "the lookup `{name}` is not supported: templates run no programs on the deployment host; \
                 use the task `command` with `delegate_to: localhost` and `register`"
            )));
        }
        "url" | "dig" | "hashi_vault" | "redis" | "etcd" => {
            return Err(bad(format!(
                "the lookup `{name}` is not supported: templates ask nothing of the network; \
                 use the task `uri` with `delegate_to: localhost` and `register`"
            )));
        }
        other => {
            let near = diagnostics::did_you_mean(other, KNOWN.iter().copied())
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            return Err(bad(format!(
                "the lookup `{other}` is not supported{near}; supported: {}",
                KNOWN.join(", ")
            )));
        }
    }
    Ok(out)
}
