//! What one node says of itself: the script that it runs, and its answer as values. The script only looks, needs nothing
//! but what a node has anyway, and ends by itself; the parser takes text and gives values.
//!
//! Deliberately not here: how the script comes to a node, and what is good or bad about an answer (see `judge`).
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Run by `sh` on every node. Its parts run side by side, each for a few seconds at most, and leave their answers in
/// memory: a disk that is full must not keep a node from saying so.
pub const SCRIPT: &str = include_str!("look.sh");

/// In place of a look at a node that was never installed.
pub const NOT_INSTALLED: &str = "it is not installed yet";

/// Longest answer that is read.
pub const LONGEST: usize = 256 * 1024;

/// A node's answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// Since its first process was started; of a container that is its own, not the host's.
    pub up_seconds: u64,
    /// What tells one boot from another.
    pub boot: String,
    /// Of the program `wright`.
    pub version: Option<String>,
    pub addresses: Vec<IpAddr>,
    pub failed_units: Vec<String>,
    pub clock: Option<Clock>,
    pub disks: Vec<Disk>,
    /// PEM of the certificate by which the node shows who it is.
    pub certificate: Option<String>,
    /// `wright database status` as JSON, where the database has a guard.
    pub guards: Option<Value>,
    /// Connections of services to the database here; `None`: it does not answer, or there is none.
    pub connections: Option<u32>,
    pub broker: Option<Broker>,
    /// OVN's databases by name, `northbound` and `southbound`.
    pub raft: BTreeMap<&'static str, Raft>,
    /// Chassis as the southbound database has them; `None`: it does not answer here, or there is none.
    pub chassis: Option<Vec<Chassis>>,
    /// What the controller of OVN says of its way to the southbound database: `connected` when all is well.
    pub ovn_controller: Option<String>,
}

/// The node's clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Clock {
    /// Seconds off its source.
    Off(f64),
    /// A container has its host's.
    OfHost,
    /// Why its offset is not known.
    Unknown(String),
}

/// A file system that something important lies on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disk {
    pub mount: String,
    pub bytes: u64,
    pub free: u64,
}

impl Disk {
    /// As `df` has it: of what users may take.
    pub fn used_percent(&self) -> u64 {
        match self.bytes {
            0 => 0,
            bytes => 100 - (u128::from(self.free) * 100 / u128::from(bytes)).min(100) as u64,
        }
    }
}

/// What a broker says of its cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Broker {
    Members {
        /// All members, whether they run or not.
        all: Vec<String>,
        running: Vec<String>,
        /// Members that it was cut off from, while both went on.
        partitions: Vec<String>,
        /// What stops publishers: memory, disk.
        alarms: Vec<String>,
    },
    Silent(String),
}

/// A member of the cluster of one of OVN's databases.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Raft {
    /// `leader`, `follower`, `candidate`; `alone` where there is no cluster; `down`.
    pub role: String,
    pub term: Option<u64>,
    /// Of the cluster, as this member knows it.
    pub members: usize,
}

/// A chassis of OVN.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chassis {
    pub name: String,
    pub hostname: String,
    /// It may carry gateways.
    pub gateway: bool,
    /// Routers whose way out is here.
    pub carries: usize,
}

/// Reads the answer to [`SCRIPT`].
///
/// # Errors
/// It is no such answer, or was cut off.
pub fn parse(answer: &str) -> Result<Look, String> {
    let parts = parts(answer)?;
    let text = |name: &str| parts.get(name).map(|part| part.text.as_str());
    let done = |name: &str| parts.get(name).filter(|part| part.code == 0);
    let (up_seconds, boot) = text("up")
        .and_then(up)
        .ok_or("it does not say since when it is up")?;
    let lines = |name: &str| -> Vec<String> {
        let lines = text(name).unwrap_or_default().lines();
        lines
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    Ok(Look {
        up_seconds,
        boot,
        version: done("version")
            .and_then(|part| Some(part.text.split_whitespace().nth(1)?.to_owned())),
        addresses: lines("addresses")
            .iter()
            .filter_map(|line| address(line))
            .collect(),
        failed_units: match done("units") {
            Some(_) => lines("units")
                .iter()
                .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
                .collect(),
            None => Vec::new(),
        },
        clock: parts.get("clock").map(clock),
        disks: disks(text("disks").unwrap_or_default()),
        certificate: done("certificate").map(|part| part.text.clone()),
        guards: done("guards").and_then(|part| serde_json::from_str(&part.text).ok()),
        connections: done("connections").and_then(|part| part.text.trim().parse().ok()),
        broker: parts.get("broker").map(broker),
        raft: [("northbound", "raft-nb"), ("southbound", "raft-sb")]
            .into_iter()
            .filter_map(|(name, part)| Some((name, raft(parts.get(part)?))))
            .collect(),
        chassis: done("chassis")
            .and_then(|part| chassis(&part.text, done("gateways").map(|part| part.text.as_str()))),
        ovn_controller: parts.get("ovn-controller").map(|part| match part.code {
            0 => part.text.trim().to_owned(),
            _ => "does not answer".to_owned(),
        }),
    })
}

/// One command's answer.
struct Part {
    code: i32,
    text: String,
}

/// `==begin NAME`, what the command said, `==end NAME CODE`; at the end `==whole`.
fn parts(answer: &str) -> Result<BTreeMap<String, Part>, String> {
    let mut parts = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in answer.lines() {
        if line == "==whole" {
            return Ok(parts);
        }
        if let Some(name) = line.strip_prefix("==begin ") {
            open = Some((name.to_owned(), String::new()));
        } else if let Some(end) = line.strip_prefix("==end ") {
            if let (Some((name, text)), Some((_, code))) = (open.take(), end.split_once(' ')) {
                let code = code.parse().unwrap_or(-1);
                parts.insert(name, Part { code, text });
            }
        } else if let Some((_, text)) = &mut open {
            text.push_str(line);
            text.push('\n');
        }
    }
    let said: String = answer.trim().chars().take(200).collect();
    Err(match said.is_empty() {
        true => "it said nothing".to_owned(),
        false => format!("its answer is not whole: {said}"),
    })
}

/// `/proc/uptime`, the start of process 1 in hundredths of a second after boot, the boot's id.
fn up(text: &str) -> Option<(u64, String)> {
    let mut lines = text.lines();
    let uptime: f64 = lines.next()?.split_whitespace().next()?.parse().ok()?;
    // Of process 1, as a container has its host's uptime.
    let began: f64 = lines.next()?.trim().parse::<f64>().ok()? / 100.0;
    let id = lines.next()?.trim().to_owned();
    Some(((uptime - began).max(0.0) as u64, id))
}

/// Of a line of `ip -o addr`.
fn address(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    words.find(|word| *word == "inet" || *word == "inet6")?;
    words.next()?.split('/').next()?.parse().ok()
}

fn clock(part: &Part) -> Clock {
    let text = part.text.trim();
    if text == "container" {
        return Clock::OfHost;
    }
    // Field 5 of `chronyc -c tracking` is the system time's offset, in seconds.
    match text
        .split(',')
        .nth(4)
        .and_then(|offset| offset.parse().ok())
    {
        Some(offset) if part.code == 0 => Clock::Off(offset),
        _ => Clock::Unknown(match text.lines().next() {
            Some(line) => line.to_owned(),
            None => "chronyd does not answer".to_owned(),
        }),
    }
}

/// `df -PB1`: one line a folder, several of which may be on one file system.
fn disks(text: &str) -> Vec<Disk> {
    let mut found: BTreeMap<String, Disk> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, used, free, _, mount] = words[..]
            && let (Ok(used), Ok(free)) = (used.parse::<u64>(), free.parse::<u64>())
        {
            let disk = Disk {
                mount: mount.to_owned(),
                bytes: used.saturating_add(free),
                free,
            };
            found.insert(mount.to_owned(), disk);
        }
    }
    found.into_values().collect()
}

/// What the script has the broker say: `{ok, "members a,b;running a;partitions ;alarms disk at a;"}`.
fn broker(part: &Part) -> Broker {
    let said = part.text.split_once('"').filter(|_| part.code == 0);
    let Some((_, said)) = said else {
        return Broker::Silent(match part.code {
            124 | 137 => "no answer in time".to_owned(),
            _ => "the broker does not run".to_owned(),
        });
    };
    let list = |key: &str| -> Vec<String> {
        let values = said
            .split(';')
            .find_map(|field| field.strip_prefix(key)?.strip_prefix(' '));
        let values = values
            .unwrap_or_default()
            .split(',')
            .filter(|value| !value.is_empty());
        let mut values: Vec<String> = values.map(|value| value.replace("rabbit@", "")).collect();
        values.sort();
        values
    };
    Broker::Members {
        all: list("members"),
        running: list("running"),
        partitions: list("partitions"),
        alarms: list("alarms"),
    }
}

/// `ovs-appctl cluster/status`.
fn raft(part: &Part) -> Raft {
    let value = |key: &str| {
        let mut lines = part.text.lines();
        lines.find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()))
    };
    let role = match value("Role:") {
        Some(role) => role,
        None if part.text.contains("not a valid command")
            || part.text.contains("no database named")
            || part.text.contains("not a clustered") =>
        {
            "alone".to_owned()
        }
        None => "down".to_owned(),
    };
    let members = part
        .text
        .lines()
        .skip_while(|line| !line.starts_with("Servers:"))
        .skip(1);
    Raft {
        role,
        term: value("Term:").and_then(|term| term.parse().ok()),
        members: members.take_while(|line| line.starts_with(' ')).count(),
    }
}

/// `ovn-sbctl --format=json` of table `Chassis`, and of the bindings of routers' gateways.
fn chassis(text: &str, gateways: Option<&str>) -> Option<Vec<Chassis>> {
    let table = |text: &str| -> Option<Vec<Vec<Value>>> {
        let said: Value = serde_json::from_str(text.trim()).ok()?;
        serde_json::from_value(said["data"].clone()).ok()
    };
    let mut carried: BTreeMap<String, usize> = BTreeMap::new();
    for row in gateways.and_then(table).unwrap_or_default() {
        // A reference is `["uuid", "..."]`, none of them `["set", []]`.
        if let Some(uuid) = row.first().and_then(|chassis| chassis[1].as_str()) {
            *carried.entry(uuid.to_owned()).or_default() += 1;
        }
    }
    let rows = table(text)?.into_iter().filter_map(|row| {
        let [uuid, name, hostname, config] = <[Value; 4]>::try_from(row).ok()?;
        let options = config[1]
            .as_array()?
            .iter()
            .find(|pair| pair[0] == "ovn-cms-options");
        let gateway = options
            .and_then(|pair| pair[1].as_str())
            .is_some_and(|options| {
                options
                    .split(',')
                    .any(|option| option == "enable-chassis-as-gw")
            });
        Some(Chassis {
            name: name.as_str()?.to_owned(),
            hostname: hostname.as_str()?.to_owned(),
            gateway,
            carries: carried.get(uuid[1].as_str()?).copied().unwrap_or(0),
        })
    });
    let mut chassis: Vec<Chassis> = rows.collect();
    chassis.sort_by(|a, b| a.name.cmp(&b.name));
    Some(chassis)
}
