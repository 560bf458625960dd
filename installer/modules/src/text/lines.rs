//! `lineinfile` and `replace`: edits of single lines and of matches.
use regex::{Regex, RegexBuilder};

/// Where a line goes that is not there yet.
#[derive(Debug, Clone, Default)]
pub enum Insert {
    #[default]
    AtEnd,
    AtBeginning,
    /// Behind the last match, else at the end.
    After(Regex),
    /// Before the last match, else at the end.
    Before(Regex),
}

/// What `lineinfile` with `state: present` is told.
pub struct Line<'a> {
    pub line: &'a str,
    pub regexp: Option<&'a Regex>,
    pub search_string: Option<&'a str>,
    pub insert: Insert,
    /// `line` refers to groups of `regexp`: `\1`, `\g<name>`.
    pub backrefs: bool,
    /// Insert before or after the first match rather than the last.
    pub first_match: bool,
}

/// Makes sure of one line. Ansible's order: the last match of the pattern is replaced; without one, a line
/// that is there already stays; else it is inserted.
pub fn ensure(text: &str, wish: &Line<'_>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let matches = |line: &str| match (wish.regexp, wish.search_string) {
        (Some(pattern), _) => pattern.is_match(line),
        (None, Some(search)) => line.contains(search),
        (None, None) => line == wish.line,
    };
    if let Some(index) = lines.iter().rposition(|line| matches(line)) {
        let replacement = match wish.regexp {
            Some(pattern) if wish.backrefs => match pattern.captures(&lines[index]) {
                Some(captures) => expand(&captures, wish.line),
                None => wish.line.to_owned(),
            },
            _ => wish.line.to_owned(),
        };
        if lines[index] == replacement {
            return text.to_owned();
        }
        lines[index] = replacement;
        return join(&lines);
    }
    // With backrefs there is nothing to refer to; without, a present line is left where it is.
    if wish.backrefs || lines.iter().any(|line| line == wish.line) {
        return text.to_owned();
    }
    let position = |pattern: &Regex| {
        let found = |line: &String| pattern.is_match(line);
        if wish.first_match {
            lines.iter().position(found)
        } else {
            lines.iter().rposition(found)
        }
    };
    let at = match &wish.insert {
        Insert::AtBeginning => 0,
        Insert::AtEnd => lines.len(),
        Insert::After(pattern) => position(pattern).map_or(lines.len(), |index| index + 1),
        Insert::Before(pattern) => position(pattern).unwrap_or(lines.len()),
    };
    lines.insert(at, wish.line.to_owned());
    join(&lines)
}

/// Removes all lines that match. The number of removed lines comes along.
pub fn remove(text: &str, matches: impl Fn(&str) -> bool) -> (String, usize) {
    let all = text.lines().count();
    let kept: Vec<String> = text
        .lines()
        .filter(|line| !matches(line))
        .map(str::to_owned)
        .collect();
    match all - kept.len() {
        0 => (text.to_owned(), 0),
        removed => (join(&kept), removed),
    }
}

/// `replace`: every match between `after` and `before` becomes `with`.
pub fn replace_all(
    text: &str,
    pattern: &Regex,
    with: &str,
    after: Option<&Regex>,
    before: Option<&Regex>,
) -> (String, usize) {
    let start = match after {
        Some(pattern) => match pattern.find(text) {
            Some(found) => found.end(),
            None => return (text.to_owned(), 0),
        },
        None => 0,
    };
    let end = match before {
        Some(pattern) => match pattern.find(&text[start..]) {
            Some(found) => start + found.start(),
            None => return (text.to_owned(), 0),
        },
        None => text.len(),
    };
    let mut count = 0;
    let replaced = pattern.replace_all(&text[start..end], |captures: &regex::Captures<'_>| {
        count += 1;
        expand(captures, with)
    });
    (
        format!("{}{replaced}{}", &text[..start], &text[end..]),
        count,
    )
}

/// Python's patterns as users write them: `^` and `$` are those of each line.
pub fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .multi_line(true)
        .size_limit(4 << 20)
        .build()
        .map_err(|error| format!("the pattern `{text}` cannot be used: {error}"))
}

/// Python's replacement text: `\1`, `\g<1>`, `\g<name>`, `\n`, `\t`, `\\`.
fn expand(captures: &regex::Captures<'_>, template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let group = |name: &str| match name.parse::<usize>() {
            Ok(number) => captures.get(number),
            Err(_) => captures.name(name),
        };
        let mut letters = rest.chars();
        match letters.next() {
            Some(digit @ '0'..='9') => {
                out.push_str(group(&digit.to_string()).map_or("", |found| found.as_str()));
                rest = letters.as_str();
            }
            Some('g') if rest.starts_with("g<") && rest.contains('>') => {
                let end = rest.find('>').unwrap_or(2);
                out.push_str(group(&rest[2..end]).map_or("", |found| found.as_str()));
                rest = &rest[end + 1..];
            }
            Some('n') => {
                out.push('\n');
                rest = letters.as_str();
            }
            Some('t') => {
                out.push('\t');
                rest = letters.as_str();
            }
            Some('\\') => {
                out.push('\\');
                rest = letters.as_str();
            }
            _ => out.push('\\'),
        }
    }
    out.push_str(rest);
    out
}

fn join(lines: &[String]) -> String {
    lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SSHD: &str = "# sshd\nPort 22\n#PermitRootLogin no\nUsePAM yes\n";

    fn line<'a>(line: &'a str, regexp: Option<&'a Regex>) -> Line<'a> {
        Line {
            line,
            regexp,
            search_string: None,
            insert: Insert::AtEnd,
            backrefs: false,
            first_match: false,
        }
    }

    #[test]
    fn edits_of_a_configuration_file() {
        let root = pattern("^#?PermitRootLogin").unwrap();
        let port = pattern(r"^(Port) (\d+)").unwrap();
        let cases = [
            ("append", line("X11Forwarding no", None)),
            (
                "replace the match",
                line("PermitRootLogin yes", Some(&root)),
            ),
            (
                "backrefs",
                Line {
                    backrefs: true,
                    ..line(r"\1 \g<2>22", Some(&port))
                },
            ),
            (
                "after",
                Line {
                    insert: Insert::After(pattern("^Port").unwrap()),
                    ..line("ListenAddress ::", None)
                },
            ),
            (
                "before",
                Line {
                    insert: Insert::Before(pattern("^UsePAM").unwrap()),
                    ..line("Banner none", None)
                },
            ),
            (
                "beginning",
                Line {
                    insert: Insert::AtBeginning,
                    ..line("# managed", None)
                },
            ),
            (
                "search string",
                Line {
                    search_string: Some("UsePAM"),
                    ..line("UsePAM no", None)
                },
            ),
        ];
        let mut golden = String::new();
        for (name, wish) in cases {
            let once = ensure(SSHD, &wish);
            if name != "backrefs" {
                assert_eq!(ensure(&once, &wish), once, "{name} twice");
            }
            golden.push_str(&format!("== {name}\n{once}"));
        }
        insta::assert_snapshot!(golden);
    }

    #[test]
    fn a_file_without_a_last_newline_is_not_spoilt() {
        assert_eq!(ensure("a", &line("b", None)), "a\nb\n");
        assert_eq!(ensure("a", &line("a", None)), "a");
        assert_eq!(ensure("", &line("a", None)), "a\n");
    }

    #[test]
    fn lines_and_matches_are_removed_and_replaced() {
        assert_eq!(
            remove(SSHD, |line| line.starts_with('#')),
            ("Port 22\nUsePAM yes\n".into(), 2)
        );
        let word = pattern(r"(\w+) yes").unwrap();
        assert_eq!(
            replace_all(SSHD, &word, r"\1 no\n", None, None),
            (
                "# sshd\nPort 22\n#PermitRootLogin no\nUsePAM no\n\n".into(),
                1
            )
        );
        let (after, before) = (pattern("<a>").unwrap(), pattern("</a>").unwrap());
        assert_eq!(
            replace_all(
                "x<a>x</a>x",
                &pattern("x").unwrap(),
                "y",
                Some(&after),
                Some(&before)
            ),
            ("x<a>y</a>x".into(), 1)
        );
    }

    proptest! {
        #[test]
        fn ensuring_a_line_twice_is_ensuring_it_once(text in "([a-c ]{0,4}\n){0,6}", wanted in "[a-c]{1,3}", at in 0..4u8) {
            let found = pattern("^a").unwrap();
            let insert = match at { 0 => Insert::AtEnd, 1 => Insert::AtBeginning, 2 => Insert::After(found), _ => Insert::Before(found) };
            let wish = Line { insert, ..line(&wanted, None) };
            let once = ensure(&text, &wish);
            prop_assert!(once.lines().any(|line| line == wanted));
            prop_assert_eq!(ensure(&once, &wish), once);
        }

        #[test]
        fn no_replacement_panics(template in "[\\\\g<>0-9né]{0,12}", text in "\\PC{0,12}") {
            replace_all(&text, &pattern(".").unwrap(), &template, None, None);
        }
    }
}
