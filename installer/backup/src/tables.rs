//! Rows and checksums of tables, as a server says them, and whether two such lists agree. Takes text, gives values.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By `database.table`.
pub type Tables = BTreeMap<String, Table>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub rows: u64,
    /// `CHECKSUM TABLE`; `None`: the table was written to while the backup was made, so nobody can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u64>,
}

/// Reads lines `rows DATABASE TABLE COUNT` and `sum DATABASE.TABLE CHECKSUM`, parted by tabulators.
///
/// # Errors
/// A line that is neither.
pub fn parse(text: &str) -> Result<Tables, String> {
    let mut tables = Tables::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split('\t').collect();
        match words[..] {
            ["rows", database, table, rows] => {
                let rows = rows.parse().map_err(|_| format!("`{line}` has no count"))?;
                let table = tables
                    .entry(format!("{database}.{table}"))
                    .or_insert(Table {
                        rows: 0,
                        checksum: None,
                    });
                table.rows = rows;
            }
            [name, sum] if name.contains('.') => {
                if let Some(table) = tables.get_mut(name) {
                    table.checksum = sum.parse().ok();
                }
            }
            _ => return Err(format!("`{line}` is no count and no checksum of a table")),
        }
    }
    Ok(tables)
}

/// What can be said of the moment between two looks: of a table that was the same both times its checksum, of another
/// one only that it was there.
pub fn between(before: &Tables, after: &Tables) -> Tables {
    let stable = |(name, table): (&String, &Table)| {
        let was = before.get(name)?;
        let checksum = table.checksum.filter(|_| was == table);
        Some((
            name.clone(),
            Table {
                rows: was.rows,
                checksum,
            },
        ))
    };
    after.iter().filter_map(stable).collect()
}

/// How a restored server differs from what the backup says, a line each; and how many tables were compared to the last
/// row.
pub fn compare(wanted: &Tables, found: &Tables) -> (usize, Vec<String>) {
    let mut same = 0;
    let mut faults = Vec::new();
    for (name, table) in wanted {
        match found.get(name) {
            None => faults.push(format!("{name} is missing")),
            Some(found) => match table.checksum {
                Some(_) if table == found => same += 1,
                Some(_) => faults.push(format!(
                    "{name} has {} rows, {} in the backup, and other contents",
                    found.rows, table.rows
                )),
                None => {}
            },
        }
    }
    (same, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Tables {
        parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn tables_that_moved_are_not_compared_and_others_to_the_last_row() {
        let before = read(&[
            "rows\tcompute\tservers\t3",
            "compute.servers\t77",
            "rows\tcompute\tbeats\t1",
            "compute.beats\t5",
        ]);
        let after = read(&[
            "rows\tcompute\tservers\t3",
            "compute.servers\t77",
            "rows\tcompute\tbeats\t1",
            "compute.beats\t6",
        ]);
        let known = between(&before, &after);
        assert_eq!(known["compute.beats"].checksum, None);
        assert_eq!(compare(&known, &after), (1, Vec::new()));
        let wrecked = read(&["rows\tcompute\tservers\t2", "compute.servers\t70"]);
        insta::assert_snapshot!(compare(&known, &wrecked).1.join("\n"), @r"
        compute.beats is missing
        compute.servers has 2 rows, 3 in the backup, and other contents
        ");
    }

    #[test]
    fn what_a_server_never_says_is_refused() {
        assert!(parse("ERROR 2002 (HY000)").is_err());
        assert_eq!(read(&["rows\ta\tb\t1", "a.b\tNULL"])["a.b"].checksum, None);
    }
}
