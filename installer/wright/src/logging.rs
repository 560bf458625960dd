//! The log of the command itself: `logs/wright.log` in the environment's state folder. What the
//! user should read goes through the printer instead.

use crate::printer::Printer;
use crate::settings::Settings;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

/// Starts logging; a log that cannot be written is a warning, not a reason to stop. `WRIGHT_LOG`
/// chooses what is logged (`info` by default), in the syntax of `tracing`'s `EnvFilter`.
pub fn start(settings: &Settings, printer: &Printer) {
    let folder = settings.state_dir.join("logs");
    let file = match open(&folder) {
        Ok(file) => file,
        Err(cause) => {
            printer.warn(&format!(
                "no log: cannot write in {}: {cause}",
                folder.display()
            ));
            return;
        }
    };
    let filter = EnvFilter::try_from_env("WRIGHT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .try_init();
    if let Err(cause) = started {
        printer.warn(&format!("no log: {cause}"));
    }
}

fn open(folder: &std::path::Path) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(folder.join("wright.log"))
}
