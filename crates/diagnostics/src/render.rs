//! Diagnostics as text: message, place, the line with a caret, what was expected, a hint. Without
//! colour, so that it reads the same in a log.

use crate::{Diagnostic, Diagnostics, Location, Severity};
use std::fmt::{self, Formatter};

/// A line longer than this is shown in part.
const WIDTH: usize = 120;

pub(crate) fn all(f: &mut Formatter<'_>, diagnostics: &Diagnostics) -> fmt::Result {
    for d in diagnostics {
        writeln!(f, "{d}")?;
    }
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|d| d.severity == severity)
            .count()
    };
    let parts: Vec<String> = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, word)| format!("{n} {word}{}", if *n == 1 { "" } else { "s" }))
    .collect();
    if parts.is_empty() {
        return Ok(());
    }
    writeln!(f, "{}", parts.join(", "))
}

pub(crate) fn diagnostic(f: &mut Formatter<'_>, d: &Diagnostic) -> fmt::Result {
    writeln!(f, "{}: {}", d.severity, printable(&d.message))?;
    let gutter = d
        .location
        .iter()
        .map(|l| &**l)
        .chain(d.related.iter().map(|r| &r.location))
        .map(|l| l.line.to_string().len())
        .max()
        .unwrap_or(1);
    if let Some(location) = &d.location {
        place(f, gutter, location, "")?;
    }
    for related in &d.related {
        place(f, gutter, &related.location, &related.note)?;
    }
    for (word, text) in [("expected", &d.expected), ("hint", &d.hint)] {
        if let Some(text) = text {
            writeln!(f, "{:gutter$} = {word}: {}", "", printable(text))?;
        }
    }
    Ok(())
}

fn place(f: &mut Formatter<'_>, gutter: usize, at: &Location, note: &str) -> fmt::Result {
    writeln!(
        f,
        "{:gutter$}--> {}:{}:{}",
        "",
        printable(&at.file),
        at.line,
        at.column
    )?;
    let Some(excerpt) = &at.excerpt else {
        if !note.is_empty() {
            writeln!(f, "{:gutter$} = {}", "", printable(note))?;
        }
        return Ok(());
    };
    let line: Vec<char> = printable(excerpt).chars().collect();
    let column = at.column.saturating_sub(1).min(line.len());
    let start = if line.len() > WIDTH {
        column.saturating_sub(WIDTH / 2)
    } else {
        0
    };
    let shown: String = line.iter().skip(start).take(WIDTH).collect();
    let carets = at.length.clamp(
        1,
        (shown.chars().count() + start)
            .saturating_sub(column)
            .max(1),
    );
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{:>gutter$} | {}", at.line, shown.trim_end())?;
    let note = if note.is_empty() {
        String::new()
    } else {
        format!(" {}", printable(note))
    };
    writeln!(
        f,
        "{:gutter$} | {:indent$}{}{note}",
        "",
        "",
        "^".repeat(carets),
        indent = column - start
    )
}

/// Input may hold anything, and a terminal obeys control characters: they are replaced one for one,
/// so that the caret stays where it belongs.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            '\n' => '\n',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
