//! `ini_file`: one option of one section, everything else untouched.

/// How an option is written.
pub struct Style {
    /// `key=value` rather than `key = value`.
    pub no_extra_spaces: bool,
    /// A key without a value is written alone.
    pub allow_no_value: bool,
    /// An option that says the same with other blanks is left as it is.
    pub ignore_spaces: bool,
    /// A commented option of the same name is replaced.
    pub uncomment: bool,
}

impl Style {
    fn line(&self, option: &str, value: Option<&str>) -> String {
        match value {
            None if self.allow_no_value => option.to_owned(),
            value => {
                let equals = if self.no_extra_spaces { "=" } else { " = " };
                format!("{option}{equals}{}", value.unwrap_or_default())
                    .trim_end()
                    .to_owned()
            }
        }
    }

    fn is_same(&self, line: &str, wanted: &str) -> bool {
        let parts = |line: &str| {
            let (key, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
            (key.trim().to_owned(), value.trim().to_owned())
        };
        line == wanted || (self.ignore_spaces && parts(line) == parts(wanted))
    }
}

/// Sets `option` in `section` (empty: the lines before the first section). A commented-out option of the
/// same name is replaced, as Ansible does.
pub fn set(text: &str, section: &str, option: &str, value: Option<&str>, style: &Style) -> String {
    let wanted = style.line(option, value);
    let mut lines: Vec<&str> = text.lines().collect();
    let Some((start, end)) = range(&lines, section) else {
        let gap = if lines.last().is_some_and(|line| !line.trim().is_empty()) {
            "\n"
        } else {
            ""
        };
        let body = join(&lines);
        return format!("{body}{gap}[{section}]\n{wanted}\n");
    };
    let active = (start..end).find(|index| key(lines[*index]) == Some(option));
    let commented =
        || (start..end).find(|index| uncommented(lines[*index]).and_then(key) == Some(option));
    match active.or_else(|| commented().filter(|_| style.uncomment)) {
        Some(index) if style.is_same(lines[index], &wanted) => return text.to_owned(),
        Some(index) => lines[index] = &wanted,
        None => {
            // Before the blank lines that part this section from the next.
            let at = (start..end)
                .rev()
                .find(|index| !lines[*index].trim().is_empty())
                .map_or(start, |index| index + 1);
            lines.insert(at, &wanted);
        }
    }
    join(&lines)
}

/// Sets an option to several values, a line each; with `exclusive` to no others.
pub fn set_all(
    text: &str,
    section: &str,
    option: &str,
    values: &[&str],
    exclusive: bool,
    style: &Style,
) -> String {
    let mut left: Vec<String> = values
        .iter()
        .map(|value| style.line(option, Some(value)))
        .collect();
    let lines: Vec<&str> = text.lines().collect();
    let Some((start, end)) = range(&lines, section) else {
        let first = set(text, section, option, values.first().copied(), style);
        return match values.len() {
            0 | 1 => first,
            _ => set_all(&first, section, option, values, exclusive, style),
        };
    };
    let mut out: Vec<String> = lines[..start]
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    // Where the option stood last, or before the blank lines at the section's end.
    let mut at = None;
    for line in &lines[start..end] {
        if key(line) != Some(option) {
            out.push((*line).to_owned());
            continue;
        }
        match left.iter().position(|wanted| style.is_same(line, wanted)) {
            Some(index) => {
                left.remove(index);
                out.push((*line).to_owned());
            }
            None if exclusive => {}
            None => out.push((*line).to_owned()),
        }
        at = Some(out.len());
    }
    let at = at.unwrap_or_else(|| {
        let blank = out[start..]
            .iter()
            .rev()
            .take_while(|line| line.trim().is_empty())
            .count();
        out.len() - blank
    });
    out.splice(at..at, left);
    out.extend(lines[end..].iter().map(|line| (*line).to_owned()));
    if out.iter().map(String::as_str).eq(lines.iter().copied()) {
        return text.to_owned();
    }
    join(&out.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Removes `option` from `section`, or the whole section if no option is named.
pub fn remove(text: &str, section: &str, option: Option<&str>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some((start, end)) = range(&lines, section) else {
        return text.to_owned();
    };
    let kept: Vec<&str> = match option {
        Some(option) => {
            let gone =
                |index: usize| (start..end).contains(&index) && key(lines[index]) == Some(option);
            lines
                .iter()
                .enumerate()
                .filter(|(index, _)| !gone(*index))
                .map(|(_, line)| *line)
                .collect()
        }
        None => {
            let head = start.saturating_sub(usize::from(!section.is_empty()));
            lines[..head].iter().chain(&lines[end..]).copied().collect()
        }
    };
    if kept.len() == lines.len() {
        text.to_owned()
    } else {
        join(&kept)
    }
}

/// The lines of a section, without its heading.
fn range(lines: &[&str], section: &str) -> Option<(usize, usize)> {
    let start = match section {
        "" => 0,
        _ => {
            lines
                .iter()
                .position(|line| heading(line) == Some(section))?
                + 1
        }
    };
    let end = lines[start..]
        .iter()
        .position(|line| heading(line).is_some())
        .map_or(lines.len(), |index| start + index);
    Some((start, end))
}

fn heading(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']')
}

fn key(line: &str) -> Option<&str> {
    let line = line.trim();
    let key = line.split(['=', ':']).next()?.trim_end();
    (!key.is_empty() && !line.starts_with(['#', ';', '['])).then_some(key)
}

fn uncommented(line: &str) -> Option<&str> {
    line.trim().strip_prefix(['#', ';']).map(str::trim_start)
}

fn join(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STYLE: Style = Style {
        no_extra_spaces: false,
        allow_no_value: false,
        ignore_spaces: false,
        uncomment: true,
    };
    const CONFIG: &str =
        "; top\nglobal=1\n\n[mysqld]\nbind = 0.0.0.0\n#port = 3307\n\n[client]\nport=3306\n";

    #[test]
    fn options_are_set_where_they_belong() {
        let cases = [
            (
                "replace",
                set(CONFIG, "mysqld", "bind", Some("127.0.0.1"), &STYLE),
            ),
            (
                "uncomment",
                set(CONFIG, "mysqld", "port", Some("3306"), &STYLE),
            ),
            (
                "add to a section",
                set(CONFIG, "mysqld", "skip-name-resolve", Some("1"), &STYLE),
            ),
            (
                "new section",
                set(CONFIG, "galera", "wsrep_on", Some("ON"), &STYLE),
            ),
            (
                "no section",
                set(
                    CONFIG,
                    "",
                    "global",
                    Some("2"),
                    &Style {
                        no_extra_spaces: true,
                        ..STYLE
                    },
                ),
            ),
            (
                "no value",
                set(
                    CONFIG,
                    "mysqld",
                    "skip-networking",
                    None,
                    &Style {
                        allow_no_value: true,
                        ..STYLE
                    },
                ),
            ),
            ("remove", remove(CONFIG, "client", Some("port"))),
            ("remove a section", remove(CONFIG, "mysqld", None)),
        ];
        insta::assert_snapshot!(
            cases
                .map(|(name, text)| format!("== {name}\n{text}"))
                .concat()
        );
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "(\\[[ab]\\]\n|[#;]?[xy] ?= ?[12]\n|\n){0,8}", section in "[abc]?", option in "[xyz]", value in "[12]") {
            let once = set(&text, &section, &option, Some(&value), &STYLE);
            prop_assert_eq!(&set(&once, &section, &option, Some(&value), &STYLE), &once);
            let many = set_all(&text, &section, &option, &["1", &value], true, &STYLE);
            prop_assert_eq!(&set_all(&many, &section, &option, &["1", &value], true, &STYLE), &many);
            let gone = remove(&once, &section, Some(&option));
            prop_assert_eq!(remove(&gone, &section, Some(&option)), gone);
        }
    }
}
