//! `logs/runs/<run>.log`: what a run told, for people, one line each with its time. `state.db` has the rest.
use chrono::{SecondsFormat, Utc};
use state::EnvironmentFolder;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

pub struct RunLog {
    file: Option<File>,
}

impl RunLog {
    /// Opens the run's log, to write on where it ends. One that cannot be written is no reason not to deploy: the
    /// error comes back beside a log that takes everything and keeps nothing.
    pub fn open(folder: &EnvironmentFolder, run: &str) -> (Self, Option<io::Error>) {
        let path = path(folder, run);
        let open = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path.parent().unwrap_or(&path))?;
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)
        };
        match open() {
            Ok(file) => (RunLog { file: Some(file) }, None),
            Err(error) => (RunLog { file: None }, Some(error)),
        }
    }

    pub fn line(&mut self, text: &str) {
        if let Some(file) = &mut self.file {
            let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            // The disk may be full; the run goes on.
            let _ = writeln!(file, "{now} {}", text.replace('\n', "\n    "));
        }
    }
}

/// Removes the logs of runs that have been forgotten.
pub fn forget(folder: &EnvironmentFolder, runs: &[String]) {
    for run in runs {
        let _ = std::fs::remove_file(path(folder, run));
    }
}

fn path(folder: &EnvironmentFolder, run: &str) -> PathBuf {
    folder.logs().join("runs").join(format!("{run}.log"))
}
