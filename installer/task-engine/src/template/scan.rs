//! Looking at a text without evaluating it: does it hold a template, and is it one whole expression.
use std::borrow::Cow;

/// True if rendering could change the text.
pub fn has_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// The expression inside, when the whole text is one `{{ expression }}`.
pub(crate) fn whole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let (mut depth, mut quote, mut escaped) = (0u32, None, false);
    for (at, c) in inner.char_indices() {
        if let Some(open) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == open => quote = None,
                _ => {}
            }
            continue;
        }
        match c {
            '\'' | '"' => quote = Some(c),
            '{' | '[' | '(' => depth += 1,
            '}' if depth == 0 => {
                let rest = &inner[at..];
                let body = inner[..at].trim_end();
                return (rest == "}}").then(|| body.strip_suffix('-').unwrap_or(body).trim());
            }
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Doubles every backslash in texts inside `{{ }}`.
pub(crate) fn literal_backslashes(source: &str) -> Cow<'_, str> {
    if !source.contains('\\') || !source.contains("{{") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len() + 16);
    let mut letters = source.chars().peekable();
    let (mut inside, mut quote) = (false, None);
    while let Some(c) = letters.next() {
        out.push(c);
        match (inside, quote, c) {
            (false, _, '{') if letters.peek() == Some(&'{') => {
                out.extend(letters.next());
                inside = true;
            }
            (true, None, '}') if letters.peek() == Some(&'}') => {
                out.extend(letters.next());
                inside = false;
            }
            (true, None, '\'' | '"') => quote = Some(c),
            (true, Some(open), c) if c == open => quote = None,
            (true, Some(open), '\\') => {
                out.push('\\');
                match letters.next() {
                    // The quote does not end the text, and the backslash before it stays.
                    Some(next) if next == open => out.extend(['\\', next]),
                    Some('\\') => out.push_str("\\\\"),
                    other => out.extend(other),
                }
            }
            _ => {}
        }
    }
    Cow::Owned(out)
}

/// A text cut to one line that fits into a message.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_that_is_one_expression_is_one() {
        for (text, expected) in [
            ("{{ a }}", Some("a")),
            ("  {{- a -}} ", Some("a")),
            ("{{ {'a': {'b': 1}} }}", Some("{'a': {'b': 1}}")),
            ("{{ '}}' }}", Some("'}}'")),
            (r"{{ 'it\'s }}' }}", Some(r"'it\'s }}'")),
            ("{{ a }}{{ b }}", None),
            ("{{ a }} ", Some("a")),
            ("x{{ a }}", None),
            ("{{ a", None),
            ("{% if a %}b{% endif %}", None),
        ] {
            assert_eq!(whole_expression(text), expected, "{text}");
        }
    }
}
