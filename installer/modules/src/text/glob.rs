//! File name patterns of the shell: `*`, `?`, `[...]`.
use regex::Regex;

/// Whether the whole `name` fits `pattern`. A pattern that is none fits only itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    match regex(pattern) {
        Some(regex) => regex.is_match(name),
        None => pattern == name,
    }
}

fn regex(pattern: &str) -> Option<Regex> {
    let mut out = String::from("(?s)^");
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => match rest.as_str().find(']') {
                Some(end) if end > 0 => {
                    let inside = &rest.as_str()[..end];
                    let (not, set) = inside
                        .strip_prefix('!')
                        .map_or(("", inside), |set| ("^", set));
                    out.push_str(&format!(
                        "[{not}{}]",
                        set.replace('\\', "\\\\")
                            .replace('[', "\\[")
                            .replace("&&", "&")
                    ));
                    rest = rest.as_str()[end + 1..].chars();
                }
                _ => out.push_str("\\["),
            },
            letter => out.push_str(&regex::escape(&letter.to_string())),
        }
    }
    out.push('$');
    Regex::new(&out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_shell() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("node-[0-9]?", "node-1x", true),
            ("[!a]b", "ab", false),
            ("a+b", "a+b", true),
            ("[", "[", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
