//! What a version of a repository means, from what `git ls-remote` lists.

/// What the remote has under a version's name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Branch { name: String, commit: String },
    Tag { name: String, commit: String },
    Commit(String),
}

impl Found {
    pub fn commit(&self) -> &str {
        match self {
            Found::Branch { commit, .. } | Found::Tag { commit, .. } | Found::Commit(commit) => {
                commit
            }
        }
    }
}

/// Finds the version in what `git ls-remote --symref` says.
pub fn resolve(listed: &str, version: &str) -> Option<Found> {
    let named = |name: &str| {
        listed
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(commit, found)| *found == name && !commit.starts_with("ref:"))
            .map(|(commit, _)| commit.to_owned())
    };
    let branch = |name: &str| {
        named(&format!("refs/heads/{name}")).map(|commit| Found::Branch {
            name: name.to_owned(),
            commit,
        })
    };
    if version == "HEAD" {
        let default = listed.lines().find_map(|line| {
            line.strip_prefix("ref: refs/heads/")?
                .strip_suffix("\tHEAD")
        });
        return default
            .and_then(branch)
            .or_else(|| named("HEAD").map(Found::Commit));
    }
    let short = version.strip_prefix("refs/heads/").unwrap_or(version);
    let tag = version.strip_prefix("refs/tags/").unwrap_or(version);
    branch(short)
        // The commit that a signed tag points to stands in a line of its own.
        .or_else(|| {
            named(&format!("refs/tags/{tag}^{{}}"))
                .or_else(|| named(&format!("refs/tags/{tag}")))
                .map(|commit| Found::Tag {
                    name: tag.to_owned(),
                    commit,
                })
        })
        .or_else(|| named(version).map(Found::Commit))
        .or_else(|| {
            let is_commit = (7..=64).contains(&version.len())
                && version.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_commit.then(|| Found::Commit(version.to_ascii_lowercase()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        let listed = "ref: refs/heads/main\tHEAD\naaa\tHEAD\naaa\trefs/heads/main\nbbb\trefs/heads/next\nccc\trefs/tags/v1\nddd\trefs/tags/v1^{}\neee\trefs/changes/1\n";
        let branch = |name: &str, commit: &str| {
            Some(Found::Branch {
                name: name.into(),
                commit: commit.into(),
            })
        };
        assert_eq!(resolve(listed, "HEAD"), branch("main", "aaa"));
        assert_eq!(resolve(listed, "next"), branch("next", "bbb"));
        assert_eq!(resolve(listed, "refs/heads/next"), branch("next", "bbb"));
        assert_eq!(
            resolve(listed, "v1"),
            Some(Found::Tag {
                name: "v1".into(),
                commit: "ddd".into()
            })
        );
        assert_eq!(
            resolve(listed, "refs/changes/1"),
            Some(Found::Commit("eee".into()))
        );
        assert_eq!(
            resolve(listed, "0123ABC"),
            Some(Found::Commit("0123abc".into()))
        );
        assert_eq!(resolve(listed, "none"), None);
        assert_eq!(
            resolve("aaa\tHEAD\n", "HEAD"),
            Some(Found::Commit("aaa".into()))
        );
    }
}
