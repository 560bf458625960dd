//! What is wrong with something a person wrote, and how to say it: [`Diagnostic`], the collection
//! [`Diagnostics`], their text and JSON, and the exit status they lead to.
//!
//! Faults are collected and told all at once; nobody should have to run a command ten times to
//! learn of ten typing errors. This crate does not know where files come from or what they mean:
//! it is handed the text of a line and a position in it.

mod exit_status;
mod render;
mod source;
mod suggest;

pub use exit_status::ExitStatus;
pub use source::{Location, Source};
pub use suggest::did_you_mean;

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The input cannot be used.
    Error,
    /// The input can be used, but probably does not say what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One finding: what is wrong, where, what was expected, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// One sentence without a full stop, naming the thing at fault in backticks.
    pub message: String,
    /// Where it is; `None` if it is nowhere in a file (a missing file, for instance).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Box<Location>>,
    /// What would have been right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Other places that belong to the matter, each with a word on its part in it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub related: Vec<Related>,
}

/// A second place that explains a [`Diagnostic`], such as the first of two duplicate keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Related {
    pub location: Location,
    /// What is at that place ("first given here").
    pub note: String,
}

impl Diagnostic {
    /// An error, so far without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// A warning, so far without a place.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            location: None,
            expected: None,
            hint: None,
            related: Vec::new(),
        }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, location: impl Into<Location>) -> Self {
        self.location = Some(Box::new(location.into()));
        self
    }

    /// Says what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Points to a second place.
    #[must_use]
    pub fn related(mut self, location: impl Into<Location>, note: impl Into<String>) -> Self {
        self.related.push(Related {
            location: location.into(),
            note: note.into(),
        });
        self
    }

    /// Adds ``did you mean `x`?`` if one of `candidates` is near `word`.
    #[must_use]
    pub fn suggest<'a>(self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match did_you_mean(word, candidates) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::diagnostic(f, self)
    }
}

/// Findings in the order in which they are to be read: by file, line and column; what has no
/// place comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one finding at its place in the order.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let key = order(&diagnostic);
        let at = self.0.partition_point(|other| order(other) <= key);
        self.0.insert(at, diagnostic);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether any finding makes the input unusable.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// `value`, unless there are errors. Warnings are dropped with `Ok`: take them out before.
    pub fn into_result<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.has_errors() {
            Err(self)
        } else {
            Ok(value)
        }
    }

    /// [`ExitStatus::Input`] if there are errors, else [`ExitStatus::Done`].
    pub fn exit_status(&self) -> ExitStatus {
        if self.has_errors() {
            ExitStatus::Input
        } else {
            ExitStatus::Done
        }
    }

    /// The findings as a JSON array.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn order(d: &Diagnostic) -> Option<(&str, usize, usize)> {
    d.location
        .as_ref()
        .map(|l| (l.file.as_str(), l.line, l.column))
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, iter: I) {
        self.0.extend(iter);
        self.0.sort_by(|a, b| order(a).cmp(&order(b)));
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(iter: I) -> Self {
        let mut all = Self::new();
        all.extend(iter);
        all
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::all(f, self)
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests;
