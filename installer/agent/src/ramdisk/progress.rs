//! Tells the boot server and the console, once a second, how far the image has come.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_protocol::enrol::Progress;

use super::console::say;
use super::server::Server;

const EVERY: Duration = Duration::from_secs(1);
/// The serial line is slow: a console line for every tenth report.
const CONSOLE_EVERY: u32 = 10;

/// Reports until dropped.
pub struct Reporter {
    pub received: Arc<AtomicU64>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts reporting `stage`, whose end is at `total` bytes.
    pub fn start(server: &Server, stage: &'static str, total: u64) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let counter = received.clone();
        let server = server.clone();
        let thread = std::thread::spawn(move || {
            let mut reports = 0;
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let done = counter.load(Ordering::Relaxed);
                // A lost report is made up for by the next one.
                let _ = server.progress(&Progress {
                    stage: stage.to_owned(),
                    done,
                    total,
                });
                reports += 1;
                if reports % CONSOLE_EVERY == 0 {
                    say(stage, format_args!("{done} of {total} bytes"));
                }
            }
        });
        Reporter {
            received,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
