//! Loops: from `loop` and `with_*` to the rounds that a task makes.
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Serde;
use serde_json::{Value as Json, json};

use crate::parse::{Loop, LoopSource, Task};
use crate::template::{TemplateError, Templates, display};
use crate::vars::{Layer, Scope};

/// One round: its variables, rendered. A task without a loop makes one round with none.
#[derive(Clone, Default)]
pub(crate) struct Round {
    pub vars: Vec<(String, Json)>,
    pub item: Option<Json>,
}

impl Round {
    pub fn scope(&self, scope: &Arc<Scope>) -> Arc<Scope> {
        if self.vars.is_empty() {
            scope.clone()
        } else {
            scope.with(Layer::literal(self.vars.iter().cloned()))
        }
    }

    /// What progress calls the round when the task gives no label.
    pub fn label(&self) -> Option<String> {
        self.item.as_ref().map(|item| {
            let text = display(item);
            match text.char_indices().nth(80) {
                Some((at, _)) => format!("{}…", &text[..at]),
                None => text,
            }
        })
    }
}

/// More rounds than this are a mistake, or an attack by a node's facts.
const ROUNDS_MAX: usize = 100_000;

pub(crate) fn rounds(
    templates: &Templates,
    task: &Task,
    scope: &Arc<Scope>,
) -> Result<Vec<Round>, TemplateError> {
    let Some(looping) = &task.r#loop else {
        return Ok(vec![Round::default()]);
    };
    let items = items(templates, looping, scope)?;
    if items.len() > ROUNDS_MAX {
        return Err(fault(format!(
            "the loop has {} items, more than {ROUNDS_MAX}",
            items.len()
        )));
    }
    let count = items.len();
    let all: Arc<Vec<Json>> = Arc::new(match looping.extended {
        true => items.clone(),
        false => Vec::new(),
    });
    let round = |(index, item): (usize, Json)| {
        let mut about = json!({
            "index": index + 1, "index0": index, "first": index == 0, "last": index + 1 == count,
            "length": count, "revindex": count - index, "revindex0": count - index - 1,
        });
        if let (true, Json::Object(about)) = (looping.extended, &mut about) {
            about.insert("allitems".to_owned(), Json::Array(all.to_vec()));
            if let Some(before) = index.checked_sub(1).and_then(|at| all.get(at)) {
                about.insert("previtem".to_owned(), before.clone());
            }
            if let Some(after) = all.get(index + 1) {
                about.insert("nextitem".to_owned(), after.clone());
            }
        }
        let mut vars = vec![
            (looping.variable.clone(), item.clone()),
            (
                "ansible_loop_var".to_owned(),
                Json::from(looping.variable.as_str()),
            ),
            ("ansible_loop".to_owned(), about),
        ];
        vars.extend(
            looping
                .index_variable
                .clone()
                .map(|name| (name, Json::from(index))),
        );
        Round {
            vars,
            item: Some(item),
        }
    };
    Ok(items.into_iter().enumerate().map(round).collect())
}

fn items(
    templates: &Templates,
    looping: &Loop,
    scope: &Arc<Scope>,
) -> Result<Vec<Json>, TemplateError> {
    let value = |raw: &Json| match raw {
        // `with_items: packages` names a variable without braces in old roles.
        Json::String(text) if !crate::template::has_template(text) && is_name(text) => {
            match scope.get(text) {
                Some(value) => value,
                None => Ok(raw.clone()),
            }
        }
        raw => templates.value(raw, scope),
    };
    Ok(match &looping.source {
        LoopSource::List(raw) => list(value(raw)?, "loop")?,
        LoopSource::Items(raw) => match value(raw)? {
            Json::Array(items) => items
                .into_iter()
                .flat_map(|item| match item {
                    Json::Array(inner) => inner,
                    other => vec![other],
                })
                .collect(),
            Json::Null => Vec::new(),
            single => vec![single],
        },
        LoopSource::Dict(raw) => match value(raw)? {
            Json::Object(map) => map
                .into_iter()
                .map(|(key, value)| json!({"key": key, "value": value}))
                .collect(),
            other => {
                return Err(fault(format!(
                    "with_dict takes a mapping, not {}",
                    kind(&other)
                )));
            }
        },
        LoopSource::Sequence(raw) => {
            let terms = match value(raw)? {
                Json::Array(terms) => terms,
                one => vec![one],
            };
            let mut out = Vec::new();
            for term in terms {
                let texts = crate::template::sequence(&display(&term));
                let texts = texts.map_err(|why| fault(format!("with_sequence: {why}")))?;
                out.extend(texts.into_iter().map(Json::from));
            }
            out
        }
        LoopSource::Nested(raw) => {
            let mut rows: Vec<Vec<Json>> = vec![Vec::new()];
            for column in list(value(raw)?, "with_nested")? {
                let column = list(column, "with_nested")?;
                if rows.len().saturating_mul(column.len()) > ROUNDS_MAX {
                    return Err(fault(format!(
                        "with_nested makes more than {ROUNDS_MAX} rounds"
                    )));
                }
                let longer = |row: &Vec<Json>, item: &Json| {
                    row.iter().cloned().chain([item.clone()]).collect()
                };
                rows = rows
                    .iter()
                    .flat_map(|row| column.iter().map(move |item| longer(row, item)))
                    .collect();
            }
            rows.into_iter().map(Json::Array).collect()
        }
        LoopSource::Together(raw) => {
            let columns: Result<Vec<_>, _> = list(value(raw)?, "with_together")?
                .into_iter()
                .map(|column| list(column, "with_together"))
                .collect();
            let columns = columns?;
            let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
            let row = |at: usize| {
                columns
                    .iter()
                    .map(|column| column.get(at).cloned().unwrap_or(Json::Null))
                    .collect()
            };
            (0..rows).map(|at| Json::Array(row(at))).collect()
        }
        LoopSource::Subelements(raw) => {
            let pair = value(raw)?;
            let scope = scope.with(Layer::literal([("wright_subelements".to_owned(), pair)]));
            let expression = "wright_subelements[0] | subelements(wright_subelements[1])";
            list(
                data(&templates.expression(expression, &scope)?)?,
                "with_subelements",
            )?
        }
        LoopSource::Indexed(raw) => {
            let items = list(value(raw)?, "with_indexed_items")?;
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| json!([index, item]))
                .collect()
        }
        LoopSource::Lookup(name, raw) => {
            let terms = value(raw)?;
            let pairs = [
                ("wright_terms".to_owned(), terms),
                ("wright_lookup".to_owned(), Json::from(name.as_str())),
            ];
            let scope = scope.with(Layer::literal(pairs));
            let found = templates.expression("query(wright_lookup, wright_terms)", &scope)?;
            list(data(&found)?, name)?
        }
    })
}

fn data(value: &Value) -> Result<Json, TemplateError> {
    serde_json::to_value(value).map_err(|error| fault(error.to_string()))
}

fn list(value: Json, what: &str) -> Result<Vec<Json>, TemplateError> {
    match value {
        Json::Array(items) => Ok(items),
        Json::Null => Ok(Vec::new()),
        other => Err(fault(format!(
            "`{what}` takes a list, not {}",
            kind(&other)
        ))),
    }
}

fn kind(value: &Json) -> String {
    format!("a {}", Value::from(Serde(value)).kind())
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_')
        && text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn fault(message: String) -> TemplateError {
    TemplateError::Failed {
        message,
        place: "loop".to_owned(),
    }
}
