//! One command to a running QEMU over its QMP socket (QEMU's docs/interop/qmp-spec).
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use crate::error::{At, LabError};

const ANSWER_SECONDS: u64 = 10;
/// Events may come before an answer; more than these say that something else is talking.
const LINES_MAX: usize = 100;

/// Sends `command` with `arguments`, an object, to the machine whose socket is `path`.
///
/// # Errors
/// When nobody answers in time, or the answer is an error.
pub(crate) fn execute(
    machine: &str,
    path: &Path,
    command: &'static str,
    arguments: &Value,
) -> Result<(), LabError> {
    let mut stream = UnixStream::connect(path).at("connect to", path)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS)))
        .at("set up", path)?;
    let mut reader = BufReader::new(stream.try_clone().at("set up", path)?);
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .at("read the greeting of", path)?;
    for request in [
        json!({ "execute": "qmp_capabilities" }),
        json!({ "execute": command, "arguments": arguments }),
    ] {
        stream
            .write_all(format!("{request}\n").as_bytes())
            .at("write to", path)?;
        answer(machine, &mut reader, path, command)?;
    }
    Ok(())
}

fn answer(
    machine: &str,
    reader: &mut impl BufRead,
    path: &Path,
    command: &'static str,
) -> Result<(), LabError> {
    for _ in 0..LINES_MAX {
        let mut line = String::new();
        reader.read_line(&mut line).at("read from", path)?;
        let answer: Value = serde_json::from_str(&line)
            .map_err(std::io::Error::from)
            .at("understand", path)?;
        if answer.get("return").is_some() {
            return Ok(());
        }
        if let Some(error) = answer.get("error") {
            return Err(LabError::Qmp {
                machine: machine.into(),
                command,
                said: error.to_string(),
            });
        }
    }
    Err(LabError::Qmp {
        machine: machine.into(),
        command,
        said: "only events".into(),
    })
}
