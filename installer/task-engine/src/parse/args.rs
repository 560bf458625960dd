//! A module's arguments in their three spellings (mapping, `k=v` text, free text), checked against its specification.
use serde_json::{Map, Value as Json};
use yaml_source::{Fault, Key, Node};

use super::keywords::is_literal;
use super::{Args, ModuleSpec, Parser};

impl Parser<'_> {
    /// Arguments of `module`, from its own value and the `args` keyword.
    pub(super) fn arguments(
        &mut self,
        key: &Key,
        value: &Node,
        more: Option<&Node>,
        spec: &ModuleSpec,
    ) -> Args {
        let mut args = Map::new();
        // Where each argument was written, for messages.
        let mut places: Vec<(String, yaml_source::Span)> = Vec::new();
        match &value.value {
            yaml_source::Value::Null => {}
            yaml_source::Value::Map(map) => {
                for (name, node) in map.iter() {
                    places.push((name.text.clone(), name.span.clone()));
                    let data = self.data(node);
                    args.insert(name.text.clone(), data);
                }
            }
            yaml_source::Value::String(text) => {
                let whole = text.trim();
                if spec.free_form.is_none()
                    && whole.starts_with("{{")
                    && whole.ends_with("}}")
                    && more.is_none()
                {
                    return Args::Template(whole.to_owned());
                }
                let known = |name: &str| {
                    spec.args.iter().any(|arg| {
                        arg.name == name || arg.aliases.iter().any(|alias| alias == name)
                    })
                };
                let (pairs, free) = key_values(text, &known, spec.free_form.is_some());
                for (name, text) in pairs {
                    places.push((name.clone(), value.span.clone()));
                    args.insert(name, Json::String(text));
                }
                match (spec.free_form, free.is_empty()) {
                    (_, true) => {}
                    (Some(name), false) => {
                        args.insert(name.to_owned(), Json::String(free));
                    }
                    (None, false) => {
                        let fault = value.error(format!("`{}` takes no free text", key.text));
                        self.fault(fault.expected("a mapping of arguments, or `name=value` pairs"));
                    }
                }
            }
            _ => {
                let fault = value.error(format!(
                    "the arguments of `{}` are {}",
                    key.text,
                    value.kind()
                ));
                self.fault(fault.expected("a mapping of arguments"));
            }
        }
        if let Some(more) = more.and_then(|node| node.as_map("`args`", &mut self.diags)) {
            for (name, node) in more.iter() {
                places.push((name.text.clone(), name.span.clone()));
                let data = self.data(node);
                args.insert(name.text.clone(), data);
            }
        }
        self.check_arguments(key, &args, &places, spec);
        Args::Map(args)
    }

    fn check_arguments(
        &mut self,
        key: &Key,
        args: &Map<String, Json>,
        places: &[(String, yaml_source::Span)],
        spec: &ModuleSpec,
    ) {
        let mut strangers = false;
        for (name, span) in places {
            let Some(arg) = spec
                .args
                .iter()
                .find(|arg| arg.name == *name || arg.aliases.contains(name))
            else {
                strangers = true;
                let refused = spec.table.and_then(|module| {
                    let mut refused = module.refused.iter();
                    refused.find(|(refused, _)| refused == name)
                });
                if let Some((_, instead)) = refused {
                    let message = format!("`{}` does not support `{name}`", key.text);
                    self.fault(span.error(message).hint(*instead));
                    continue;
                }
                let known = spec
                    .args
                    .iter()
                    .flat_map(|arg| std::iter::once(&arg.name).chain(&arg.aliases));
                let fault = span.error(format!(
                    "the module `{}` has no argument `{name}`",
                    key.text
                ));
                self.fault(fault.suggest(name, known.map(String::as_str)));
                continue;
            };
            if let Some(Json::String(text)) = args.get(name)
                && !arg.choices.is_empty()
                && is_literal(&args[name])
                && !arg.choices.contains(text)
            {
                let fault = span.error(format!("`{name}` of `{}` cannot be `{text}`", key.text));
                let choices = arg
                    .choices
                    .iter()
                    .map(|choice| format!("`{choice}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
                let fault = fault.expected(format!("one of {choices}"));
                self.fault(fault.suggest(text, arg.choices.iter().map(String::as_str)));
                continue;
            }
            let value = args.get(name).filter(|value| is_set(value));
            let table = spec.table.and_then(|module| module.arg(name));
            if let (Some(value), Some(arg)) = (value, table)
                && let Err(wrong) = arg.value(value)
            {
                self.fault(span.error(format!("`{}`: {wrong}", key.text)));
            }
        }
        for arg in spec.args.iter().filter(|arg| arg.required) {
            let name = format!("{}.{}", super::short_name(&key.text), arg.name);
            if !args.contains_key(&arg.name)
                && !self.defaulted.contains(&name)
                && !arg.aliases.iter().any(|alias| args.contains_key(alias))
            {
                self.fault(key.error(format!(
                    "the module `{}` lacks its argument `{}`",
                    key.text, arg.name
                )));
            }
        }
        // A misspelt name would be told twice.
        if let Some(module) = spec.table.filter(|_| !strangers) {
            self.check_groups(key, args, module);
        }
    }

    /// Which arguments go together. One whose value is a template may turn out to be omitted.
    fn check_groups(&mut self, key: &Key, args: &Map<String, Json>, module: &modules::Module) {
        let value = |name: &str| {
            let mut given = args.iter();
            given.find(|(given, _)| module.arg(given).is_some_and(|arg| arg.name == name))
        };
        let listed = |names: &[&str]| {
            let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            quoted.join(", ")
        };
        for group in module.one_of {
            let defaulted = |name: &str| {
                let name = format!("{}.{name}", module.name);
                self.defaulted.contains(&name)
            };
            if !group
                .iter()
                .any(|name| value(name).is_some() || defaulted(name))
            {
                let fault = key.error(format!("the module `{}` lacks an argument", key.text));
                self.fault(fault.expected(format!("one of {}", listed(group))));
            }
        }
        for group in module.exclusive {
            let set = |name: &&str| value(name).is_some_and(|(_, value)| is_set(value));
            let both: Vec<&str> = group.iter().copied().filter(set).collect();
            if both.len() > 1 {
                let message = format!(
                    "the module `{}` takes only one of {}",
                    key.text,
                    listed(&both)
                );
                self.fault(key.error(message));
            }
        }
    }
}

/// Known as it is written, and given.
fn is_set(value: &Json) -> bool {
    !value.is_null() && is_literal(value)
}

/// `k=v` pairs of a text, and what is left of it. With free text only names that the module knows count as pairs, so
/// that `command: env A=b` stays a command.
fn key_values(
    text: &str,
    known: &dyn Fn(&str) -> bool,
    free_form: bool,
) -> (Vec<(String, String)>, String) {
    let mut pairs = Vec::new();
    let mut free = String::new();
    for (word, space) in words(text) {
        let pair = word.split_once('=').filter(|(name, _)| {
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.is_empty()
                && (!free_form || known(name))
        });
        match pair {
            Some((name, value)) => pairs.push((name.to_owned(), unquote(value))),
            None => {
                free.push_str(word);
                free.push_str(space);
            }
        }
    }
    (pairs, free.trim().to_owned())
}

fn unquote(text: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

/// Words with the white space after each; quotes and `{{ }}` hold words together.
fn words(text: &str) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let (mut start, mut end) = (0, None);
    let (mut quote, mut braces) = (None, 0u32);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match (quote, end) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, Some(word_end)) if !c.is_whitespace() => {
                out.push((&text[start..word_end], &text[word_end..at]));
                (start, end) = (at, None);
                quote = matches!(c, '"' | '\'').then_some(c);
            }
            (None, Some(_)) => {}
            (None, None) if c.is_whitespace() && braces == 0 => end = Some(at),
            (None, None) => match c {
                '"' | '\'' => quote = Some(c),
                '{' if before == '{' => braces += 1,
                '}' if before == '}' => braces = braces.saturating_sub(1),
                _ => {}
            },
        }
        before = c;
    }
    let word_end = end.unwrap_or(text.len());
    if start < word_end {
        out.push((&text[start..word_end], &text[word_end..]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_free_text_are_told_apart() {
        let known = |name: &str| ["creates", "path", "msg"].contains(&name);
        let (pairs, free) = key_values("env A=b tar xf 'a b'  creates=/x {{ y  z }}", &known, true);
        assert_eq!(pairs, [("creates".to_owned(), "/x".to_owned())]);
        assert_eq!(free, "env A=b tar xf 'a b'  {{ y  z }}");
        let (pairs, free) = key_values("path={{ a + b }} msg=\"two words\"", &known, false);
        let expected = [("path", "{{ a + b }}"), ("msg", "two words")];
        assert_eq!(
            pairs,
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
        assert_eq!(free, "");
    }
}
