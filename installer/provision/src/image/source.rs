//! The package source that this machine is set up with, narrowed to Debian's own: read from apt's
//! configuration (one-line and deb822), written as deb822. Parsing is pure; reading is one function.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::{At, ImageError};

/// One group of suites at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    pub signed_by: Option<String>,
    pub trusted: bool,
}

/// What mmdebstrap and apt inside of trees are pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSource {
    pub sources: Vec<Source>,
    /// Options of this machine's apt that decide how packages are fetched, for example its proxy.
    pub options: Vec<(String, String)>,
}

impl PackageSource {
    /// Reads apt's configuration below `etc_apt` (`/etc/apt`).
    ///
    /// # Errors
    /// When nothing there offers `suite` from Debian.
    pub fn of_this_machine(etc_apt: &Path, suite: &str) -> Result<Self, ImageError> {
        let mut sources = Vec::new();
        let folder = etc_apt.join("sources.list.d");
        let mut files = vec![etc_apt.join("sources.list")];
        files.extend(
            fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
        files.sort();
        for file in &files {
            let Ok(text) = fs::read_to_string(file) else {
                continue;
            };
            match file.extension().and_then(|e| e.to_str()) {
                Some("sources") => sources.extend(parse_deb822(&text)),
                Some("list") => sources.extend(parse_one_line(&text)),
                _ => {}
            }
        }
        let sources: Vec<Source> = sources
            .into_iter()
            .filter_map(|source| debians_own(source, suite))
            .collect();
        if !sources
            .iter()
            .any(|source| source.suites.iter().any(|s| s == suite))
        {
            return Err(ImageError::NoSource {
                suite: suite.into(),
                looked_at: etc_apt.display().to_string(),
                hint: "add `deb http://deb.debian.org/debian bookworm main` to it, or your mirror of that",
            });
        }
        let dump = Command::new("apt-config")
            .arg("dump")
            .output()
            .at("run", Path::new("apt-config"))?;
        Ok(Self {
            sources,
            options: fetch_options(&String::from_utf8_lossy(&dump.stdout)),
        })
    }

    /// The source as a deb822 file.
    pub fn to_deb822(&self) -> String {
        let mut text = String::new();
        for source in &self.sources {
            text.push_str(&format!(
                "Types: deb\nURIs: {}\nSuites: {}\n",
                source.uris.join(" "),
                source.suites.join(" ")
            ));
            text.push_str(&format!("Components: {}\n", source.components.join(" ")));
            if let Some(key) = &source.signed_by {
                text.push_str(&format!("Signed-By: {key}\n"));
            }
            if source.trusted {
                text.push_str("Trusted: yes\n");
            }
            text.push('\n');
        }
        text
    }

    /// Key files that apt inside a tree needs at the same path as here.
    pub fn keyrings(&self) -> BTreeSet<PathBuf> {
        let keys = self
            .sources
            .iter()
            .filter_map(|source| source.signed_by.as_deref());
        keys.flat_map(str::split_whitespace)
            .filter(|key| key.starts_with('/'))
            .map(PathBuf::from)
            .collect()
    }
}

/// Keeps what Debian itself publishes for `suite` (no backports), signed by its archive keys or, for sources
/// that name no key, with its component `main`. A third party's repository may use the same suite name.
fn debians_own(mut source: Source, suite: &str) -> Option<Source> {
    let wanted = [
        suite.to_owned(),
        format!("{suite}-updates"),
        format!("{suite}-security"),
    ];
    source.suites.retain(|s| wanted.contains(s));
    source.components.retain(|c| {
        matches!(
            c.as_str(),
            "main" | "contrib" | "non-free" | "non-free-firmware"
        )
    });
    let keyed = source
        .signed_by
        .as_deref()
        .is_none_or(|key| key.contains("debian-archive"));
    (keyed && !source.suites.is_empty() && source.components.iter().any(|c| c == "main"))
        .then_some(source)
}

/// sources.list(5), "DEB822-STYLE FORMAT".
fn parse_deb822(text: &str) -> Vec<Source> {
    text.replace("\r\n", "\n")
        .split("\n\n")
        .filter_map(parse_stanza)
        .collect()
}

fn parse_stanza(stanza: &str) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            // A line that begins with white space goes on with the field before it.
            _ => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
        }
    }
    let words = |name: &str| -> Vec<String> {
        let value = fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let said = |name: &str, answer: &str| {
        words(name)
            .first()
            .is_some_and(|w| w.eq_ignore_ascii_case(answer))
    };
    if !words("types").iter().any(|t| t == "deb") || said("enabled", "no") {
        return None;
    }
    let signed_by = Some(words("signed-by").join(" ")).filter(|key| !key.is_empty());
    Some(Source {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        signed_by,
        trusted: said("trusted", "yes"),
    })
}

/// sources.list(5), "ONE-LINE-STYLE FORMAT": `deb [options] uri suite [component…]`.
fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line
        .strip_prefix("deb")?
        .strip_prefix([' ', '\t'])?
        .trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| {
        options
            .split_whitespace()
            .filter_map(|o| o.split_once('='))
            .find(|(n, _)| *n == name)
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: option("signed-by").map(|(_, key)| key.replace(',', " ")),
        trusted: option("trusted").is_some_and(|(_, v)| v == "yes"),
    })
}

/// The lines of `apt-config dump` that say how to fetch: proxies, and what a frozen mirror needs.
fn fetch_options(dump: &str) -> Vec<(String, String)> {
    const KEPT: &[&str] = &[
        "Acquire::http::",
        "Acquire::https::",
        "Acquire::Check-",
        "Acquire::Retries",
    ];
    let lines = dump
        .lines()
        .filter_map(|line| line.strip_suffix("\";")?.split_once(" \""));
    lines
        .filter(|(name, value)| {
            KEPT.iter().any(|k| name.starts_with(k))
                && !value.is_empty()
                && !name.contains("::User-Agent")
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb\n# a note\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
        Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable\nSigned-By: /etc/apt/keyrings/docker.asc\n\n\
        Types: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\nEnabled: no\n";

    fn own(sources: Vec<Source>) -> String {
        let sources = sources
            .into_iter()
            .filter_map(|s| debians_own(s, "bookworm"))
            .collect();
        PackageSource {
            sources,
            options: Vec::new(),
        }
        .to_deb822()
    }

    #[test]
    fn only_debians_own_suites_are_kept() {
        insta::assert_snapshot!(own(parse_deb822(DEB822)), @r"
        Types: deb
        URIs: http://deb.debian.org/debian
        Suites: bookworm bookworm-updates
        Components: main
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
        ");
    }

    #[test]
    fn one_line_sources_are_read_with_their_options() {
        let text = "# deb http://x bookworm main\ndeb-src http://x bookworm main\n\
            deb [arch=amd64 trusted=yes] http://mirror.example/debian bookworm main contrib # ours\n\
            deb http://deb.debian.org/debian bookworm-backports main\ndeb https://deb.nodesource.com/node_20.x nodistro main\n";
        insta::assert_snapshot!(own(parse_one_line(text)), @r"
        Types: deb
        URIs: http://mirror.example/debian
        Suites: bookworm
        Components: main contrib
        Trusted: yes
        ");
    }

    #[test]
    fn proxies_of_this_machine_are_kept() {
        let dump = "Acquire::http::Proxy \"http://127.0.0.1:3142\";\nAcquire::cdrom::mount \"/media\";\nAcquire::Check-Date \"false\";\n";
        let kept: Vec<String> = fetch_options(dump)
            .into_iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(
            kept,
            [
                "Acquire::http::Proxy=http://127.0.0.1:3142",
                "Acquire::Check-Date=false"
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_file_of_apt_makes_it_panic(text in ".{0,200}") {
            let _ = (parse_deb822(&text), parse_one_line(&text), fetch_options(&text));
        }
    }
}
