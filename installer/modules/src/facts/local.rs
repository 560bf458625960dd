//! Facts that the node's owner wrote down: files of `facts.d` that end in `.fact`.
use std::os::unix::fs::PermissionsExt;

use serde_json::{Map, Value};

use super::names;
use crate::context::Context;

/// One larger than this is no fact.
const BYTES_MAX: u64 = 1 << 20;

/// Each file's facts by its name: what a script says, JSON, or sections of INI.
pub fn gather(context: &mut Context<'_>, folder: &str) -> Value {
    let mut out = Map::new();
    for name in names(context, folder) {
        let Some(key) = name.strip_suffix(".fact") else {
            continue;
        };
        let path = context.path(&format!("{folder}/{name}"));
        let Ok(found) = std::fs::metadata(&path) else {
            continue;
        };
        if !found.is_file() || found.len() > BYTES_MAX {
            continue;
        }
        let text = if found.permissions().mode() & 0o100 != 0 {
            match context.must(&[&path.display().to_string()]) {
                Ok(text) => text,
                Err(error) => {
                    out.insert(key.to_owned(), format!("error: {error}").into());
                    continue;
                }
            }
        } else {
            std::fs::read_to_string(&path).unwrap_or_default()
        };
        out.insert(key.to_owned(), parse(&text));
    }
    out.into()
}

fn parse(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let mut out: Map<String, Value> = Map::new();
    let mut section = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            out.entry(name).or_insert_with(|| Map::new().into());
            section = Some(name.to_owned());
            continue;
        }
        let (Some(section), Some((key, value))) = (&section, line.split_once(['=', ':'])) else {
            return "error loading facts as JSON or ini - please check content".into();
        };
        if let Some(Value::Object(options)) = out.get_mut(section) {
            // As Python's parser does, names become small.
            options.insert(key.trim().to_lowercase(), value.trim().into());
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn files_and_scripts_are_facts() {
        let bench = Bench::new();
        bench.write("/facts/a.fact", "{\"x\": 1}");
        bench.write("/facts/b.fact", "# c\n[main]\nKey = value\n");
        bench.write("/facts/c.fact", "nonsense");
        bench.write("/facts/readme", "no fact");
        bench.write("/facts/run.fact", "#!/bin/sh\necho '[1]'\n");
        bench.run("file", json!({"path": "/facts/run.fact", "mode": "0755"}));
        let facts = bench.context(|context| gather(context, "/facts"));
        assert_eq!(facts["a"], json!({"x": 1}));
        assert_eq!(facts["b"], json!({"main": {"key": "value"}}));
        assert!(facts["c"].as_str().unwrap().starts_with("error"));
        assert_eq!(facts["run"], json!([1]));
        assert!(facts.get("readme").is_none());
    }
}
