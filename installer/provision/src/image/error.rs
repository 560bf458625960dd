//! What can go wrong while an image is built, each with what was done to which file.
use std::path::{Path, PathBuf};

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("programs for building images are missing: {}", list(.0))]
    MissingTools(Vec<MissingTool>),
    #[error(
        "building node images needs root: Debian is installed into a folder with its own owners and devices"
    )]
    NotRoot,
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{command}` ended with {status}; its last lines (all in {log}):\n{tail}")]
    Command {
        command: String,
        status: std::process::ExitStatus,
        log: PathBuf,
        tail: String,
    },
    #[error("no package source of Debian itself for suite `{suite}` in {looked_at}; {hint}")]
    NoSource {
        suite: String,
        looked_at: String,
        hint: &'static str,
    },
    #[error("kernel in {tree}: {reason}")]
    Kernel { tree: PathBuf, reason: String },
    #[error("the image needs {needed} bytes and may have {allowed}")]
    TooBig { needed: u64, allowed: u64 },
    #[error("recipe of image `{name}`: {reason}")]
    Recipe { name: String, reason: String },
    #[error("the built image is not usable: {0}")]
    Manifest(#[from] crate::manifest::ManifestError),
}

/// A program or file that is not there, and the Debian package that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingTool {
    pub tool: String,
    pub package: &'static str,
}

fn list(missing: &[MissingTool]) -> String {
    let mut packages: Vec<&str> = missing.iter().map(|m| m.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let tools: Vec<String> = missing
        .iter()
        .map(|m| format!("{} (package {})", m.tool, m.package))
        .collect();
    format!(
        "{}; install them with `apt-get install {}`",
        tools.join(", "),
        packages.join(" ")
    )
}

/// Names the file and what was done to it when an I/O call fails.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, ImageError>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, ImageError> {
        self.map_err(|source| ImageError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
