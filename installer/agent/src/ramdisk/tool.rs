//! Calls of the programs that the ramdisk carries: `sfdisk`, `resize2fs`, `e2fsck`, `kexec`.
use std::io::Write;
use std::process::{Command, Stdio};

use super::InstallError;

/// Runs a program to its end and gives its standard output; `input` is written to its standard input.
/// Exit statuses above `accepted` are failures that carry what the program said.
pub fn run(
    stage: &'static str,
    command: &mut Command,
    input: &str,
    accepted: i32,
) -> Result<String, InstallError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let io = |source| InstallError::io(stage, format!("run {name}"), source);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes the pipe; its exit status tells more.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(io)?;
    if output.status.code().is_some_and(|code| code <= accepted) {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [&output.stderr, &output.stdout]
        .map(|text| String::from_utf8_lossy(text).trim().to_owned())
        .join(" ");
    Err(InstallError::Tool {
        stage,
        name,
        status: output.status.to_string(),
        said: said.trim().to_owned(),
    })
}
