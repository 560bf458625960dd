//! Running `wright` with a state of its own, and its answer as text for snapshots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder with inventories and state; removed at the end.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file below the place.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("written");
    }

    /// Status, stdout and stderr of `wright ARGS`, run in the place.
    pub fn wright(&self, args: &[&str]) -> String {
        self.wright_with(args, &[])
    }

    pub fn wright_with(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_wright"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("WRIGHT_STATE_DIR", self.path().join("state"))
            .envs(env.iter().copied())
            .output()
            .expect("wright runs");
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(&self.path().display().to_string(), "PLACE")
        };
        format!(
            "$ wright {}\n── status {}\n── stdout\n{}── stderr\n{}",
            args.join(" "),
            output.status.code().expect("not killed"),
            text(&output.stdout),
            text(&output.stderr)
        )
    }
}

/// An inventory that we ship.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../inventories")
        .join(name)
}
