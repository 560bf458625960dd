//! One live line for each node at the bottom of the terminal: what it is doing now, and for how long. Only where
//! standard error is a terminal and people read it; otherwise nothing is shown, and plain lines tell the same.
//!
//! What is worth keeping is printed by the printer, above these lines.
use crate::printer::{self, Output};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The terminal is one for the whole process: what is printed anywhere moves these lines out of its way.
static SHOWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Often enough for seconds to count.
const TICK: Duration = Duration::from_millis(500);

/// The lines, until this is dropped.
pub struct Live {
    lines: Option<MultiProgress>,
    /// Of each node its line, and what it does while it can be reached.
    nodes: HashMap<String, (ProgressBar, String)>,
    style: ProgressStyle,
}

impl Live {
    pub fn new(output: Output) -> Self {
        let lines = (output == Output::Text && io::stderr().is_terminal()).then(MultiProgress::new);
        *shown() = lines.clone();
        Live {
            lines,
            nodes: HashMap::new(),
            // The template is a constant; the default style shows a spinner and the message.
            style: ProgressStyle::with_template("{prefix}  {wide_msg} {elapsed:>4}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        }
    }

    /// Whether anybody sees these lines.
    pub fn is_shown(&self) -> bool {
        self.lines.is_some()
    }

    /// What the node does from now on.
    pub fn set(&mut self, node: &str, doing: &str) {
        let Some(lines) = &self.lines else {
            return;
        };
        let (bar, now) = self.nodes.entry(node.to_owned()).or_insert_with(|| {
            let bar = lines.add(ProgressBar::no_length().with_prefix(node.to_owned()));
            bar.set_style(self.style.clone());
            bar.enable_steady_tick(TICK);
            (bar, String::new())
        });
        if now != doing {
            doing.clone_into(now);
            bar.set_message(doing.to_owned());
            bar.reset_elapsed();
        }
    }

    /// Why the node cannot be reached just now.
    pub fn hold(&mut self, node: &str, reason: &str) {
        if let Some((bar, _)) = self.nodes.get(node) {
            bar.set_message(reason.to_owned());
        }
    }

    /// It is reached again, and goes on with what it did.
    pub fn resume(&mut self, node: &str) {
        if let Some((bar, doing)) = self.nodes.get(node) {
            bar.set_message(doing.clone());
        }
    }

    /// A whole page in place of lines, and of the page before.
    pub fn page(&mut self, text: &str) {
        let Some(lines) = &self.lines else {
            return;
        };
        let (bar, _) = self.nodes.entry(String::new()).or_insert_with(|| {
            let bar = lines.add(ProgressBar::no_length());
            bar.set_style(
                ProgressStyle::with_template("{msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            (bar, String::new())
        });
        bar.set_message(printer::harmless(text));
    }

    /// The node has nothing more to do.
    pub fn end(&mut self, node: &str) {
        if let Some((bar, _)) = self.nodes.remove(node) {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(lines) = self.lines.take() {
            // A terminal that has gone away has nothing to be cleared.
            let _ = lines.clear();
            *shown() = None;
        }
    }
}

/// Writes where the lines are, which make way for it.
pub fn above<T>(write: impl FnOnce() -> T) -> T {
    let lines = shown().clone();
    match lines {
        Some(lines) => lines.suspend(write),
        None => write(),
    }
}

fn shown() -> std::sync::MutexGuard<'static, Option<MultiProgress>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
