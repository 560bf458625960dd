//! Which requests a program may make: access rules of the application credential that its token was made by. Pure; knows no
//! service but by name.

use openstack_types::Token;
use serde_json::Value;

/// Whether the token's access rules, if it has any, let a request to a service through.
pub fn allow(token: &Token, service: &str, method: &str, path: &str) -> bool {
    let credential = token.application_credential.as_ref();
    let Some(rules) = credential.and_then(|credential| credential.get("access_rules")) else {
        return true;
    };
    // What is no list of rules allows nothing.
    rules.as_array().into_iter().flatten().any(|rule| {
        let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        text("service") == service
            && text("method").eq_ignore_ascii_case(method)
            && matches(text("path"), path)
    })
}

/// A part of a rule's path.
#[derive(Clone, Copy)]
enum Part {
    Byte(u8),
    /// `*`: any text within a segment, `{name}`: the same, but not nothing.
    Segment {
        may_be_empty: bool,
    },
    /// `**`: any text.
    Any,
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut rest = pattern.as_bytes();
    let mut parts = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        parts.push(match first {
            b'*' if after.first() == Some(&b'*') => {
                rest = &after[1..];
                Part::Any
            }
            b'*' => Part::Segment { may_be_empty: true },
            b'{' => match after.iter().position(|byte| *byte == b'}') {
                Some(end) => {
                    rest = &after[end + 1..];
                    Part::Segment {
                        may_be_empty: false,
                    }
                }
                None => Part::Byte(b'{'),
            },
            byte => Part::Byte(*byte),
        });
    }
    parts
}

fn matches(pattern: &str, path: &str) -> bool {
    let path = path.as_bytes();
    // Where in the path the parts so far can have ended: no pattern takes long.
    let mut ends = vec![false; path.len() + 1];
    ends[0] = true;
    for part in parts(pattern) {
        let mut next = vec![false; path.len() + 1];
        let mut open = false;
        for at in 0..=path.len() {
            let before = at.checked_sub(1).map(|last| path[last]);
            match part {
                Part::Byte(byte) => next[at] = at > 0 && ends[at - 1] && before == Some(byte),
                Part::Any => {
                    open |= ends[at];
                    next[at] = open;
                }
                Part::Segment { may_be_empty } => {
                    open &= before != Some(b'/');
                    next[at] = open || (may_be_empty && ends[at]);
                    open |= ends[at];
                }
            }
        }
        ends = next;
    }
    ends[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_match_by_segments() {
        for (pattern, path, expected) in [
            ("/v2.1/servers", "/v2.1/servers", true),
            ("/v2.1/servers", "/v2.1/servers/1", false),
            ("/v2.1/servers", "/v2x1/servers", false),
            ("/v2.1/servers/*", "/v2.1/servers/1", true),
            ("/v2.1/servers/*", "/v2.1/servers/1/action", false),
            ("/v2.1/servers/*/action", "/v2.1/servers/1/action", true),
            ("/v2.1/servers/{id}", "/v2.1/servers/1", true),
            ("/v2.1/servers/{id}", "/v2.1/servers/", false),
            ("/v2.1/servers/*", "/v2.1/servers/", true),
            ("/v2.1/**", "/v2.1/servers/1/action", true),
            ("/v2.1/**/action", "/v2.1/servers/1/action", true),
            ("/v2.1/**/action", "/v2.1/servers/1", false),
            ("**", "", true),
            ("", "/", false),
            ("/{open", "/{open", true),
            ("/a*c", "/abc", true),
            ("/a*c", "/ab/c", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn rules_let_through_what_they_name() {
        let mut token = Token::default();
        assert!(allow(&token, "compute", "GET", "/v2.1/servers"));
        token.application_credential = Some(json!({"id": "1"}));
        assert!(allow(&token, "compute", "GET", "/v2.1/servers"));
        let rule = json!({"service": "compute", "method": "GET", "path": "/v2.1/servers"});
        token.application_credential = Some(json!({"access_rules": [rule]}));
        assert!(allow(&token, "compute", "GET", "/v2.1/servers"));
        assert!(!allow(&token, "compute", "POST", "/v2.1/servers"));
        assert!(!allow(&token, "network", "GET", "/v2.1/servers"));
        for none in [json!([]), json!(null), json!("all"), json!([{}])] {
            token.application_credential = Some(json!({"access_rules": none}));
            assert!(!allow(&token, "compute", "GET", "/v2.1/servers"));
        }
    }
}
