//! Ending what this process started, and what that started in turn. It reads `/proc` and calls `kill`;
//! it does not know why a run is ended.
use std::{collections::BTreeMap, fs, process::Command, thread, time::Duration};

/// Time for a clean end before the hard one.
const GRACE: Duration = Duration::from_secs(10);

/// Asks every descendant to end, waits a little, and kills what is left.
pub fn end_descendants() {
    let own = std::process::id();
    let found = descendants(own, &parents());
    signal("TERM", &found);
    thread::sleep(GRACE);
    // Parents that ended left theirs to others: so the list from before, as far as it still lives.
    let alive = parents();
    let left: Vec<u32> = found
        .into_iter()
        .chain(descendants(own, &alive))
        .filter(|pid| alive.contains_key(pid))
        .collect();
    signal("KILL", &left);
}

fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    // A process that is gone already is no error here.
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .args(pids.iter().map(u32::to_string))
        .status();
}

/// Every process and its parent.
fn parents() -> BTreeMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((
                pid,
                parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?,
            ))
        })
        .collect()
}

/// The parent in a line of `/proc/PID/stat`: the second field after the name, which may hold anything.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(of: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(pid, its)| **its == parent && **pid != parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.remove(0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_are_found_and_others_are_not() {
        let parents = BTreeMap::from([(1, 0), (10, 1), (11, 10), (12, 11), (13, 11), (20, 1)]);
        assert_eq!(descendants(10, &parents), [11, 12, 13]);
        assert!(descendants(20, &parents).is_empty());
    }

    #[test]
    fn a_name_with_brackets_does_not_hide_the_parent() {
        assert_eq!(parent("42 (a) b) S 7 42 42 0"), Some(7));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn the_real_table_holds_this_process() {
        assert!(parents().contains_key(&std::process::id()));
    }
}
