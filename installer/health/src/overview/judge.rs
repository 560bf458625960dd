//! From what was seen to the overview, and what in it is not well with the next step. Takes values, gives values; the
//! limits are here, the wording of the overview is in `text`.
use super::look::{Broker, Clock, Look, NOT_INSTALLED};
use super::{
    ComputeHost, Database, Fault, Member, Node, Overview, Ovn, Queue, Seen, SeenNode, Service,
    VirtualAddress,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Tokens, leases and Galera all stand this much.
const CLOCK_OFF_MAX: f64 = 1.0;
/// A disk with less room left than this is told.
const FREE_PERCENT_MIN: u64 = 10;
/// A certificate that ends within this time is told, in seconds.
const CERTIFICATE_MIN: i64 = crate::sanity::certificate::DAYS as i64 * 86_400;
/// Names that one fault tells; the rest are counted.
const NAMES_TOLD: usize = 5;

impl Overview {
    /// Makes the overview of what was seen.
    pub fn of(seen: &Seen) -> Self {
        let mut faults = Faults::default();
        let controllers: Vec<String> = seen.controllers().map(|node| node.name.clone()).collect();
        let nodes = nodes(seen, &mut faults);
        let addresses = addresses(seen, &mut faults);
        let database = database(seen, &mut faults);
        let queue = queue(seen, &mut faults);
        let ovn = ovn(seen, &mut faults);
        let services = services(seen, &controllers, &mut faults);
        let compute = compute(seen, &mut faults);
        deployment(seen, &mut faults);
        Overview {
            environment: seen.environment.clone(),
            well: faults.0.is_empty(),
            faults: faults.0,
            nodes,
            addresses,
            database,
            queue,
            ovn,
            controllers,
            services,
            compute,
            deployment: seen.deployment.clone(),
        }
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, what: impl Into<String>, saw: impl Into<String>, next: impl Into<String>) {
        self.0.push(Fault {
            what: what.into(),
            saw: saw.into(),
            next: next.into(),
        });
    }

    /// One fault for all nodes that say the same: a thousand dead nodes are one line.
    fn add_grouped(&mut self, found: Vec<(String, String)>, next: &str) {
        let mut by_word: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (node, saw) in found {
            by_word.entry(saw).or_default().push(node);
        }
        for (saw, nodes) in by_word {
            self.add(names(&nodes), saw, next);
        }
    }
}

/// `node-1, node-2 and 7 more`.
pub fn names<S: AsRef<str>>(all: &[S]) -> String {
    let told: Vec<&str> = all.iter().take(NAMES_TOLD).map(AsRef::as_ref).collect();
    match all.len().saturating_sub(NAMES_TOLD) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

impl Seen {
    fn controllers(&self) -> impl Iterator<Item = &SeenNode> {
        self.nodes.iter().filter(|node| node.is_in("controller"))
    }

    fn looks(&self) -> impl Iterator<Item = (&SeenNode, &Look)> {
        self.nodes
            .iter()
            .filter_map(|node| Some((node, node.look.as_ref().ok()?)))
    }
}

impl SeenNode {
    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

fn nodes(seen: &Seen, faults: &mut Faults) -> Vec<Node> {
    let silent = seen.nodes.iter().filter_map(|node| {
        // One that is not installed is told as not deployed, with the step that does it.
        let why = node
            .look
            .as_ref()
            .err()
            .filter(|why| *why != NOT_INSTALLED)?;
        Some((node.name.clone(), format!("not reached: {why}")))
    });
    faults.add_grouped(
        silent.collect(),
        "see whether the machine is on (`wright lab status`, its BMC), and its `pxe` network",
    );
    let mut units = Vec::new();
    let mut clocks = Vec::new();
    let mut disks = Vec::new();
    let mut certificates = Vec::new();
    let nodes = seen.nodes.iter().map(|node| {
        let look = node.look.as_ref().ok();
        let name = || node.name.clone();
        if let Some(look) = look {
            if !look.failed_units.is_empty() {
                units.push((
                    name(),
                    format!("failed units: {}", names(&look.failed_units)),
                ));
            }
            match &look.clock {
                Some(Clock::Off(off)) if off.abs() > CLOCK_OFF_MAX => {
                    clocks.push((name(), format!("the clock is {off:.1} s off")));
                }
                Some(Clock::Unknown(why)) => clocks.push((name(), format!("clock: {why}"))),
                _ => {}
            }
            let full = look
                .disks
                .iter()
                .filter(|disk| disk.used_percent() > 100 - FREE_PERCENT_MIN);
            disks.extend(full.map(|disk| {
                (
                    name(),
                    format!("{} is {} % full", disk.mount, disk.used_percent()),
                )
            }));
        }
        let ends = seen.certificate_ends.get(&node.name);
        match ends {
            Some(Ok(ends)) if *ends <= seen.now => {
                certificates.push((name(), "the certificate has ended".to_owned()))
            }
            Some(Ok(ends)) if ends - seen.now < CERTIFICATE_MIN => {
                certificates.push((
                    name(),
                    format!(
                        "the certificate ends in {} days",
                        (ends - seen.now) / 86_400
                    ),
                ));
            }
            Some(Err(why)) => {
                certificates.push((name(), format!("the certificate cannot be read: {why}")))
            }
            _ => {}
        }
        Node {
            name: name(),
            groups: node.groups.clone(),
            reached: look.is_some(),
            up_seconds: look.map(|look| look.up_seconds),
            boot: look.map(|look| look.boot.clone()),
            version: look.and_then(|look| look.version.clone()),
            clock_offset: look.and_then(|look| match look.clock {
                Some(Clock::Off(off)) => Some(off),
                _ => None,
            }),
            clock_of_host: look.is_some_and(|look| look.clock == Some(Clock::OfHost)),
            fullest: look.and_then(|look| {
                look.disks
                    .iter()
                    .max_by_key(|disk| disk.used_percent())
                    .cloned()
            }),
            certificate_ends: ends.and_then(|ends| ends.as_ref().ok().copied()),
            ovn_controller: look.and_then(|look| look.ovn_controller.clone()),
        }
    });
    let nodes = nodes.collect();
    faults.add_grouped(
        units,
        "`systemctl status UNIT` and `journalctl -u UNIT` on the node",
    );
    faults.add_grouped(clocks, "`chronyc sources` on the node");
    faults.add_grouped(
        disks,
        "make room there: `du -xhd1` on the node shows what takes it",
    );
    faults.add_grouped(certificates, "`wright deploy` renews certificates");
    nodes
}

fn addresses(seen: &Seen, faults: &mut Faults) -> Vec<VirtualAddress> {
    let all_heard = seen.controllers().all(|node| node.look.is_ok());
    let mut addresses = Vec::new();
    for (name, address) in &seen.addresses {
        let holders = seen
            .looks()
            .filter(|(_, look)| look.addresses.contains(address));
        let holders: Vec<String> = holders.map(|(node, _)| node.name.clone()).collect();
        let what = || format!("{name} address");
        match (&holders[..], all_heard) {
            ([], true) => faults.add(
                what(),
                format!("nobody holds {address}"),
                "`journalctl -u keepalived -u haproxy` on the controllers",
            ),
            ([], false) => faults.add(
                what(),
                format!("none of the controllers that were reached holds {address}"),
                "see the nodes that were not reached",
            ),
            ([_], _) => {}
            _ => faults.add(
                what(),
                format!("{address} is held by {} at the same time", names(&holders)),
                "these controllers do not hear each other: `wright verify network`",
            ),
        }
        addresses.push(VirtualAddress {
            name: name.clone(),
            address: *address,
            holders,
        });
    }
    addresses
}

fn database(seen: &Seen, faults: &mut Faults) -> Option<Database> {
    let mut used = BTreeMap::new();
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    let clustered = seen.controllers().count() > 1;
    for (node, look) in seen.looks().filter(|(node, _)| node.is_in("controller")) {
        match look.connections {
            Some(count) if count > 0 => {
                used.insert(node.name.clone(), count);
            }
            None if !clustered => faults.add(
                "database",
                format!("it does not answer on {}", node.name),
                format!("`journalctl -u mariadb -u 'postgresql@*'` on {}", node.name),
            ),
            _ => {}
        }
        let said = look
            .guards
            .as_ref()
            .and_then(|said| said["nodes"].as_object());
        for (name, said) in said.into_iter().flatten() {
            let member = member(said);
            // Each guard knows its own server best; a silent one is known by what others say of it.
            let own = *name == node.name;
            if own || !members.contains_key(name) {
                members.insert(name.clone(), member);
            }
        }
    }
    if clustered {
        if members.is_empty() {
            faults.add(
                "database",
                "no guard was heard",
                "`journalctl -u wright-database` on the controllers",
            );
        }
        for (name, member) in members.iter().filter(|(_, member)| !member.is_well()) {
            let next = match &member.command {
                Some(command) => format!("to decide, on {name}: {command}"),
                None => format!(
                    "`wright database status` and `journalctl -u mariadb -u wright-database` on {name}"
                ),
            };
            let why = member
                .why
                .as_ref()
                .map_or(String::new(), |why| format!(": {why}"));
            faults.add(
                format!("database of {name}"),
                format!("{}{why}", member.state),
                next,
            );
        }
        let histories: BTreeSet<&String> = members
            .values()
            .filter_map(|member| member.uuid.as_ref())
            .collect();
        if histories.len() > 1 {
            faults.add(
                "database",
                format!("members have data of {} histories", histories.len()),
                "`wright database status` on a controller; docs/database.md",
            );
        }
    }
    (!members.is_empty() || !used.is_empty()).then_some(Database { members, used })
}

impl Member {
    pub(super) fn is_well(&self) -> bool {
        self.primary && (self.state == "Synced" || self.state.starts_with("Donor"))
    }
}

/// What `wright database status` says of one guard.
fn member(said: &Value) -> Member {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(error) = text(&said["error"]) {
        return Member {
            state: "not heard".to_owned(),
            primary: false,
            uuid: None,
            seqno: None,
            sees: None,
            why: Some(error),
            command: None,
        };
    }
    let server = &said["server"];
    let state = match server["state"].as_str() {
        Some("running") => text(&server["node_state"]),
        Some("busy") => text(&server["what"]),
        other => other.map(str::to_owned),
    };
    Member {
        state: state.unwrap_or_else(|| "unknown".to_owned()),
        primary: said["primary"] == true,
        uuid: text(&said["uuid"]),
        seqno: said["seqno"].as_i64(),
        sees: said["members"].as_u64(),
        why: text(&said["why"])
            .or_else(|| text(&said["last_error"]).filter(|_| said["primary"] != true)),
        command: text(&said["command"]),
    }
}

fn queue(seen: &Seen, faults: &mut Faults) -> Option<Queue> {
    let mut members = BTreeSet::new();
    let mut running: Option<BTreeSet<String>> = None;
    let mut alarms = BTreeSet::new();
    let mut partitions = BTreeSet::new();
    let mut asked = false;
    let mut views = BTreeSet::new();
    for (node, look) in seen.looks() {
        match &look.broker {
            None => {}
            Some(Broker::Silent(why)) => {
                asked = true;
                faults.add(
                    format!("queue of {}", node.name),
                    why.clone(),
                    format!("`journalctl -u rabbitmq-server` on {}", node.name),
                );
            }
            Some(Broker::Members {
                all,
                running: run,
                partitions: cut,
                alarms: told,
            }) => {
                asked = true;
                members.extend(all.iter().cloned());
                running.get_or_insert_default().extend(run.iter().cloned());
                partitions.extend(cut.iter().cloned());
                alarms.extend(told.iter().cloned());
                views.insert(run.clone());
            }
        }
    }
    if !asked {
        return None;
    }
    let running: Vec<String> = running.unwrap_or_default().into_iter().collect();
    let members: Vec<String> = members.into_iter().collect();
    let (alarms, partitions): (Vec<String>, Vec<String>) = (
        alarms.into_iter().collect(),
        partitions.into_iter().collect(),
    );
    let missing: Vec<&String> = members
        .iter()
        .filter(|name| !running.contains(name))
        .collect();
    if !missing.is_empty() {
        faults.add("queue", format!("{} not in its cluster", names(&missing)), "`journalctl -u rabbitmq-server` there; a broker that is back joins by itself within 15 s");
    }
    let expected = seen
        .controllers()
        .filter(|node| !members.is_empty() && !members.contains(&node.name));
    let strangers: Vec<&String> = expected.map(|node| &node.name).collect();
    if !strangers.is_empty() {
        faults.add(
            "queue",
            format!("{} never joined its cluster", names(&strangers)),
            "`rabbitmqctl cluster_status` on each: two clusters were made",
        );
    }
    if views.len() > 1 || !partitions.is_empty() {
        faults.add(
            "queue",
            "its members do not agree on who runs",
            "they heal by `pause_minority` once they hear each other: `wright verify network`",
        );
    }
    if !alarms.is_empty() {
        faults.add(
            "queue",
            format!("publishers are held back: {}", names(&alarms)),
            "free memory or disk there",
        );
    }
    Some(Queue {
        members,
        running,
        alarms,
        partitions,
    })
}

fn ovn(seen: &Seen, faults: &mut Faults) -> Option<Ovn> {
    let mut ovn = Ovn {
        northbound: BTreeMap::new(),
        southbound: BTreeMap::new(),
        chassis: Vec::new(),
    };
    for (node, look) in seen.looks() {
        for (name, raft) in &look.raft {
            let members = match *name {
                "northbound" => &mut ovn.northbound,
                _ => &mut ovn.southbound,
            };
            members.insert(node.name.clone(), raft.clone());
        }
        // Of several databases the one that knows most: a follower may be behind.
        if let Some(chassis) = &look.chassis
            && chassis.len() > ovn.chassis.len()
        {
            ovn.chassis.clone_from(chassis);
        }
    }
    for (name, members) in [
        ("northbound", &ovn.northbound),
        ("southbound", &ovn.southbound),
    ] {
        if members.is_empty() {
            continue;
        }
        let what = format!("OVN {name}");
        let down: Vec<&String> = members
            .iter()
            .filter(|(_, raft)| !matches!(raft.role.as_str(), "leader" | "follower" | "alone"))
            .map(|(node, _)| node)
            .collect();
        if !down.is_empty() {
            faults.add(
                what.clone(),
                format!("{} is neither leader nor follower", names(&down)),
                "`journalctl -u ovn-central` there",
            );
        }
        // One that was cut off may still take itself for the leader of an earlier term.
        let newest = members.values().filter_map(|raft| raft.term).max();
        let leaders = members
            .values()
            .filter(|raft| raft.role == "alone" || (raft.role == "leader" && raft.term == newest))
            .count();
        if leaders != 1 {
            faults.add(
                what,
                format!("it has {leaders} leaders"),
                "it needs the majority of its members: see the nodes that were not reached",
            );
        }
    }
    let cut = seen.looks().filter_map(|(node, look)| {
        let state = look
            .ovn_controller
            .as_ref()
            .filter(|state| *state != "connected")?;
        Some((node.name.clone(), format!("ovn-controller: {state}")))
    });
    faults.add_grouped(cut.collect(), "`journalctl -u ovn-controller` on the node");
    let has_any =
        !(ovn.northbound.is_empty() && ovn.southbound.is_empty() && ovn.chassis.is_empty());
    has_any.then_some(ovn)
}

fn services(seen: &Seen, controllers: &[String], faults: &mut Faults) -> Vec<Service> {
    let mut order: Vec<&str> = Vec::new();
    for service in &seen.services {
        if !order.contains(&service.name.as_str()) {
            order.push(&service.name);
        }
    }
    let unreached: BTreeSet<&str> = seen
        .controllers()
        .filter(|node| node.look.is_err())
        .map(|node| node.name.as_str())
        .collect();
    let mut services = Vec::new();
    for name in order {
        let of = |controller: &str| {
            seen.services
                .iter()
                .find(|service| service.name == name && service.node == controller)
        };
        let up = controllers
            .iter()
            .map(|controller| of(controller).is_some_and(|service| service.up.is_ok()));
        services.push(Service {
            name: name.to_owned(),
            up: up.collect(),
        });
        // Services of a dead machine are down with it: that is one fault, told already.
        let down = seen
            .services
            .iter()
            .filter(|service| service.name == name && !unreached.contains(service.node.as_str()));
        let down = down.filter_map(|service| {
            Some((
                service.node.clone(),
                format!("{name} is down: {}", service.up.as_ref().err()?),
            ))
        });
        faults.add_grouped(
            down.collect(),
            &format!("`journalctl -u wright-{name}` on the node"),
        );
    }
    services
}

fn compute(seen: &Seen, faults: &mut Faults) -> Option<Vec<ComputeHost>> {
    match seen.compute.as_ref()? {
        Ok(hosts) => {
            let down: Vec<&String> = hosts
                .iter()
                .filter(|host| !host.up && host.enabled)
                .map(|host| &host.host)
                .collect();
            if !down.is_empty() {
                faults.add(
                    "compute",
                    format!("{} down", names(&down)),
                    "`journalctl -u wright-compute-agent` there",
                );
            }
            Some(hosts.clone())
        }
        Err(why) => {
            faults.add(
                "compute",
                format!("its API does not answer: {why}"),
                "see the services and the internal address",
            );
            None
        }
    }
}

fn deployment(seen: &Seen, faults: &mut Faults) {
    let deployment = &seen.deployment;
    if !deployment.not_deployed.is_empty() {
        faults.add(
            names(&deployment.not_deployed),
            "not deployed",
            "`wright deploy` goes on where it stopped",
        );
    }
    if deployment.owed > 0 {
        faults.add(
            "deployment",
            format!(
                "{} handlers are owed since a run that failed",
                deployment.owed
            ),
            "`wright deploy` runs them",
        );
    }
    if let Some(last) = deployment
        .last
        .as_ref()
        .filter(|last| last.outcome != "done")
    {
        faults.add(
            "deployment",
            format!("the last run ({}): {}", last.at, last.outcome),
            "`wright log` tells what failed; `wright deploy` goes on",
        );
    }
}
