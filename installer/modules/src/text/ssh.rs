//! OpenSSH's files of keys: `authorized_keys` and `known_hosts`. What is no key is left as it is.
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// One line of `authorized_keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub options: String,
    pub kind: String,
    pub key: String,
    pub comment: String,
}

impl Key {
    /// Reads a line; `None` for comments and what is no key.
    pub fn parse(line: &str) -> Option<Key> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (first, rest) = word(line);
        let (options, kind, rest) = match is_kind(first) {
            true => ("", first, rest),
            false => {
                let (kind, rest) = word(rest);
                (first, kind, rest)
            }
        };
        let (key, comment) = word(rest);
        (is_kind(kind) && is_base64(key)).then(|| Key {
            options: options.to_owned(),
            kind: kind.to_owned(),
            key: key.to_owned(),
            comment: comment.trim().to_owned(),
        })
    }

    fn line(&self) -> String {
        [&self.options, &self.kind, &self.key, &self.comment]
            .into_iter()
            .filter(|part| !part.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn is(&self, other: &Key) -> bool {
        self.kind == other.kind && self.key == other.key
    }
}

/// The text with every key once, as it is given here; with `exclusive` without any other.
pub fn authorize(text: &str, keys: &[Key], exclusive: bool) -> String {
    let mut left: Vec<&Key> = keys.iter().collect();
    let mut out = String::new();
    for line in text.lines() {
        let kept = match Key::parse(line) {
            None => Some(line.to_owned()),
            Some(now) => match keys.iter().find(|key| key.is(&now)) {
                Some(wanted) => {
                    let first = left.iter().position(|key| key.is(wanted));
                    first.map(|at| {
                        left.remove(at);
                        if *wanted == now {
                            line.to_owned()
                        } else {
                            wanted.line()
                        }
                    })
                }
                None if exclusive => None,
                None => Some(line.to_owned()),
            },
        };
        push(&mut out, kept);
    }
    for key in left {
        push(&mut out, Some(key.line()));
    }
    keep_end(text, out)
}

/// The text without these keys, whatever options and comments they have.
pub fn forbid(text: &str, keys: &[Key]) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let gone = Key::parse(line).is_some_and(|now| keys.iter().any(|key| key.is(&now)));
        push(&mut out, (!gone).then(|| line.to_owned()));
    }
    keep_end(text, out)
}

/// A host's key in `known_hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    pub kind: String,
    pub key: String,
    /// All behind the names, as written.
    rest: String,
}

impl HostKey {
    /// Reads `names type key [comment]`, or `type key`, for the host.
    pub fn parse(line: &str) -> Option<HostKey> {
        let line = line.trim();
        let (first, rest) = word(line);
        let body = if is_kind(first) { line } else { rest.trim() };
        let (kind, rest) = word(body);
        let (key, _) = word(rest);
        (is_kind(kind) && is_base64(key)).then(|| HostKey {
            kind: kind.to_owned(),
            key: key.to_owned(),
            rest: body.trim().to_owned(),
        })
    }
}

/// The text in which `host` has this key and no other of its kind. `salt` hides the host's name.
pub fn know(text: &str, host: &str, wanted: &HostKey, salt: Option<&[u8]>) -> String {
    let mut there = false;
    let mut out = String::new();
    for line in text.lines() {
        let kept = match of_host(line, host) {
            Some(now) if now.kind == wanted.kind => {
                let right = now.key == wanted.key && (salt.is_none() || line.starts_with("|1|"));
                let keep = right && !there;
                there |= right;
                keep.then(|| line.to_owned())
            }
            _ => Some(line.to_owned()),
        };
        push(&mut out, kept);
    }
    if !there {
        let name = salt.map_or_else(|| host.to_owned(), |salt| hashed(host, salt));
        push(&mut out, Some(format!("{name} {}", wanted.rest)));
    }
    keep_end(text, out)
}

/// The text without the host's keys, or without those of one kind.
pub fn forget(text: &str, host: &str, kind: Option<&str>) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let gone = of_host(line, host).is_some_and(|now| kind.is_none_or(|kind| kind == now.kind));
        push(&mut out, (!gone).then(|| line.to_owned()));
    }
    keep_end(text, out)
}

/// The key of a line that names the host. Lines of authorities and of revoked keys (`@`) are not touched.
fn of_host(line: &str, host: &str) -> Option<HostKey> {
    let (names, _) = word(line.trim());
    if names.starts_with(['#', '@']) || is_kind(names) {
        return None;
    }
    let is_it = names.split(',').any(|name| match name.strip_prefix("|1|") {
        Some(hidden) => hidden
            .split_once('|')
            .and_then(|(salt, _)| BASE64_STANDARD.decode(salt).ok())
            .is_some_and(|salt| hashed(host, &salt) == name),
        None => name == host,
    });
    is_it.then(|| HostKey::parse(line)).flatten()
}

fn hashed(host: &str, salt: &[u8]) -> String {
    let mut mac = match Hmac::<Sha1>::new_from_slice(salt) {
        Ok(mac) => mac,
        // A key of any length will do; this cannot be reached.
        Err(_) => return String::new(),
    };
    mac.update(host.as_bytes());
    let hash = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    format!("|1|{}|{hash}", BASE64_STANDARD.encode(salt))
}

/// The first word and what follows; blanks between double quotes do not end it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return (&text[..at], &text[at..]),
            _ => {}
        }
    }
    (text, "")
}

fn is_kind(word: &str) -> bool {
    const BEGINNINGS: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"];
    BEGINNINGS.iter().any(|start| word.starts_with(start))
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-@._".contains(c))
}

fn is_base64(word: &str) -> bool {
    word.len() >= 16 && BASE64_STANDARD.decode(word).is_ok()
}

fn push(out: &mut String, line: Option<String>) {
    if let Some(line) = line {
        out.push_str(&line);
        out.push('\n');
    }
}

/// A missing newline at the end alone is no change.
fn keep_end(text: &str, out: String) -> String {
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

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA me@home";
    const B: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB you";

    fn key(line: &str) -> Key {
        Key::parse(line).unwrap()
    }

    #[test]
    fn keys_are_read_with_their_options() {
        let found =
            key(r#"command="echo \"a b\"",no-pty ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB a comment"#);
        assert_eq!(
            (found.options.as_str(), found.comment.as_str()),
            (r#"command="echo \"a b\"",no-pty"#, "a comment")
        );
        for none in ["", "# x", "ssh-rsa", "ssh-rsa !!!", "hello world", "x y z"] {
            assert_eq!(Key::parse(none), None, "{none}");
        }
    }

    #[test]
    fn keys_are_authorized_and_forbidden() {
        let text = format!("# mine\n{A}\nno key at all\n");
        let other = Key {
            options: "no-pty".into(),
            ..key(A)
        };
        let cases = [
            ("there already", authorize(&text, &[key(A)], false)),
            ("one more", authorize(&text, &[key(B)], false)),
            ("other options", authorize(&text, &[other], false)),
            ("exclusive", authorize(&text, &[key(B)], true)),
            ("forbidden", forbid(&text, &[key(A)])),
        ];
        insta::assert_snapshot!(
            cases
                .map(|(name, text)| format!("== {name}\n{text}"))
                .concat()
        );
        assert_eq!(authorize(A, &[key(A)], false), A);
    }

    #[test]
    fn hosts_are_known_under_a_hidden_name_too() {
        let text = "# hosts\n@revoked a.b ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB\na.b,10.0.0.1 ssh-rsa AAAAB3NzaC1yc2EAAAADAQAC\n";
        let wanted = HostKey::parse("a.b ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB").unwrap();
        let plain = know(text, "a.b", &wanted, None);
        assert!(
            plain.ends_with("AQAB\na.b ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB\n"),
            "{plain}"
        );
        assert_eq!(know(&plain, "a.b", &wanted, None), plain);
        let hidden = know(&plain, "a.b", &wanted, Some(b"0123456789"));
        assert!(!hidden.contains("\na.b "), "{hidden}");
        assert_eq!(know(&hidden, "a.b", &wanted, Some(b"other salt")), hidden);
        assert_eq!(know(&hidden, "a.b", &wanted, None), hidden);
        assert!(!forget(&hidden, "a.b", None).contains("|1|"));
        assert_eq!(forget(&hidden, "a.b", Some("ssh-ed25519")), hidden);
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "(# x\n|ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB a\n|no-pty ssh-rsa AAAAB3NzaC1yc2EAAAADAQAC\n|\n){0,5}", exclusive: bool) {
            let keys = [key("ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB b")];
            let once = authorize(&text, &keys, exclusive);
            prop_assert_eq!(&authorize(&once, &keys, exclusive), &once);
            let gone = forbid(&once, &keys);
            prop_assert_eq!(&forbid(&gone, &keys), &gone);
        }

        #[test]
        fn no_line_panics(line in "\\PC{0,40}") {
            let _ = Key::parse(&line);
            let _ = HostKey::parse(&line);
            forget(&line, "a", None);
        }
    }
}
