//! The whole cloud at a glance: [`Overview`], made from what nodes, services and the state said ([`Seen`]).
//!
//! | part | job |
//! |---|---|
//! | [`look`] | what one node is asked, and its answer as values |
//! | `judge` | from all answers to the overview, and what in it is not well |
//! | `text` | the overview for people |
//! | [`changes`] | what differs from the one before, a line each |
//!
//! All of it is pure: it takes values and gives values. How nodes are reached and services asked is the caller's.
mod changes;
mod judge;
pub mod look;
#[cfg(test)]
mod tests;
mod text;

pub use changes::{Facts, between};
use look::{Chassis, Look, Raft};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
pub use text::size;

/// What was seen, before anything is made of it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub environment: String,
    /// Seconds since 1970.
    pub now: i64,
    /// In the inventory's order.
    pub nodes: Vec<SeenNode>,
    /// Virtual addresses by name.
    pub addresses: BTreeMap<String, IpAddr>,
    /// Bundled services of each controller, and what the health end point of each said.
    pub services: Vec<SeenService>,
    /// Compute services as the cloud's API has them; `Err`: it does not answer.
    pub compute: Option<Result<Vec<ComputeHost>, String>>,
    pub deployment: Deployment,
    /// When the certificate of a node ends, in seconds since 1970.
    pub certificate_ends: BTreeMap<String, Result<i64, String>>,
}

#[derive(Debug, Clone)]
pub struct SeenNode {
    pub name: String,
    pub groups: Vec<String>,
    /// Why it could not be looked at.
    pub look: Result<Look, String>,
}

#[derive(Debug, Clone)]
pub struct SeenService {
    pub name: String,
    pub node: String,
    /// Why it is down.
    pub up: Result<(), String>,
}

/// A compute host as the compute service has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComputeHost {
    pub host: String,
    pub up: bool,
    pub enabled: bool,
}

/// What the deployment host knows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Deployment {
    /// The newest run that may have changed nodes.
    pub last: Option<Run>,
    /// Handlers that the next run owes, over all nodes.
    pub owed: usize,
    /// Nodes of the inventory that are not deployed.
    pub not_deployed: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// RFC 3339, to the second.
    pub at: String,
    /// `done`, `failed`, `running or interrupted`.
    pub outcome: String,
}

/// The cloud at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    pub environment: String,
    pub well: bool,
    /// What is not well, the gravest first.
    pub faults: Vec<Fault>,
    pub nodes: Vec<Node>,
    pub addresses: Vec<VirtualAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ovn: Option<Ovn>,
    /// Controllers in the order of [`Service::up`].
    pub controllers: Vec<String>,
    pub services: Vec<Service>,
    /// `None`: not asked, or no answer, which is a fault then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute: Option<Vec<ComputeHost>>,
    pub deployment: Deployment,
}

/// What is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// `node-2`, `database`, `internal address`.
    pub what: String,
    pub saw: String,
    /// What to do about it.
    pub next: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Node {
    pub name: String,
    pub groups: Vec<String>,
    pub reached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Seconds off its time source; `None`: not known, or a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset: Option<f64>,
    pub clock_of_host: bool,
    /// The file system with the least room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fullest: Option<look::Disk>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ovn_controller: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct VirtualAddress {
    pub name: String,
    pub address: IpAddr,
    pub holders: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Database {
    /// Guards' nodes by name; empty where there is no cluster.
    pub members: BTreeMap<String, Member>,
    /// Nodes to which services are connected, with how many connections.
    pub used: BTreeMap<String, u32>,
}

/// A member of the database's cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Galera's word, or the guard's.
    pub state: String,
    pub primary: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seqno: Option<i64>,
    /// Members in its component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sees: Option<u64>,
    /// Why it is not a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// By which the operator decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Queue {
    pub members: Vec<String>,
    pub running: Vec<String>,
    pub alarms: Vec<String>,
    pub partitions: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Ovn {
    pub northbound: BTreeMap<String, Raft>,
    pub southbound: BTreeMap<String, Raft>,
    pub chassis: Vec<Chassis>,
}

/// A bundled service.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    pub name: String,
    /// By controller.
    pub up: Vec<bool>,
}
