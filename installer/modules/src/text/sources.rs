//! Apt's lists of repositories: one-line style, and the names of their files.

/// A line of `sources.list`: whether it is commented out, and its words without a comment behind them.
pub fn parse(line: &str) -> Option<(bool, String)> {
    let text = line.trim();
    let (enabled, text) = match text.strip_prefix('#') {
        Some(rest) => (false, rest.trim_start_matches('#').trim()),
        None => (true, text),
    };
    let text = text.split(" #").next().unwrap_or(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_source = matches!(words.first(), Some(&"deb" | &"deb-src")) && words.len() >= 3;
    let has_address = words.iter().any(|word| word.contains(":/"));
    (is_source && has_address).then(|| (enabled, words.join(" ")))
}

/// The file's text with the source in use once, or `None` if the file does not have it at all.
pub fn enable(text: &str, source: &str) -> Option<String> {
    let mut found = false;
    let mut out = String::new();
    for line in text.lines() {
        match parse(line) {
            Some((enabled, now)) if now == source && !found => {
                found = true;
                out.push_str(if enabled { line } else { source });
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    found.then(|| {
        if out.trim_end() == text.trim_end() {
            text.to_owned()
        } else {
            out
        }
    })
}

/// The file's text without the source.
pub fn remove(text: &str, source: &str) -> String {
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| parse(line).is_none_or(|(enabled, now)| now != source || !enabled))
        .collect();
    match kept.len() == text.lines().count() {
        true => text.to_owned(),
        false => kept.iter().flat_map(|line| [*line, "\n"]).collect(),
    }
}

/// The name of the file for a source, from its address: letters and digits, parted by `_`.
pub fn file_name(source: &str) -> String {
    let mut depth = 0;
    let plain: String = source
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '[');
            let keep = depth == 0;
            depth -= i32::from(*c == ']' && depth > 0);
            keep
        })
        .collect();
    let address = plain
        .split_whitespace()
        .find(|word| !matches!(*word, "deb" | "deb-src"))
        .unwrap_or_default();
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.split_once('@').map_or(address, |(_, rest)| rest);
    let parts: Vec<&str> = address
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &str = "# system\ndeb http://mirror.example/debian bookworm main # all\n#deb-src http://mirror.example/debian bookworm main\n";

    #[test]
    fn sources_are_read_enabled_and_removed() {
        assert_eq!(
            parse("deb  [arch=amd64]   http://a/b c d"),
            Some((true, "deb [arch=amd64] http://a/b c d".into()))
        );
        assert_eq!(parse("# a remark: see http://x"), None);
        let source = "deb-src http://mirror.example/debian bookworm main";
        let enabled = enable(LIST, source).unwrap();
        assert!(enabled.ends_with(&format!("\n{source}\n")));
        assert_eq!(
            enable(LIST, "deb http://mirror.example/debian bookworm main").as_deref(),
            Some(LIST)
        );
        assert_eq!(enable(LIST, "deb http://other/ x main"), None);
        assert_eq!(remove(LIST, source), LIST);
        assert_eq!(remove(&enabled, source).lines().count(), 2);
    }

    #[test]
    fn files_are_named_after_the_address() {
        for (source, name) in [
            (
                "deb http://archive.canonical.com/ubuntu hardy partner",
                "archive_canonical_com_ubuntu",
            ),
            (
                "deb [signed-by=/a/b.gpg arch=amd64] https://me:pw@repo.example:8080/deb/ stable main",
                "repo_example_8080_deb",
            ),
            ("deb-src file:/srv/x ./", "file_srv_x"),
        ] {
            assert_eq!(file_name(source), name);
        }
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "(# ?)?(deb|deb-src|x) http:/a b( c)?\n", other in "\\PC{0,30}") {
            let text = format!("{other}\n{text}");
            let source = "deb http:/a b c";
            if let Some(once) = enable(&text, source) {
                prop_assert_eq!(enable(&once, source), Some(once));
            }
            let gone = remove(&text, source);
            prop_assert_eq!(&remove(&gone, source), &gone);
            file_name(&other);
        }
    }
}
