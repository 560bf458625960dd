//! What can go wrong in the lab, each with what was done to what.
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{command}` failed: {said}")]
    Command { command: String, said: String },
    #[error("machine `{machine}` did not start: {said}")]
    Start { machine: String, said: String },
    #[error("{name} does not run: {said}")]
    Daemon { name: &'static str, said: String },
    #[error("the environment `{0}` is a lab, and it is up")]
    IsLab(String),
    #[error("the environment `{0}` is this machine, and `wright up` runs it")]
    IsHost(String),
    #[error("process {pid} of {what} does not end, even when killed")]
    Unkillable { what: String, pid: i32 },
    #[error("no machine `{name}` in this lab; there are {}", .machines.join(", "))]
    NoMachine { name: String, machines: Vec<String> },
    #[error("machine `{machine}` has no card `{nic}`; it has {}", .nics.join(", "))]
    NoCard {
        machine: String,
        nic: String,
        nics: Vec<String>,
    },
    #[error("machine `{0}` is off")]
    Off(String),
    #[error("`{0}` is a container: what it prints is in {path}, and `wright lab ssh {0}` logs in", path = .1.display())]
    NoConsole(String, PathBuf),
    #[error("the emulator of `{machine}` answered `{command}` with: {said}")]
    Qmp {
        machine: String,
        command: &'static str,
        said: String,
    },
    #[error("`{0}` is no request of a BMC")]
    BmcRequest(String),
}

/// Names the file and what was done to it when an I/O call fails.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, LabError>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, LabError> {
        self.map_err(|source| LabError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
