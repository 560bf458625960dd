//! The overview for people: a line or two for each subject, however large the cloud. Reads well without colour.
use super::judge::names;
use super::look::Raft;
use super::{Database, Member, Node, Overview, Ovn, Queue};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// More nodes than this are told by group.
const NODES_TOLD: usize = 12;
/// Width of a subject.
const SUBJECT: usize = 12;

impl Display for Overview {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}\n", self.environment, self.verdict())?;
        for (subject, lines) in self.sections() {
            let mut subject = subject;
            for line in lines {
                let line = format!("{subject:<SUBJECT$} {line}");
                writeln!(f, "{}", line.trim_end())?;
                subject = "";
            }
        }
        for (n, fault) in self.faults.iter().enumerate() {
            if n == 0 {
                writeln!(f)?;
            }
            writeln!(f, "NOT WELL  {}: {}", fault.what, fault.saw)?;
            writeln!(f, "          next: {}", fault.next)?;
        }
        Ok(())
    }
}

impl Overview {
    /// In a word.
    pub(super) fn verdict(&self) -> String {
        match self.faults.len() {
            0 => "all well".to_owned(),
            1 => "1 thing is not well".to_owned(),
            n => format!("{n} things are not well"),
        }
    }

    fn sections(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut sections = vec![("nodes", nodes(&self.nodes))];
        if !self.addresses.is_empty() {
            let addresses = self.addresses.iter().map(|address| {
                let holder = match address.holders.is_empty() {
                    true => "nobody".to_owned(),
                    false => names(&address.holders),
                };
                format!("{} {} at {holder}", address.name, address.address)
            });
            sections.push(("addresses", addresses.collect()));
        }
        if let Some(database) = &self.database {
            sections.push(("database", self.database_lines(database)));
        }
        if let Some(queue) = &self.queue {
            sections.push(("queue", queue_lines(queue)));
        }
        if let Some(ovn) = &self.ovn {
            sections.push(("OVN", ovn_lines(ovn)));
        }
        if !self.services.is_empty() {
            sections.push(("services", self.service_lines()));
        }
        if let Some(hosts) = &self.compute {
            let count = |up: bool, enabled: bool| {
                hosts
                    .iter()
                    .filter(|host| host.up == up && host.enabled == enabled)
                    .count()
            };
            let mut words = vec![format!(
                "{} of {} hosts up",
                hosts.iter().filter(|host| host.up).count(),
                hosts.len()
            )];
            match count(true, false) + count(false, false) {
                0 => {}
                n => words.push(format!("{n} disabled")),
            }
            sections.push(("compute", vec![words.join(", ")]));
        }
        sections.push(("clocks", vec![clocks(&self.nodes)]));
        sections.extend(disks(&self.nodes).map(|line| ("disks", vec![line])));
        sections.extend(certificates(&self.nodes).map(|line| ("certificates", vec![line])));
        let run = match &self.deployment.last {
            Some(run) => format!("last run {}: {}", run.at, run.outcome),
            None => "never run".to_owned(),
        };
        sections.push((
            "deployment",
            vec![format!("{run}; {} handlers owed", self.deployment.owed)],
        ));
        sections
    }

    fn database_lines(&self, database: &Database) -> Vec<String> {
        let used = match database.used.is_empty() {
            true => "used by nobody".to_owned(),
            false => {
                let used: Vec<String> = database
                    .used
                    .iter()
                    .map(|(node, count)| format!("{node} ({count} connections)"))
                    .collect();
                format!("written to: {}", used.join(", "))
            }
        };
        let members = &database.members;
        if members.is_empty() {
            return vec![used];
        }
        let well = members.values().filter(|member| member.is_well()).count();
        let mut lines = vec![format!(
            "{well} of {} members in the cluster, {used}",
            members.len()
        )];
        let mut same: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
        for (name, member) in members {
            let key = (state(member), member.uuid.as_deref().unwrap_or(""));
            same.entry(key).or_default().push(match member.seqno {
                Some(seqno) => format!("{name} {seqno}"),
                None => name.clone(),
            });
        }
        for ((state, uuid), listed) in same {
            let history = match uuid.is_empty() {
                true => String::new(),
                false => format!(" (history {uuid})"),
            };
            lines.push(format!("{state}: {}{history}", names(&listed)));
        }
        lines
    }

    fn service_lines(&self) -> Vec<String> {
        let all_up: Vec<&str> = self
            .services
            .iter()
            .filter(|service| service.up.iter().all(|up| *up))
            .map(|service| service.name.as_str())
            .collect();
        let mut lines = Vec::new();
        if !all_up.is_empty() {
            lines.push(format!(
                "up on all {} controllers: {}",
                self.controllers.len(),
                all_up.join(" ")
            ));
        }
        for service in &self.services {
            let down = self
                .controllers
                .iter()
                .zip(&service.up)
                .filter(|(_, up)| !**up);
            let down: Vec<&String> = down.map(|(name, _)| name).collect();
            if !down.is_empty() {
                let up = self.controllers.len() - down.len();
                lines.push(format!(
                    "{}: up on {up} of {}, down on {}",
                    service.name,
                    self.controllers.len(),
                    names(&down)
                ));
            }
        }
        lines
    }
}

fn state(member: &Member) -> String {
    match member.primary {
        true => member.state.clone(),
        false => format!("{}, outside the cluster", member.state),
    }
}

fn nodes(nodes: &[Node]) -> Vec<String> {
    if nodes.len() <= NODES_TOLD {
        let width = nodes
            .iter()
            .map(|node| node.name.chars().count())
            .max()
            .unwrap_or(0);
        let line = |node: &Node| {
            let groups = node.groups.join(",");
            let about = match (node.up_seconds, &node.boot) {
                (Some(seconds), Some(boot)) => {
                    let boot: String = boot.chars().take(8).collect();
                    let version = node
                        .version
                        .as_ref()
                        .map_or(String::new(), |version| format!(", wright {version}"));
                    format!("up {}, boot {boot}{version}", span(seconds))
                }
                _ => "NOT REACHED".to_owned(),
            };
            format!("{:<width$}  {groups:<10}  {about}", node.name)
        };
        return nodes.iter().map(line).collect();
    }
    let mut groups: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
    for node in nodes {
        groups.entry(node.groups.join(",")).or_default().push(node);
    }
    let line = |(group, nodes): (String, Vec<&Node>)| {
        let silent: Vec<&str> = nodes
            .iter()
            .filter(|node| !node.reached)
            .map(|node| node.name.as_str())
            .collect();
        let ups = nodes.iter().filter_map(|node| node.up_seconds);
        let up = match (ups.clone().min(), ups.max()) {
            (Some(least), Some(most)) => format!(", up {} to {}", span(least), span(most)),
            _ => String::new(),
        };
        let silent = match silent.is_empty() {
            true => String::new(),
            false => format!(", NOT REACHED: {}", names(&silent)),
        };
        let reached = nodes.iter().filter(|node| node.reached).count();
        format!("{group}: {reached} of {} reached{up}{silent}", nodes.len())
    };
    groups.into_iter().map(line).collect()
}

fn queue_lines(queue: &Queue) -> Vec<String> {
    let mut line = format!(
        "{} of {} members running",
        queue.running.len(),
        queue.members.len()
    );
    for (what, list) in [("partitions", &queue.partitions), ("alarms", &queue.alarms)] {
        line += &match list.is_empty() {
            true => format!(", no {what}"),
            false => format!(", {what}: {}", names(list)),
        };
    }
    vec![line]
}

fn ovn_lines(ovn: &Ovn) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, members) in [
        ("northbound", &ovn.northbound),
        ("southbound", &ovn.southbound),
    ] {
        if members.is_empty() {
            continue;
        }
        let mut roles: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, Raft { role, .. }) in members {
            roles.entry(role).or_default().push(node);
        }
        // The leader first, whoever that is.
        let mut words: Vec<String> = Vec::new();
        for role in ["leader", "alone"] {
            words.extend(
                roles
                    .remove(role)
                    .map(|nodes| format!("{role} {}", names(&nodes))),
            );
        }
        words.extend(
            roles
                .iter()
                .map(|(role, nodes)| format!("{role} {}", names(nodes))),
        );
        lines.push(format!("{name}: {}", words.join(", ")));
    }
    let gateways = ovn.chassis.iter().filter(|chassis| chassis.gateway).count();
    let mut line = format!(
        "{} chassis, {gateways} may carry gateways",
        ovn.chassis.len()
    );
    let carrying: Vec<String> = ovn
        .chassis
        .iter()
        .filter(|chassis| chassis.carries > 0)
        .map(|chassis| format!("{} {}", chassis.hostname, chassis.carries))
        .collect();
    if !carrying.is_empty() {
        line += &format!("; carried: {}", names(&carrying));
    }
    lines.push(line);
    lines
}

fn clocks(nodes: &[Node]) -> String {
    let offsets = nodes
        .iter()
        .filter_map(|node| Some((node.clock_offset?.abs(), &node.name)));
    let of_host = nodes.iter().filter(|node| node.clock_of_host).count();
    match offsets.clone().max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((most, node)) => {
            format!(
                "{} known, at most {most:.6} s off ({node})",
                offsets.count()
            )
        }
        None if of_host > 0 => format!("{of_host} containers have their host's"),
        None => "none is known".to_owned(),
    }
}

fn disks(nodes: &[Node]) -> Option<String> {
    let disks = nodes
        .iter()
        .filter_map(|node| Some((node.fullest.as_ref()?, &node.name)));
    let (disk, node) = disks.max_by_key(|(disk, _)| disk.used_percent())?;
    Some(format!(
        "fullest: {} of {node}, {} %, {} free",
        disk.mount,
        disk.used_percent(),
        size(disk.free)
    ))
}

fn certificates(nodes: &[Node]) -> Option<String> {
    let ends = nodes
        .iter()
        .filter_map(|node| Some((node.certificate_ends?, &node.name)));
    let (first, node) = ends.clone().min()?;
    let date = day(first);
    Some(format!(
        "{} nodes; the first ends {date} ({node})",
        ends.count()
    ))
}

/// `2026-11-27` (UTC) of seconds since 1970.
fn day(seconds: i64) -> String {
    let date = chrono::DateTime::from_timestamp(seconds, 0);
    date.map_or_else(
        || "at no date".to_owned(),
        |date| date.format("%Y-%m-%d").to_string(),
    )
}

/// `3 min`, `5 h`, `12 d`: two figures at most, as nobody reads more.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `44 GiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 10_240 {
            return format!("{value} {unit}");
        }
        value /= 1024;
    }
    format!("{value} TiB")
}
