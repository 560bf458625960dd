//! Dpkg's status file: which packages are there, in which version.
use std::collections::BTreeMap;

use super::glob;

/// What dpkg knows of the node's packages, by name and by name:architecture.
#[derive(Debug, Default)]
pub struct Packages<'a> {
    /// Version; none of names that a package only provides.
    installed: BTreeMap<String, Option<&'a str>>,
    /// Removed, but their configuration is still there.
    left_over: Vec<&'a str>,
}

/// Reads the status file.
pub fn packages(status: &str) -> Packages<'_> {
    let mut out = Packages::default();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let (Some(status), Some(package)) = (field("Status"), field("Package")) else {
            continue;
        };
        if status.ends_with(" config-files") {
            out.left_over.push(package);
        }
        if !status.ends_with(" installed") {
            continue;
        }
        if let Some(architecture) = field("Architecture") {
            out.installed
                .insert(format!("{package}:{architecture}"), field("Version"));
        }
        out.installed.insert(package.to_owned(), field("Version"));
        for provided in field("Provides")
            .into_iter()
            .flat_map(|list| list.split(','))
        {
            let name = provided
                .split(['(', ' '])
                .find(|word| !word.is_empty())
                .unwrap_or_default();
            out.installed.entry(name.to_owned()).or_insert(None);
        }
    }
    out
}

/// A package as users ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    Any(&'a str),
    /// A version, or a pattern of versions.
    Exactly(&'a str, &'a str),
    AtLeast(&'a str, &'a str),
    /// A pattern of names: only apt knows what it means.
    Pattern(&'a str),
}

impl<'a> Wanted<'a> {
    /// Reads `name`, `name=version`, `name>=version` or a pattern.
    pub fn parse(text: &'a str) -> Self {
        if let Some((name, version)) = text.split_once(">=") {
            return Wanted::AtLeast(name.trim(), version.trim());
        }
        match text.split_once('=') {
            Some((name, version)) => Wanted::Exactly(name.trim(), version.trim()),
            None if text.contains(['*', '?', '[']) => Wanted::Pattern(text),
            None => Wanted::Any(text),
        }
    }

    pub fn name(&self) -> &'a str {
        match self {
            Wanted::Any(name)
            | Wanted::Exactly(name, _)
            | Wanted::AtLeast(name, _)
            | Wanted::Pattern(name) => name,
        }
    }
}

impl Packages<'_> {
    /// Version of an installed package.
    pub fn version(&self, name: &str) -> Option<&str> {
        self.installed.get(name).copied().flatten()
    }

    pub fn has(&self, wanted: Wanted<'_>) -> bool {
        match wanted {
            Wanted::Any(name) => self.installed.contains_key(name),
            Wanted::Exactly(name, version) => self
                .version(name)
                .is_some_and(|now| glob::matches(version, now)),
            Wanted::AtLeast(name, version) => self
                .version(name)
                .is_some_and(|now| compare(now, version) != std::cmp::Ordering::Less),
            Wanted::Pattern(pattern) => self
                .installed
                .keys()
                .any(|name| glob::matches(pattern, name)),
        }
    }

    /// Whether a removed package's configuration is still there.
    pub fn left_over(&self, name: &str) -> bool {
        self.left_over.contains(&name)
    }
}

/// Compares versions as Debian's policy has it.
pub fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let parts = |text: &str| -> (u64, String, String) {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        (
            epoch.parse().unwrap_or(0),
            upstream.to_owned(),
            revision.to_owned(),
        )
    };
    let (a, b) = (parts(a), parts(b));
    a.0.cmp(&b.0)
        .then_with(|| compare_part(&a.1, &b.1))
        .then_with(|| compare_part(&a.2, &b.2))
}

/// Text and numbers in turns; `~` comes before all, even before the end.
fn compare_part(mut a: &str, mut b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering::Equal;
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => c as i32,
        Some(c) => c as i32 + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (a.chars().next(), b.chars().next());
            let text = |c: Option<char>| c.is_some_and(|c| !c.is_ascii_digit());
            if !text(x) && !text(y) {
                break;
            }
            let order = weight(x).cmp(&weight(y));
            if order != Equal {
                return order;
            }
            a = &a[x.map_or(0, char::len_utf8)..];
            b = &b[y.map_or(0, char::len_utf8)..];
        }
        let number = |text: &mut &str| -> String {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            *text = rest;
            digits.trim_start_matches('0').to_owned()
        };
        let (x, y) = (number(&mut a), number(&mut b));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
        if order != Equal {
            return order;
        }
    }
    Equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    const STATUS: &str = "Package: chrony\nStatus: install ok installed\nArchitecture: amd64\nVersion: 4.3-2+deb12u1\nProvides: time-daemon, ntp (= 1)\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";

    #[test]
    fn dpkgs_status_is_understood() {
        let packages = packages(STATUS);
        for (name, there) in [
            ("chrony", true),
            ("chrony:amd64", true),
            ("chrony=4.3*", true),
            ("chrony=5", false),
            ("chrony>=4.2", true),
            ("chrony>=4.3-3", false),
            ("chro*", true),
            ("time-daemon", true),
            ("ntp", true),
            ("gone", false),
        ] {
            assert_eq!(packages.has(Wanted::parse(name)), there, "{name}");
        }
        assert!(packages.left_over("gone") && !packages.left_over("chrony"));
    }

    #[test]
    fn versions_are_ordered_as_debian_orders_them() {
        for (a, order, b) in [
            ("1.0", Ordering::Less, "1.10"),
            ("1.0~rc1", Ordering::Less, "1.0"),
            ("1:0.1", Ordering::Greater, "2.0"),
            ("1.0-1", Ordering::Less, "1.0-1+deb12u1"),
            ("1.0a", Ordering::Greater, "1.0"),
            ("1.0+b", Ordering::Greater, "1.0a"),
            ("01.2", Ordering::Equal, "1.2"),
            ("2.0", Ordering::Equal, "2.0-0"),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_one(a in "[0-9a-z.~+:é-]{0,8}", b in "[0-9a-z.~+:é-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
