//! `ini_file`: one option of one section, everything else untouched.

/// How an option is written.
pub struct Style {
    /// `key=value` rather than `key = value`.
    pub no_extra_spaces: bool,
    /// A key without a value is written alone.
    pub allow_no_value: bool,
}

/// Sets `option` in `section` (empty: the lines before the first section). A commented-out option of the
/// same name is replaced, as Ansible does.
pub fn set(text: &str, section: &str, option: &str, value: Option<&str>, style: &Style) -> String {
    let wanted = match value {
        None if style.allow_no_value => option.to_owned(),
        value => {
            let equals = if style.no_extra_spaces { "=" } else { " = " };
            format!("{option}{equals}{}", value.unwrap_or_default())
                .trim_end()
                .to_owned()
        }
    };
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
    match active.or_else(commented) {
        Some(index) if lines[index] == wanted => return text.to_owned(),
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
            let gone = remove(&once, &section, Some(&option));
            prop_assert_eq!(remove(&gone, &section, Some(&option)), gone);
        }
    }
}
