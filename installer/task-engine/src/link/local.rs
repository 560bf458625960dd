//! The deployment host itself as a node (`ansible_connection: local`, `delegate_to: localhost`): the agent runs beside
//! this process, in a folder of the run's state.
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

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
        Ok(Box::new(Attached {
            input,
            output,
            _child: child,
        }))
    }
}

struct Attached {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl AsyncRead for Attached {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

impl AsyncWrite for Attached {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}
