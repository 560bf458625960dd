//! The four ways in which a command ends.

/// Exit status of a command; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitStatus {
    /// It was done, or nothing was to be done.
    Done = 0,
    /// Something outside is at fault: input, rights, a machine. The message says what to change.
    Input = 1,
    /// We are at fault.
    Internal = 2,
    /// A comparison was asked for, and there are differences.
    Differences = 3,
}

impl ExitStatus {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        status.code().into()
    }
}
