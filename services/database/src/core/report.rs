//! What one node's guard knows of its own server and tells the others: the facts on which all of them decide.

use super::data::{Data, Position};
use serde::{Deserialize, Serialize};

/// The local server, as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Server {
    /// Not running.
    Stopped {
        /// What its data are worth; `None`: not read yet, or not readable (then `last_error` of the report says why).
        data: Option<Data>,
    },
    /// Starting, stopping, or running without answering. Nothing is known of its position, and it may be a member
    /// of a Primary component.
    Busy {
        /// What it is about: `starting`, `runs, but does not answer`.
        what: String,
    },
    /// Running and answering.
    Running(Running),
}

/// A running server's own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// In the cluster's Primary component.
    pub primary: bool,
    /// Position; `None`: it does not say.
    pub position: Option<Position>,
    /// Everything received is applied, so the position moves no more while the server is not Primary.
    pub settled: bool,
    /// Galera's word for the node: `Synced`, `Donor/Desynced`, `Joining`, `Initialized`, ...
    pub node_state: String,
    /// Accepts writes: `wsrep_ready` and not `read_only`.
    pub writable: bool,
    /// A donor that goes on serving while it gives its state away.
    pub serves_as_donor: bool,
    /// Servers in its component, itself included.
    pub members: u32,
    /// The component's number; rises by one at each change.
    pub view: Option<u64>,
}

impl Running {
    /// Whether the server has all of the cluster's data and says so.
    pub fn synced(&self) -> bool {
        self.primary && self.node_state == "Synced"
    }

    /// Whether the others found its data unlike theirs: it has left the cluster and does not try to come back.
    pub fn inconsistent(&self) -> bool {
        !self.primary && self.node_state == "Inconsistent"
    }
}

impl Server {
    /// The server's own account, when it is a member of a Primary component.
    pub fn primary(&self) -> Option<&Running> {
        match self {
            Server::Running(running) if running.primary => Some(running),
            _ => None,
        }
    }

    /// What its data are worth, as far as that is known.
    pub fn data(&self) -> Option<Data> {
        match self {
            Server::Stopped { data } => *data,
            Server::Busy { .. } => None,
            // Without a position it is not fresh: what is on its disk cannot be seen from here.
            Server::Running(running) => running.position.map(Data::At),
        }
    }

    /// Whether the server accepts writes for everybody: what a load balancer asks. A donor counts only while nobody
    /// else could serve (`others_synced`), so that state transfers do not take the database away from its users.
    pub fn serves(&self, others_synced: bool) -> Result<(), String> {
        let running = match self {
            Server::Stopped { .. } => return Err("the server is stopped".to_owned()),
            Server::Busy { what } => return Err(format!("the server {what}")),
            Server::Running(running) => running,
        };
        if !running.primary {
            return Err("not in the Primary component".to_owned());
        }
        if !running.writable {
            return Err("does not accept writes".to_owned());
        }
        if running.synced() || (running.serves_as_donor && !others_synced) {
            return Ok(());
        }
        Err(format!("{}, not Synced", running.node_state))
    }
}

/// What a guard tells another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The node's name.
    pub name: String,
    /// Its server.
    pub server: Server,
    /// The guard is doing something to the server, or is about to: nobody else may begin a cluster now.
    pub acting: bool,
}
