//! One daemon that goes into the background by itself and writes a pid file: started, found again, told from others.
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{
    error::{At, LabError},
    network,
    process::Record,
};

/// A log that has grown beyond this is set aside when its daemon starts.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How a daemon is run.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub name: &'static str,
    pub env: String,
    pub program: &'static str,
    pub arguments: Vec<OsString>,
    pub variables: Vec<(&'static str, PathBuf)>,
    pub pid_file: PathBuf,
    pub log: PathBuf,
    /// Folder of the record.
    pub run: PathBuf,
}

pub(crate) fn record_file(run: &Path, name: &str) -> PathBuf {
    run.join(format!("{name}.json"))
}

impl Daemon {
    pub fn record(&self) -> Option<Record> {
        Record::running(&record_file(&self.run, self.name))
    }

    pub fn is_running(&self) -> bool {
        self.record().is_some()
    }

    /// Starts it and returns when it says that it is ready.
    ///
    /// # Errors
    /// [`LabError::Start`] with what it said.
    pub fn start(&self) -> Result<(), LabError> {
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            let old = self.log.with_extension("log.1");
            fs::rename(&self.log, &old).at("rename", &self.log)?;
        }
        // A file and no pipe: what goes into the background may hold it open.
        let said = self.run.join(format!("{}.said", self.name));
        let output = fs::File::create(&said).at("write", &said)?;
        let mut command = network::inside(&self.env, self.program);
        command.args(&self.arguments);
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        let status = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().at("open", &said)?)
            .stderr(output)
            .status()
            .at("run", Path::new(self.program))?;
        let failed = |what: &str| LabError::Daemon {
            name: self.name,
            said: format!(
                "{what}: {}; its log is {}",
                last_line(&fs::read_to_string(&said).unwrap_or_default()),
                self.log.display()
            ),
        };
        if !status.success() {
            return Err(failed(&format!("it ended with {status}")));
        }
        let record = self.pid().and_then(Record::of);
        let record = record.ok_or_else(|| failed("it ended at once"))?;
        record.save(&record_file(&self.run, self.name))
    }

    fn pid(&self) -> Option<i32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end()
        .lines()
        .next_back()
        .unwrap_or("it said nothing")
}
