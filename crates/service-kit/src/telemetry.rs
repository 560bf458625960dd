//! Logs and metrics of a service process.
//!
//! Lines go to standard error (the journal) and, when configured, to a file with upstream's
//! name, so that operators find `/var/log/nova/nova-api.log`. Knows no service.

use crate::config::LogConfig;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::{Arc, OnceLock},
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts logging, once per process; later calls change nothing.
pub fn init(config: &LogConfig) -> io::Result<()> {
    let filter = config
        .level
        .as_deref()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .or_else(|| EnvFilter::try_from_default_env().ok())
        // The SQL layer tells each statement at info.
        .unwrap_or_else(|| {
            EnvFilter::new("info,sqlx=warn,sea_orm=warn,sea_orm_migration=warn,lapin=warn")
        });
    let file = match &config.file {
        None => None,
        Some(path) => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            Some(Arc::new(
                OpenOptions::new().create(true).append(true).open(path)?,
            ))
        }
    };
    // A second call in one process (tests, `wright up`) finds a subscriber set already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Output {
            file,
            quiet: config.quiet,
        })
        .try_init();
    Ok(())
}

#[derive(Clone)]
struct Output {
    file: Option<Arc<File>>,
    quiet: bool,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Output;

    fn make_writer(&'a self) -> Output {
        self.clone()
    }
}

impl Write for Output {
    /// A log that cannot be written must not stop the service.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.quiet {
            let _ = io::stderr().write_all(line);
        }
        if let Some(file) = &self.file {
            // Opened for appending: one write is one line, also with several writers.
            let _ = (&**file).write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The process's metrics in Prometheus' text format; installs the recorder at the first call.
pub fn metrics_text() -> String {
    install_metrics()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Installs the metrics recorder, once per process.
pub fn install_metrics() -> Option<&'static PrometheusHandle> {
    METRICS
        .get_or_init(|| PrometheusBuilder::new().install_recorder().ok())
        .as_ref()
}
