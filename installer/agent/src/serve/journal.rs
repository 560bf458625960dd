//! The durable record of which tasks were started and how they ended.
//!
//! One JSON object a line. What is synced, and why: the start of a task that must not be repeated, and
//! every end that says "changed" or belongs to such a task. Other records may be lost with the machine's
//! power: the task is then run again, and finds nothing to do. A record survives the agent's own death
//! in any case.
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use agent_protocol::task::{TaskId, TaskResult};
use serde::{Deserialize, Serialize};

/// A longer journal is compacted to its newest half.
const BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
#[error("the journal {path} could not be {verb}")]
pub struct JournalError {
    path: PathBuf,
    verb: &'static str,
    #[source]
    source: io::Error,
}

/// What is known of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Started,
    Done(TaskResult),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Started { id: TaskId },
    Done { id: TaskId, result: Box<TaskResult> },
}

pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Journal {
    /// Opens or makes the journal and reads what it holds. A last line that was cut off by a crash is
    /// dropped: its record was never acted upon.
    pub fn open(path: &Path) -> Result<(Self, HashMap<TaskId, Entry>), JournalError> {
        let fault = |verb| {
            move |source| JournalError {
                path: path.to_owned(),
                verb,
                source,
            }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fault("made"))?;
        }
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(fault("read")(source)),
        };
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |index| index + 1);
        let mut entries = HashMap::new();
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Record::Started { id }) => drop(entries.insert(id, Entry::Started)),
                Ok(Record::Done { id, result }) => drop(entries.insert(id, Entry::Done(*result))),
                // Not ours, or damaged: the task counts as never seen.
                Err(_) => {}
            }
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(fault("opened"))?;
        file.set_len(whole as u64).map_err(fault("cut"))?;
        Ok((
            Journal {
                path: path.to_owned(),
                file,
                bytes: whole as u64,
            },
            entries,
        ))
    }

    pub fn started(&mut self, id: &TaskId, durable: bool) -> Result<(), JournalError> {
        self.append(&Record::Started { id: id.clone() }, durable)
    }

    pub fn done(
        &mut self,
        id: &TaskId,
        result: &TaskResult,
        durable: bool,
    ) -> Result<(), JournalError> {
        self.append(
            &Record::Done {
                id: id.clone(),
                result: Box::new(result.clone()),
            },
            durable,
        )?;
        if self.bytes > BYTES_MAX {
            self.compact()
        } else {
            Ok(())
        }
    }

    fn append(&mut self, record: &Record, durable: bool) -> Result<(), JournalError> {
        let write = |file: &mut File| -> io::Result<u64> {
            let mut line = serde_json::to_vec(record)?;
            line.push(b'\n');
            // One call: a crash of this process cannot part the line.
            file.write_all(&line)?;
            if durable {
                file.sync_data()?;
            }
            Ok(line.len() as u64)
        };
        self.bytes += write(&mut self.file).map_err(|source| self.fault("written", source))?;
        Ok(())
    }

    /// Keeps the newest half of the bytes, replacing the file in one step.
    fn compact(&mut self) -> Result<(), JournalError> {
        let work = || -> io::Result<(File, u64)> {
            let bytes = fs::read(&self.path)?;
            let middle = bytes.len() / 2;
            let from = bytes[middle..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |index| middle + index + 1);
            let temporary = self.path.with_extension("new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&bytes[from..])?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            Ok((
                OpenOptions::new().append(true).open(&self.path)?,
                (bytes.len() - from) as u64,
            ))
        };
        (self.file, self.bytes) = work().map_err(|source| self.fault("compacted", source))?;
        Ok(())
    }

    fn fault(&self, verb: &'static str, source: io::Error) -> JournalError {
        JournalError {
            path: self.path.clone(),
            verb,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(msg: &str) -> TaskResult {
        TaskResult {
            changed: true,
            msg: msg.into(),
            ..TaskResult::default()
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/journal");
        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert!(entries.is_empty());
        journal.started(&"r/n/1/0".into(), true).unwrap();
        journal.done(&"r/n/1/0".into(), &result("a"), true).unwrap();
        journal.started(&"r/n/2/0".into(), false).unwrap();
        drop(journal);
        let (_, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries["r/n/1/0"], Entry::Done(result("a")));
        assert_eq!(entries["r/n/2/0"], Entry::Started);
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_next_record_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        fs::write(
            &path,
            "{\"started\":{\"id\":\"a\"}}\nrubbish\n{\"started\":{\"id\":\"b",
        )
        .unwrap();
        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries.len(), 1);
        journal.started(&"c".into(), true).unwrap();
        let (_, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_long_journal_keeps_its_newest_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        let big = result(&"x".repeat(1 << 20));
        for number in 0..20 {
            journal.done(&format!("{number}"), &big, false).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() <= BYTES_MAX);
        let (_, entries) = Journal::open(&path).unwrap();
        assert!(entries.contains_key("19") && !entries.contains_key("0"));
    }
}
