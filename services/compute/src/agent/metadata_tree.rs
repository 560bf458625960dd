//! What the metadata service answers to a path. Pure: a guest and a path in, a body out. The OpenStack documents are
//! those of the config drive; the EC2 view is one document walked by path, as Amazon's readers expect it.

use serde_json::Value;

use crate::hypervisor::GuestSpec;
use crate::hypervisor::config_drive::{VERSIONS, ec2_document, meta_data, network_data, user_data};

/// The EC2 versions that readers ask for; all are the same.
const EC2_VERSIONS: [&str; 3] = ["1.0", "2009-04-04", "latest"];

/// The body for a path, with its content type; `None`: not found.
pub fn answer(spec: &GuestSpec, path: &str) -> Option<(Vec<u8>, &'static str)> {
    const TEXT: &str = "text/plain; charset=UTF-8";
    const JSON: &str = "application/json";
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let text = |text: String| Some((text.into_bytes(), TEXT));
    let json = |value: Value| Some((value.to_string().into_bytes(), JSON));
    match parts.as_slice() {
        [] => text(EC2_VERSIONS.join("\n")),
        ["openstack"] => text(VERSIONS.join("\n")),
        ["openstack", version, rest @ ..] if VERSIONS.contains(version) => match rest {
            [] => text(
                "meta_data.json\nnetwork_data.json\nuser_data\nvendor_data.json\nvendor_data2.json"
                    .to_owned(),
            ),
            ["meta_data.json"] => json(meta_data(spec, None)),
            ["network_data.json"] => json(network_data(&spec.interfaces)),
            ["vendor_data.json" | "vendor_data2.json"] => json(serde_json::json!({})),
            ["user_data"] => user_data(spec).map(|data| (data, "application/octet-stream")),
            _ => None,
        },
        [version, rest @ ..] if EC2_VERSIONS.contains(version) => match rest {
            [] => text("meta-data/\nuser-data".to_owned()),
            ["user-data"] => user_data(spec).map(|data| (data, "application/octet-stream")),
            ["meta-data", path @ ..] => walk(&ec2_document(spec), path).and_then(text),
            _ => None,
        },
        _ => None,
    }
}

/// A folder lists its members, those that are folders with a slash; a leaf is its text.
fn walk(document: &Value, path: &[&str]) -> Option<String> {
    let mut at = document;
    for part in path {
        at = at.get(part)?;
    }
    Some(match at {
        Value::Object(members) => {
            let line = |(name, member): (&String, &Value)| match member {
                // A key is listed as `0=name`.
                Value::Object(inner) => inner
                    .get("_name")
                    .and_then(Value::as_str)
                    .map_or_else(|| format!("{name}/"), str::to_owned),
                _ => name.clone(),
            };
            members
                .iter()
                .filter(|(name, _)| *name != "_name")
                .map(line)
                .collect::<Vec<_>>()
                .join("\n")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::config_drive::tests::sample;
    use proptest::prelude::*;

    #[test]
    fn every_path() {
        let mut text = String::new();
        let paths = [
            "/",
            "/openstack",
            "/openstack/latest",
            "/openstack/latest/meta_data.json",
            "/openstack/latest/user_data",
            "/openstack/1999-01-01",
            "/latest/",
            "/latest/meta-data",
            "/latest/meta-data/instance-id",
            "/latest/meta-data/local-ipv4",
            "/latest/meta-data/public-keys/",
            "/latest/meta-data/public-keys/0/openssh-key",
            "/2009-04-04/meta-data/placement/availability-zone",
            "/latest/user-data",
            "/latest/nope",
            "/../etc/passwd",
        ];
        for path in paths {
            let body = answer(&sample(), path).map_or("404".to_owned(), |(body, _)| {
                String::from_utf8_lossy(&body).into_owned()
            });
            text.push_str(&format!("== {path}\n{body}\n"));
        }
        insta::assert_snapshot!(text);
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in any::<String>()) {
            let _ = answer(&sample(), &path);
        }
    }
}
