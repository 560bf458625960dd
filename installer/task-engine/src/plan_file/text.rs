//! A plan as people read it: by node, then in the order of the run, with what changes in each file. Without colour.
use std::fmt::{self, Display, Formatter};

use agent_protocol::task::Diff;
use similar::TextDiff;

use super::{Entry, PlanFile, Verdict, counted};

/// Lines of one file's diff; the plan file has all of them.
const LINES_MAX: usize = 200;

impl Display for PlanFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (node, time) in &self.old_facts {
            writeln!(f, "{node} was not asked: its facts are from {time}")?;
        }
        for (nodes, text) in by_node(&self.entries, "change") {
            writeln!(f, "{nodes}\n{text}")?;
        }
        for fault in &self.faults {
            writeln!(
                f,
                "{} FAILED in {}, task `{}`: {}",
                fault.node, fault.role, fault.task, fault.msg
            )?;
        }
        let counts = self.counts();
        if counts.change + counts.unknown == 0 && self.faults.is_empty() {
            write!(
                f,
                "Nothing would change ({} checked).",
                counted(counts.no_change, "task")
            )
        } else {
            write!(
                f,
                "Plan: {}, {} unknown, {} without a change.",
                counted(counts.change, "change"),
                counts.unknown,
                counts.no_change
            )
        }
    }
}

/// The nodes that something would happen on, and what; nodes of which the same is to be told are told of together.
/// `word` is what a change is called.
pub fn by_node(entries: &[Entry], word: &str) -> Vec<(String, String)> {
    let mut out: Vec<(Vec<&str>, String)> = Vec::new();
    for of_node in entries.chunk_by(|a, b| a.node == b.node) {
        let mut text = String::new();
        for entry in of_node {
            describe(entry, word, &mut text);
        }
        let quiet = of_node
            .iter()
            .filter(|entry| entry.verdict == Verdict::NoChange)
            .count();
        if text.is_empty() {
            continue;
        }
        if quiet > 0 {
            let quiet = counted(quiet, "task");
            text.push_str(&format!("  {quiet} without a change\n"));
        }
        let node = of_node[0].node.as_str();
        match out.iter_mut().find(|(_, same)| *same == text) {
            Some((nodes, _)) => nodes.push(node),
            None => out.push((vec![node], text)),
        }
    }
    out.into_iter()
        .map(|(nodes, text)| (names(&nodes), text))
        .collect()
}

fn names(nodes: &[&str]) -> String {
    match nodes {
        [one] => (*one).to_owned(),
        many if many.len() <= 8 => many.join(", "),
        many => format!("{}, … ({} nodes alike)", many[..4].join(", "), many.len()),
    }
}

fn describe(entry: &Entry, word: &str, out: &mut String) {
    let item = entry
        .item
        .as_ref()
        .map(|item| format!(" [{item}]"))
        .unwrap_or_default();
    let handler = if entry.handler { " (handler)" } else { "" };
    let (role, task) = (&entry.role, &entry.task);
    match &entry.verdict {
        Verdict::NoChange => {}
        Verdict::Change => {
            out.push_str(&format!("  {word:7}  {role}: {task}{item}{handler}\n"));
            for diff in &entry.diff {
                for line in diff_lines(diff) {
                    out.push_str(format!("           {line}").trim_end());
                    out.push('\n');
                }
            }
        }
        Verdict::Unknown { until, reason } => {
            let until = if *until == entry.task {
                "it".to_owned()
            } else {
                format!("`{until}`")
            };
            out.push_str(&format!(
                "  unknown  {role}: {task}{item}{handler}\n           until {until} has run ({reason})\n"
            ));
        }
    }
}

/// A diff's header, and its lines with `-` and `+` and a little of what surrounds them.
pub fn diff_lines(diff: &Diff) -> Vec<String> {
    let mut out = Vec::new();
    if !diff.header.is_empty() {
        out.push(diff.header.clone());
    }
    let compared = TextDiff::from_lines(&diff.before, &diff.after);
    for (number, hunk) in compared
        .unified_diff()
        .context_radius(2)
        .iter_hunks()
        .enumerate()
    {
        if number > 0 {
            out.push("…".to_owned());
        }
        for change in hunk.iter_changes() {
            let text = change.value().trim_end_matches(['\n', '\r']);
            out.push(format!("{}{}", change.tag(), text));
        }
    }
    if out.len() > LINES_MAX {
        let more = out.len() - LINES_MAX;
        out.truncate(LINES_MAX);
        out.push(format!("… {more} more lines"));
    }
    out.iter().map(|line| plain(line)).collect()
}

/// What a node says goes to a terminal: control characters are shown, not obeyed.
fn plain(line: &str) -> String {
    line.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
