//! Jinja2 as users of Ansible know it: templates, conditions and values with `{{ }}` in them.
//!
//! Pure but for the `file`, `template`, `first_found` and `env` lookups, which read what lies beside the roles. Variables come from a
//! [`Scope`](crate::vars::Scope), which resolves variables that refer to variables when they are asked for.
//!
//! Undefined variables are errors. `minijinja` knows two kinds of strictness, neither is Jinja's under Ansible: in
//! Ansible `a.b.c | default(1)` is 1 when `a.b` is undefined, while printing `a.b.c` is an error. So everything is
//! first evaluated strictly, and only when that fails for an undefined value in a text that asks for `default` or
//! `defined` once more with chained lookups, where printing what is undefined still is an error.
use std::path::Path;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde_json::Value as Json;

use crate::vars::Scope;

mod addresses;
mod collections;
mod crypt;
mod files;
mod lookups;
mod numbers;
mod paths;
mod python;
mod regexes;
mod scan;
mod sequence;
mod tests;
mod text;
mod urls;
mod yaml;

pub use scan::has_template;
pub(crate) use sequence::sequence;

/// Why a text could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `place` is the template's name and line.
    #[error("{what} is undefined ({place})")]
    Undefined { what: String, place: String },
    #[error("{message} ({place})")]
    Failed { message: String, place: String },
    /// It depends on what a task gives that has not run, in check mode.
    #[error("not known before task `{task}` has run")]
    Unknown { task: String },
}

/// Steps of one rendering: far more than any real template takes, few enough that none holds a run for long.
const FUEL: u64 = 20_000_000;

/// The template engine; one for a run.
pub struct Templates {
    strict: Environment<'static>,
    chained: Environment<'static>,
}

impl Default for Templates {
    fn default() -> Self {
        Templates {
            strict: environment(UndefinedBehavior::Strict),
            chained: environment(UndefinedBehavior::Chainable),
        }
    }
}

impl Templates {
    /// Renders every string in `raw`, however deep. A string that is one whole `{{ expression }}` becomes the
    /// expression's value with its type; keys of mappings are rendered too.
    pub fn value(&self, raw: &Json, scope: &Arc<Scope>) -> Result<Json, TemplateError> {
        Ok(match raw {
            Json::String(text) if has_template(text) => self.string(text, scope)?,
            Json::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let value = self.value(item, scope)?;
                    if !is_omit(&value) {
                        out.push(value);
                    }
                }
                Json::Array(out)
            }
            Json::Object(map) => {
                let mut out = serde_json::Map::with_capacity(map.len());
                for (key, item) in map {
                    let value = self.value(item, scope)?;
                    if is_omit(&value) {
                        continue;
                    }
                    let key = if has_template(key) {
                        display(&self.string(key, scope)?)
                    } else {
                        key.clone()
                    };
                    out.insert(key, value);
                }
                Json::Object(out)
            }
            other => other.clone(),
        })
    }

    /// Renders a template file's text; `name` is its path, which relative includes start from.
    pub fn text(
        &self,
        name: &str,
        source: &str,
        scope: &Arc<Scope>,
    ) -> Result<String, TemplateError> {
        self.twice(name, source, scope, |env| {
            env.render_named_str(name, source, scope.as_value())
        })
    }

    /// Renders a template file that may say in its first line how its marks are to be read:
    /// `#jinja2: trim_blocks: False, lstrip_blocks: True, variable_start_string: '[%'`. That line is not part of it.
    pub fn file(
        &self,
        name: &str,
        source: &str,
        scope: &Arc<Scope>,
        marks: Marks,
    ) -> Result<String, TemplateError> {
        let (marks, body) = match source.split_once('\n') {
            Some((head, body)) if head.starts_with("#jinja2:") => {
                let marks = marks
                    .of_header(head)
                    .map_err(|message| TemplateError::Failed {
                        message,
                        place: format!("{name}:1"),
                    })?;
                (marks, body)
            }
            _ => (marks, source),
        };
        if marks == Marks::default() && body.len() == source.len() {
            return self.text(name, source, scope);
        }
        let syntax = marks.syntax().map_err(|error| TemplateError::Failed {
            message: error.to_string(),
            place: format!("{name}:1"),
        })?;
        // The header's line still counts, so that messages name the right one.
        let with = |env: &Environment<'static>| {
            let mut env = env.clone();
            env.set_syntax(syntax.clone());
            env
        };
        let special = Templates {
            strict: with(&self.strict),
            chained: with(&self.chained),
        };
        special.text(name, body, scope)
    }

    /// Evaluates a bare expression to a value; an undefined one is an error.
    pub fn expression(&self, source: &str, scope: &Arc<Scope>) -> Result<Value, TemplateError> {
        self.twice("expression", source, scope, |env| {
            let value = env
                .compile_expression_owned(source.to_owned())?
                .eval(scope.as_value())?;
            match value.kind() {
                ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
                // An error in the place of a value, from a variable that could not be rendered: asking gives it.
                ValueKind::Invalid => match value.get_attr("") {
                    Err(error) => Err(error),
                    Ok(_) => Err(ErrorKind::InvalidOperation.into()),
                },
                _ => Ok(value),
            }
        })
    }

    /// Evaluates a `when`: a bare expression, or a text with `{{ }}` as older roles have it.
    pub fn condition(&self, source: &str, scope: &Arc<Scope>) -> Result<bool, TemplateError> {
        if has_template(source) {
            return match self.string(source, scope)? {
                Json::Bool(value) => Ok(value),
                Json::String(text) => self.condition_bare(&text, scope),
                other => Ok(Value::from(Serde(&other)).is_true()),
            };
        }
        self.condition_bare(source, scope)
    }

    fn condition_bare(&self, source: &str, scope: &Arc<Scope>) -> Result<bool, TemplateError> {
        Ok(self.expression(source.trim(), scope)?.is_true())
    }

    /// A text of a playbook. Unlike in template files a backslash in a text inside `{{ }}` stands for itself there, so that
    /// `regex_replace('(.)', '\1')` means what it says.
    fn string(&self, source: &str, scope: &Arc<Scope>) -> Result<Json, TemplateError> {
        let source = &*scan::literal_backslashes(source);
        match scan::whole_expression(source) {
            Some(expression) => to_json(&self.expression(expression, scope)?, source),
            None => self.text("string", source, scope).map(Json::String),
        }
    }

    fn twice<T>(
        &self,
        name: &str,
        source: &str,
        scope: &Arc<Scope>,
        run: impl Fn(&Environment<'static>) -> Result<T, minijinja::Error>,
    ) -> Result<T, TemplateError> {
        scope.forget_unknown();
        let mut result = run(&self.strict);
        if let Err(error) = &result
            && is_undefined(error)
            && (source.contains("default") || source.contains("defined") || source.contains("| d("))
        {
            result = run(&self.chained);
        }
        if let Some(task) = scope.unknown_touched() {
            return Err(TemplateError::Unknown { task });
        }
        result.map_err(|error| explain(&error, name, source, scope))
    }
}

/// How a template file's marks are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    pub trim_blocks: bool,
    pub lstrip_blocks: bool,
    pub variable: Option<(String, String)>,
    pub block: Option<(String, String)>,
    pub comment: Option<(String, String)>,
}

impl Default for Marks {
    fn default() -> Self {
        Marks {
            trim_blocks: true,
            lstrip_blocks: false,
            variable: None,
            block: None,
            comment: None,
        }
    }
}

impl Marks {
    /// With what a `#jinja2:` line says.
    fn of_header(mut self, line: &str) -> Result<Self, String> {
        let (mut variable, mut block, mut comment) = ([None, None], [None, None], [None, None]);
        let body = line.trim_start_matches("#jinja2:");
        for pair in body.split(',') {
            let Some((name, value)) = pair.split_once(':') else {
                return Err(format!(
                    "`{}` of the #jinja2 line is not of the form NAME: VALUE",
                    pair.trim()
                ));
            };
            let value = value.trim().trim_matches(['"', '\'']);
            let flag = || match value.to_lowercase().as_str() {
                "true" | "yes" | "1" => Ok(true),
                "false" | "no" | "0" => Ok(false),
                _ => Err(format!(
                    "`{value}` of the #jinja2 line is neither True nor False"
                )),
            };
            let text = || Some(value.to_owned());
            match name.trim() {
                "trim_blocks" => self.trim_blocks = flag()?,
                "lstrip_blocks" => self.lstrip_blocks = flag()?,
                "variable_start_string" => variable[0] = text(),
                "variable_end_string" => variable[1] = text(),
                "block_start_string" => block[0] = text(),
                "block_end_string" => block[1] = text(),
                "comment_start_string" => comment[0] = text(),
                "comment_end_string" => comment[1] = text(),
                // Ansible keeps the last line break whatever this says.
                "keep_trailing_newline" => drop(flag()?),
                other => return Err(format!("the #jinja2 line has no option `{other}`")),
            }
        }
        for (into, marks) in [
            (&mut self.variable, variable),
            (&mut self.block, block),
            (&mut self.comment, comment),
        ] {
            if let [Some(start), Some(end)] = marks {
                *into = Some((start, end));
            }
        }
        Ok(self)
    }

    fn syntax(&self) -> Result<SyntaxConfig, minijinja::Error> {
        let mut builder = SyntaxConfig::builder();
        builder
            .trim_blocks(self.trim_blocks)
            .lstrip_blocks(self.lstrip_blocks)
            .keep_trailing_newline(true);
        let pair = |marks: &Option<(String, String)>| marks.clone();
        if let Some((start, end)) = pair(&self.variable) {
            builder.variable_delimiters(start, end);
        }
        if let Some((start, end)) = pair(&self.block) {
            builder.block_delimiters(start, end);
        }
        if let Some((start, end)) = pair(&self.comment) {
            builder.comment_delimiters(start, end);
        }
        builder.build()
    }
}

/// Whether a bare expression, or a text with templates, can be parsed; the message says what cannot.
pub fn check_expression(source: &str) -> Result<(), String> {
    thread_local! {
        static PARSER: Environment<'static> = Environment::new();
    }
    PARSER.with(|env| {
        let parsed = match has_template(source) {
            true => env.template_from_named_str("condition", source).map(drop),
            false => env.compile_expression(source.trim()).map(drop),
        };
        parsed.map_err(|error| error.detail().unwrap_or("it cannot be parsed").to_owned())
    })
}

/// The value that stands for "leave this argument out"; `omit` in templates gives it.
pub const OMIT: &str = "__omit_place_holder__";

pub(crate) fn is_omit(value: &Json) -> bool {
    value.as_str() == Some(OMIT)
}

/// As Python's `str()` would show it in a template.
pub(crate) fn display(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => Value::from(Serde(other)).to_string(),
    }
}

fn to_json(value: &Value, source: &str) -> Result<Json, TemplateError> {
    serde_json::to_value(value).map_err(|error| TemplateError::Failed {
        message: format!("the value cannot be used as data: {error}"),
        place: source.to_owned(),
    })
}

fn is_undefined(error: &minijinja::Error) -> bool {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        if error
            .downcast_ref::<minijinja::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::UndefinedError)
        {
            return true;
        }
        at = error.source();
    }
    false
}

/// Names the expression and the line. The innermost error counts: it is the cause, the outer ones are the way to it.
fn explain(
    error: &minijinja::Error,
    name: &str,
    source: &str,
    scope: &Arc<Scope>,
) -> TemplateError {
    let mut inner = error;
    let mut at = std::error::Error::source(error);
    while let Some(next) = at {
        if let Some(cause) = next.downcast_ref::<minijinja::Error>() {
            inner = cause;
        }
        at = next.source();
    }
    let text = inner.template_source().unwrap_or(source);
    let file = match inner.name() {
        Some("string" | "<expression>" | "<string>") | None => match name {
            "string" | "expression" => format!("in `{}`", scan::shorten(text)),
            name => name.to_owned(),
        },
        Some(name) => name.to_owned(),
    };
    let place = match inner.line() {
        Some(line) if !file.starts_with("in `") => format!("{file}:{line}"),
        _ => file,
    };
    if inner.kind() == ErrorKind::UndefinedError {
        let undefined: Vec<String> = names(text, scope);
        let excerpt = inner
            .range()
            .and_then(|range| text.get(range))
            .map(str::trim)
            .unwrap_or(text);
        let what = match inner.detail() {
            Some(detail) => detail.trim_end_matches(" is undefined").to_owned(),
            // The place of a fault inside `x | filter` is the filter: then the names that nobody has set say more.
            None if !is_path(excerpt) && !undefined.is_empty() => undefined
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(" or "),
            None if is_path(excerpt) => format!("`{excerpt}`"),
            None => format!("a part of `{}`", scan::shorten(text)),
        };
        return TemplateError::Undefined { what, place };
    }
    let message = match inner.detail() {
        Some(detail) => format!("{}: {detail}", inner.kind()),
        None => inner.kind().to_string(),
    };
    TemplateError::Failed { message, place }
}

/// `a.b['c']`, as opposed to any other expression.
fn is_path(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "_.[]'\"".contains(c))
}

/// Variables that a template or an expression asks for and that nobody has set.
fn names(source: &str, scope: &Arc<Scope>) -> Vec<String> {
    let env = Environment::new();
    let found = match has_template(source) {
        true => env
            .template_from_named_str("", source)
            .map(|template| template.undeclared_variables(false)),
        false => env
            .compile_expression_owned(source.to_owned())
            .map(|expression| expression.undeclared_variables(false)),
    };
    let mut names: Vec<String> = found
        .unwrap_or_default()
        .into_iter()
        .filter(|name| !scope.knows(name))
        .collect();
    names.sort();
    names
}

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut env = Environment::new();
    // Ansible's template module: trim_blocks on, lstrip_blocks off, the last newline kept.
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .keep_trailing_newline(true)
        .build()
    {
        env.set_syntax(syntax);
    }
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_undefined_behavior(undefined);
    env.set_debug(true);
    env.set_fuel(Some(FUEL));
    // Strictly, only what an `if` without `else` leaves comes here undefined, and prints nothing, as in Jinja2.
    let strict = undefined == UndefinedBehavior::Strict;
    env.set_formatter(move |out, state, value| {
        if value.is_undefined() && !strict {
            return Err(ErrorKind::UndefinedError.into());
        }
        if value.is_undefined() {
            return Ok(());
        }
        minijinja::escape_formatter(out, state, value)
    });
    env.set_path_join_callback(|name, parent| {
        // Beside the template that asks, then further out, up to the folder `templates`.
        let parent = Path::new(parent);
        let inside = parent
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.file_name().is_none_or(|name| name != "templates"));
        let outer = parent
            .ancestors()
            .find(|folder| folder.file_name().is_some_and(|name| name == "templates"));
        let found = inside
            .take(4)
            .chain(outer)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file());
        match found {
            Some(path) => path.to_string_lossy().into_owned().into(),
            None => name.into(),
        }
    });
    env.set_loader(|name| match std::fs::read_to_string(name) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(minijinja::Error::new(
            ErrorKind::BadInclude,
            format!("`{name}` cannot be read: {error}"),
        )),
    });
    minijinja_contrib::add_to_environment(&mut env);
    // What gives another result each time would make every run a change.
    for name in ["random", "lipsum", "now", "randrange"] {
        env.remove_filter(name);
        env.remove_global(name);
    }
    text::register(&mut env);
    collections::register(&mut env);
    addresses::register(&mut env);
    crypt::register(&mut env);
    numbers::register(&mut env);
    paths::register(&mut env);
    python::register(&mut env);
    regexes::register(&mut env);
    urls::register(&mut env);
    tests::register(&mut env);
    lookups::register(&mut env);
    env
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod table;
