//! How a command fails, and the exit status that follows.

use diagnostics::{Diagnostics, ExitStatus};

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Faults of what somebody wrote, all at once.
    #[error("{0}")]
    Input(#[from] Diagnostics),
    /// Something outside is wrong, and the user can change it.
    #[error("{message}")]
    Failed {
        message: String,
        hint: Option<String>,
    },
    /// Our own fault.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl CommandError {
    /// A failure that the user can do something about; say what with [`CommandError::hint`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
        }
    }

    /// Says what to do about a [`CommandError::failed`]; the other kinds have their own hints.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Failed { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Input(_) | Self::Failed { .. } => ExitStatus::Input,
            Self::Internal(_) => ExitStatus::Internal,
        }
    }
}
