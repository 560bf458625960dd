//! Text with a name, and places in it.

use serde::{Deserialize, Serialize};

/// A file's name and text, with its lines found once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Byte offset at which each line begins.
    lines: Vec<usize>,
}

impl Source {
    /// `name` is what messages show: usually the path as the user gave it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            text,
            lines,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line without its end, counted from 1.
    pub fn line(&self, number: usize) -> Option<&str> {
        let index = number.checked_sub(1)?;
        let start = *self.lines.get(index)?;
        let end = self
            .lines
            .get(index + 1)
            .copied()
            .unwrap_or(self.text.len());
        Some(self.text.get(start..end)?.trim_end_matches(['\r', '\n']))
    }

    /// The place of `length` characters at `line` and `column` (both from 1), with its line's text.
    pub fn location(&self, line: usize, column: usize, length: usize) -> Location {
        Location {
            file: self.name.clone(),
            line,
            column,
            length,
            excerpt: self.line(line).map(str::to_owned),
        }
    }
}

/// A place in a file. Lines and columns count from 1, columns and length in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// How many characters are meant; 0 means a point between characters.
    pub length: usize,
    /// The text of the line, for the rendering.
    #[serde(skip)]
    pub excerpt: Option<String>,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
