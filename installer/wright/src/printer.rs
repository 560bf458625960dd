//! Everything that the user reads. Results go to stdout and nothing else does, so that they can be
//! piped; progress, warnings and errors go to stderr. With `--output json` results are JSON, and
//! each line of stderr is one JSON object with the key `event`.

use crate::error::CommandError;
use crate::live::{self, Live};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::{self, Write};

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Writes to the user. Cheap to clone, and may be used from several tasks: a call is a whole line.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    output: Output,
}

impl Printer {
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// A result, to stdout: its text, or itself as JSON.
    pub fn data<T: Display + Serialize>(&self, result: &T) -> Result<(), CommandError> {
        let text = match self.output {
            Output::Text => result.to_string(),
            Output::Json => serde_json::to_string_pretty(result).map_err(anyhow::Error::from)?,
        };
        live::above(|| line(io::stdout().lock(), text.trim_end_matches('\n')));
        Ok(())
    }

    /// Something that happened, to stderr: `text` for people, `name` and `fields` for programs.
    pub fn event(&self, name: &str, text: &str, fields: &impl Serialize) {
        // For commands that keep one, the log is the record of what happened.
        tracing::info!(event = name, "{text}");
        match self.output {
            Output::Text => live::above(|| line(io::stderr().lock(), text)),
            Output::Json => {
                let mut object = json!({ "event": name });
                if let (Value::Object(all), Ok(Value::Object(own))) =
                    (&mut object, serde_json::to_value(fields))
                {
                    all.extend(own);
                }
                line(io::stderr().lock(), &object.to_string());
            }
        }
    }

    /// Live lines, one a node, if a person sees them.
    pub fn live(&self) -> Live {
        Live::new(self.output)
    }

    /// A step on a node's way: its live line where there is one, else a line of its own.
    pub fn step(
        &self,
        live: &mut Live,
        node: &str,
        doing: &str,
        name: &str,
        fields: &impl Serialize,
    ) {
        match live.is_shown() {
            true => live.set(node, doing),
            false => self.event(name, &format!("{node}: {doing}"), fields),
        }
    }

    /// A remark that programs need not understand.
    pub fn say(&self, text: &str) {
        self.event("note", text, &json!({ "message": text }));
    }

    pub fn warn(&self, text: &str) {
        self.event(
            "warning",
            &format!("warning: {text}"),
            &json!({ "message": text }),
        );
    }

    /// Findings that do not stop the command.
    pub fn warnings(&self, findings: &diagnostics::Diagnostics) {
        if findings.is_empty() {
            return;
        }
        let text = findings.to_string();
        self.event(
            "findings",
            text.trim_end(),
            &json!({ "diagnostics": findings.to_json() }),
        );
    }

    /// Why the command failed; the last thing that it says.
    pub fn error(&self, error: &CommandError) {
        let (text, fields) = match error {
            CommandError::Input(findings) => (
                findings.to_string(),
                json!({ "diagnostics": findings.to_json() }),
            ),
            CommandError::Failed { message, hint } => {
                let hinted = match hint {
                    Some(hint) => format!("error: {message}\n hint: {hint}"),
                    None => format!("error: {message}"),
                };
                (hinted, json!({ "message": message, "hint": hint }))
            }
            CommandError::Internal(cause) => (
                format!(
                    "error: {cause:#}\n hint: this is a fault of wright itself; \
                     the log in the state folder may tell more"
                ),
                json!({ "message": format!("{cause:#}"), "internal": true }),
            ),
        };
        self.event("error", text.trim_end(), &fields);
    }
}

/// Text without what would steer the terminal: much of it was said by nodes and servers.
pub fn harmless(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.replace(steers, "\u{fffd}")
}

/// One whole line. A reader that has gone away (`| head`) is no reason to fail.
fn line(mut stream: impl Write, text: &str) {
    let text = harmless(text);
    let _ = stream.write_all(format!("{text}\n").as_bytes());
    let _ = stream.flush();
}
