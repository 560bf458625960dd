//! What the analysis found, as values and as text.
use serde::Serialize;
use std::fmt;

/// Nodes that are shown one by one although all is well with them.
const ROWS_MAX: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The cloud will not work as planned.
    Error,
    /// Worth a look.
    Warning,
}

/// One cause, however many pairs of cards suffer from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// For programs, for example `no_carrier`.
    pub kind: &'static str,
    /// On which networks; none: it is not about one.
    pub networks: Vec<String>,
    /// The nodes that it is about, if it is about some.
    pub nodes: Vec<String>,
    pub text: String,
    /// Where to look.
    pub next_step: String,
}

/// How a node does on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// It has no card on it.
    Absent,
    /// It could not be asked.
    Unasked,
    /// With this many of so many other nodes everything passes both ways.
    With { well: usize, of: usize },
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Cell::Absent => "-".to_owned(),
            Cell::Unasked => "?".to_owned(),
            Cell::With { of: 0, .. } => "alone".to_owned(),
            Cell::With { well, of } if well == of => "ok".to_owned(),
            Cell::With { well, of } => format!("{well}/{of}"),
        };
        f.pad(&text)
    }
}

impl Serialize for Cell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A node that said nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unasked {
    pub node: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub networks: Vec<String>,
    /// By node, in the order of the networks.
    pub nodes: Vec<(String, Vec<Cell>)>,
    pub unasked: Vec<Unasked>,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Every node was asked, and nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.unasked.is_empty()
            && self
                .findings
                .iter()
                .all(|finding| finding.severity != Severity::Error)
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of_it = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of_it).count()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}: {}\n  next: {}", self.text, self.next_step)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table(f)?;
        for unasked in &self.unasked {
            writeln!(f, "not asked: {}: {}", unasked.node, unasked.reason)?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let asked = self.nodes.len() - self.unasked.len();
        let what = match (errors, warnings, self.unasked.len()) {
            (0, 0, 0) => "the wires are as planned".to_owned(),
            (errors, warnings, unasked) => {
                let counts = [
                    count(errors, "error"),
                    count(warnings, "warning"),
                    format!("{unasked} not asked"),
                ];
                let told: Vec<String> = counts
                    .into_iter()
                    .filter(|text| !text.starts_with("0 "))
                    .collect();
                told.join(", ")
            }
        };
        write!(f, "{}: {what}", count(asked, "node"))
    }
}

impl Report {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |cell: &Cell| {
            matches!(cell, Cell::With { well, of } if well == of) || *cell == Cell::Absent
        };
        let all_fit = self.nodes.len() <= ROWS_MAX;
        let is_shown = |(_, cells): &&(String, Vec<Cell>)| all_fit || !cells.iter().all(is_plain);
        let shown: Vec<_> = self.nodes.iter().filter(is_shown).collect();
        let width = |column: usize| {
            let cells = shown
                .iter()
                .map(|(_, cells)| cells[column].to_string().len());
            cells
                .chain([self.networks[column].len()])
                .max()
                .unwrap_or(0)
        };
        let names = shown.iter().map(|(node, _)| node.chars().count());
        let first = names.max().unwrap_or(0).max("node".len());
        let mut line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells
                .enumerate()
                .map(|(column, cell)| format!("{cell:<0$}", width(column)))
                .collect();
            writeln!(
                f,
                "{}",
                format!("{name:<first$}  {}", cells.join("  ")).trim_end()
            )
        };
        if !shown.is_empty() {
            line("node", &mut self.networks.iter().cloned())?;
        }
        for (node, cells) in &shown {
            line(node, &mut cells.iter().map(ToString::to_string))?;
        }
        let others = self.nodes.len() - shown.len();
        if others > 0 {
            writeln!(
                f,
                "on {} all is well on every network",
                count(others, "node")
            )?;
        }
        Ok(())
    }
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// `a`, `a and b`, `a, b and c`; of many the first ones.
pub(crate) fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [some @ .., last] if names.len() <= SHOWN => format!("{} and {last}", some.join(", ")),
        _ => format!(
            "{} and {} more",
            names[..SHOWN - 1].join(", "),
            names.len() + 1 - SHOWN
        ),
    }
}
