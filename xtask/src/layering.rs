//! The rule of DESIGN §2: dependencies point one way. Read from `cargo metadata`, held by a test.

/// One dependency between crates of the workspace, as folders: `("services/image", "crates/bus")`.
#[cfg(test)]
type Edge = (String, String);

/// Why the edge is not allowed, if it is not.
#[cfg(test)]
fn fault((from, to): &Edge) -> Option<String> {
    let room = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    if from == "installer/wright" {
        return None;
    }
    let allowed = match room(from).as_str() {
        "crates" => room(to) == "crates",
        "installer" => ["crates", "installer"].contains(&room(to).as_str()),
        "services" => room(to) == "crates",
        "xtask" => false,
        _ => true,
    };
    (!allowed).then(|| format!("{from} must not depend on {to}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn edges() -> Vec<Edge> {
        let out = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--no-deps",
                "--offline",
            ])
            .current_dir(crate::cargo::root())
            .output()
            .expect("cargo runs");
        let metadata: serde_json::Value =
            serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON");
        let root = metadata["workspace_root"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let folder = |path: &str| {
            path.trim_start_matches(&root)
                .trim_start_matches('/')
                .to_owned()
        };
        let mut edges = Vec::new();
        for package in metadata["packages"].as_array().expect("packages") {
            let from = folder(package["manifest_path"].as_str().unwrap_or_default())
                .replace("/Cargo.toml", "");
            for dependency in package["dependencies"].as_array().expect("dependencies") {
                if let Some(path) = dependency["path"].as_str() {
                    edges.push((from.clone(), folder(path)));
                }
            }
        }
        edges
    }

    #[test]
    fn dependencies_point_one_way() {
        let edges = edges();
        assert!(
            edges.len() > 20,
            "cargo metadata names the workspace's crates"
        );
        let faults: Vec<String> = edges.iter().filter_map(fault).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn the_rule_itself_refuses_what_it_must() {
        let edge = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert!(fault(&edge("services/image", "services/identity")).is_some());
        assert!(fault(&edge("services/image", "installer/boot")).is_some());
        assert!(fault(&edge("crates/bus", "services/image")).is_some());
        assert!(fault(&edge("installer/boot", "crates/graph")).is_none());
        assert!(fault(&edge("installer/wright", "services/image")).is_none());
    }
}
