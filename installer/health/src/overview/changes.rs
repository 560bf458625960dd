//! What differs between two overviews, a line each: for those who watch without a terminal. What moves all the time
//! (positions, uptimes, offsets) is no change.
use super::Overview;
use super::judge::names;
use std::collections::BTreeMap;

/// What is said of each subject.
pub type Facts = BTreeMap<String, String>;

/// More lines than this are counted: a thousand nodes that lose power at once are no thousand lines.
const LINES: usize = 20;

impl Overview {
    /// What is worth a line when it changes.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        for node in &self.nodes {
            let state = match &node.boot {
                Some(boot) => format!("reached, boot {}", boot.chars().take(8).collect::<String>()),
                None => "NOT REACHED".to_owned(),
            };
            facts.insert(node.name.clone(), state);
        }
        for address in &self.addresses {
            let holders = match address.holders.is_empty() {
                true => "nobody".to_owned(),
                false => names(&address.holders),
            };
            facts.insert(format!("{} address", address.name), format!("at {holders}"));
        }
        if let Some(database) = &self.database {
            for (name, member) in &database.members {
                let place = if member.primary {
                    ""
                } else {
                    ", outside the cluster"
                };
                facts.insert(
                    format!("database of {name}"),
                    format!("{}{place}", member.state),
                );
            }
            let used: Vec<&String> = database.used.keys().collect();
            let used = match used.is_empty() {
                true => "used by nobody".to_owned(),
                false => format!("written to at {}", names(&used)),
            };
            facts.insert("database".to_owned(), used);
        }
        if let Some(queue) = &self.queue {
            facts.insert(
                "queue".to_owned(),
                format!(
                    "{} of {} members running",
                    queue.running.len(),
                    queue.members.len()
                ),
            );
        }
        if let Some(ovn) = &self.ovn {
            for (name, members) in [
                ("northbound", &ovn.northbound),
                ("southbound", &ovn.southbound),
            ] {
                for (node, raft) in members {
                    facts.insert(format!("OVN {name} of {node}"), raft.role.clone());
                }
            }
            for chassis in ovn.chassis.iter().filter(|chassis| chassis.gateway) {
                facts.insert(
                    format!("gateways at {}", chassis.hostname),
                    chassis.carries.to_string(),
                );
            }
        }
        for service in &self.services {
            for (node, up) in self.controllers.iter().zip(&service.up) {
                facts.insert(
                    format!("{} at {node}", service.name),
                    if *up { "up" } else { "DOWN" }.to_owned(),
                );
            }
        }
        for host in self.compute.iter().flatten() {
            let state = match (host.up, host.enabled) {
                (true, true) => "up",
                (false, true) => "DOWN",
                (true, false) => "up, disabled",
                (false, false) => "down, disabled",
            };
            facts.insert(format!("compute host {}", host.host), state.to_owned());
        }
        facts.insert(self.environment.clone(), self.verdict());
        facts
    }
}

/// A line for each difference.
pub fn between(before: &Facts, after: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    for (subject, now) in after {
        match before.get(subject) {
            Some(was) if was == now => {}
            Some(was) => lines.push(format!("{subject}: {now} (was: {was})")),
            None => lines.push(format!("{subject}: {now}")),
        }
    }
    let gone = before
        .keys()
        .filter(|subject| !after.contains_key(*subject));
    lines.extend(gone.map(|subject| format!("{subject}: no longer known")));
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("and {more} more changes"));
    }
    lines
}
