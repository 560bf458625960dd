//! The deployment host itself as a node (`ansible_connection: local`, `delegate_to: localhost`): the agent runs beside
//! this process, in a folder of the run's state.
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::held::Held;
use super::{ConnectError, Stream};

/// Starts the agent of this machine.
#[derive(Debug, Clone)]
pub struct Local {
    agent: PathBuf,
    folder: PathBuf,
}

impl Local {
    /// `agent` is the program; below `folder` lie its socket and its journal.
    pub fn new(agent: &Path, folder: &Path) -> Self {
        Local {
            agent: agent.to_path_buf(),
            folder: folder.to_path_buf(),
        }
    }

    /// `sudo` goes before the agent's own words where tasks are to run as root; `password` is what it is told first.
    pub(super) async fn open(
        &self,
        sudo: &[&str],
        password: Option<&str>,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        let failed = |error: std::io::Error| {
            ConnectError::Refused(format!(
                "the agent of this machine cannot be started: {error}"
            ))
        };
        let folder = self.folder.join(match sudo.is_empty() {
            true => "agent",
            false => "agent-root",
        });
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut words: Vec<std::ffi::OsString> = sudo.iter().map(Into::into).collect();
        words.extend([
            self.agent.clone().into_os_string(),
            "attach".into(),
            "--root".into(),
            folder.into_os_string(),
        ]);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ConnectError::Refused("the agent has no pipes".to_owned()));
        };
        if let Some(password) = password {
            let line = format!("{password}\n");
            input.write_all(line.as_bytes()).await.map_err(failed)?;
        }
        Ok(Box::new(Held {
            stream: tokio::io::join(output, input),
            _kept: child,
        }))
    }
}
