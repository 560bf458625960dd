//! `blockinfile`: a block of lines between two marker lines.
use super::lines::Insert;

/// The two marker lines. The block is what is between them.
pub struct Markers {
    pub begin: String,
    pub end: String,
}

/// Puts `block` between the markers; an empty block removes both and what is between them.
pub fn ensure(text: &str, block: &str, markers: &Markers, insert: &Insert) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let begin = lines.iter().rposition(|line| *line == markers.begin);
    let end = lines.iter().rposition(|line| *line == markers.end);
    let wanted: Vec<&str> = if block.is_empty() {
        Vec::new()
    } else {
        std::iter::once(markers.begin.as_str())
            .chain(block.trim_end_matches('\n').lines())
            .chain([markers.end.as_str()])
            .collect()
    };
    let (before, after) = match (begin, end) {
        (Some(begin), Some(end)) if begin <= end => (&lines[..begin], &lines[end + 1..]),
        _ if wanted.is_empty() => return text.to_owned(),
        _ => {
            let position =
                |pattern: &regex::Regex| lines.iter().rposition(|line| pattern.is_match(line));
            let at = match insert {
                Insert::AtEnd => lines.len(),
                Insert::AtBeginning => 0,
                Insert::After(pattern) => position(pattern).map_or(lines.len(), |index| index + 1),
                Insert::Before(pattern) => position(pattern).unwrap_or(lines.len()),
            };
            lines.split_at(at)
        }
    };
    before
        .iter()
        .chain(&wanted)
        .chain(after)
        .flat_map(|line| [*line, "\n"])
        .collect()
}

/// The text with an empty line before and behind the block, where they are wished and lack.
pub fn set_apart(text: &str, markers: &Markers, before: bool, behind: bool) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = |lines: &[&str], marker: &str| lines.iter().rposition(|line| *line == marker);
    if let Some(end) = at(&lines, &markers.end)
        && behind
        && lines
            .get(end + 1)
            .is_some_and(|next| !next.trim().is_empty())
    {
        lines.insert(end + 1, "");
    }
    if let Some(begin) = at(&lines, &markers.begin)
        && before
        && begin > 0
        && !lines[begin - 1].trim().is_empty()
    {
        lines.insert(begin, "");
    }
    let out: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
    if out.strip_suffix('\n') == Some(text) {
        text.to_owned()
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn markers() -> Markers {
        Markers {
            begin: "# BEGIN ANSIBLE MANAGED BLOCK".into(),
            end: "# END ANSIBLE MANAGED BLOCK".into(),
        }
    }

    #[test]
    fn a_block_is_put_replaced_and_removed() {
        let first = ensure("one\ntwo\n", "a\nb\n", &markers(), &Insert::AtEnd);
        assert_eq!(
            first,
            "one\ntwo\n# BEGIN ANSIBLE MANAGED BLOCK\na\nb\n# END ANSIBLE MANAGED BLOCK\n"
        );
        let second = ensure(&first, "c", &markers(), &Insert::AtBeginning);
        assert_eq!(
            second,
            "one\ntwo\n# BEGIN ANSIBLE MANAGED BLOCK\nc\n# END ANSIBLE MANAGED BLOCK\n"
        );
        assert_eq!(
            ensure(&second, "", &markers(), &Insert::AtEnd),
            "one\ntwo\n"
        );
    }

    proptest! {
        #[test]
        fn twice_is_once_and_removal_brings_the_old_text_back(text in "([a-c]{0,3}\n){0,5}", block in "([d-f]{1,3}\n){1,3}", at in 0..3u8) {
            let found = regex::Regex::new("^a").unwrap();
            let insert = match at { 0 => Insert::AtEnd, 1 => Insert::AtBeginning, _ => Insert::After(found) };
            let once = ensure(&text, &block, &markers(), &insert);
            prop_assert_eq!(&ensure(&once, &block, &markers(), &insert), &once);
            prop_assert_eq!(ensure(&once, "", &markers(), &insert), text);
        }
    }
}
