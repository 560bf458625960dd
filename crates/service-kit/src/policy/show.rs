//! The rules that hold without a policy file, as such a file: a beginning for one's own.

use super::{attributes, rule::Rule};
use crate::table::Table;
use std::{collections::BTreeSet, fmt::Write};

/// The file's text. It changes nothing as it is: every rule is the one that holds anyway.
pub fn defaults(table: &Table) -> String {
    let service = table.service;
    let mut out = format!(
        "# Who may call what of {service}, as it is without a policy file. Keep the lines that you change.\n\
         # Behind the calls: what `%(NAME)s` can be. `wright policy check {service} FILE` checks a file.\n"
    );
    let mut seen = BTreeSet::new();
    for row in &table.rows {
        let name = match row.rule.name() {
            Some(name) if !row.is_internal() && seen.insert(row.operation) => name,
            _ => continue,
        };
        let rows: Vec<_> = table.operation(row.operation).collect();
        // A name that a row without a token has, too, can have no rule.
        if rows
            .iter()
            .any(|row| row.rule == Rule::Public || row.is_internal())
        {
            continue;
        }
        out.push('\n');
        for row in &rows {
            let names: Vec<String> = attributes(row.path)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            let _ = write!(out, "# {} {}", row.method, row.path);
            let _ = match names.is_empty() {
                true => writeln!(out),
                false => writeln!(out, "  ({})", names.join(", ")),
            };
        }
        let _ = writeln!(out, "\"{service}:{}\": \"rule:{name}\"", row.operation);
    }
    out
}
