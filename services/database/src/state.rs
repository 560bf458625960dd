//! What `GET /v1/state` says: for other guards the report, for people the rest. The wire's form only.

use crate::core::decide::Action;
use crate::core::report::{Report, Server};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `GET /v1/state`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// On what others decide.
    #[serde(flatten)]
    pub report: Report,
    /// What the guard is about.
    pub phase: Phase,
    /// Why, in words.
    #[serde(default)]
    pub why: Option<String>,
    /// The command by which the operator decides, when the guard must not.
    #[serde(default)]
    pub command: Option<String>,
    /// Since when that phase lasts (RFC 3339).
    pub since: String,
    /// The cluster's UUID.
    #[serde(default)]
    pub uuid: Option<String>,
    /// The last transaction that the node has.
    #[serde(default)]
    pub seqno: Option<i64>,
    /// In the Primary component.
    pub primary: bool,
    /// Servers in its component.
    #[serde(default)]
    pub members: Option<u32>,
    /// The component's number.
    #[serde(default)]
    pub view: Option<u64>,
    /// What went wrong last.
    #[serde(default)]
    pub last_error: Option<String>,
    /// Ends of the server that nobody asked for, in a row.
    pub failures: u32,
}

/// What a guard is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The server is in the Primary component.
    Member,
    /// For others, or for time.
    Waiting,
    /// The server starts and joins.
    Joining,
    /// The server begins the cluster.
    Bootstrapping,
    /// The server is being stopped.
    Stopping,
    /// Only the operator can decide.
    AskOperator,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Member => "member",
            Phase::Waiting => "waiting",
            Phase::Joining => "joining",
            Phase::Bootstrapping => "bootstrapping",
            Phase::Stopping => "stopping",
            Phase::AskOperator => "ask-operator",
        })
    }
}

impl Phase {
    /// Of a decision.
    pub fn of(action: &Action) -> Self {
        match action {
            Action::Keep => Phase::Member,
            Action::Wait { .. } => Phase::Waiting,
            Action::Join => Phase::Joining,
            Action::Bootstrap | Action::PcBootstrap => Phase::Bootstrapping,
            Action::StopLocal { .. } => Phase::Stopping,
            Action::AskOperator { .. } => Phase::AskOperator,
        }
    }
}

/// Why, and the operator's command, of a decision.
pub fn words(action: &Action) -> (Option<String>, Option<String>) {
    match action {
        Action::Wait { why } | Action::StopLocal { why } => (Some(why.clone()), None),
        Action::AskOperator { why, command } => (Some(why.clone()), Some(command.clone())),
        Action::Keep | Action::Join | Action::Bootstrap | Action::PcBootstrap => (None, None),
    }
}

impl State {
    /// Position, component and the like of a report's server.
    pub fn fill(&mut self) {
        let position = self.report.server.data().and_then(|data| data.position());
        self.uuid = position.map(|position| position.uuid.to_string());
        self.seqno = position.map(|position| position.seqno);
        self.primary = self.report.server.primary().is_some();
        if let Server::Running(running) = &self.report.server {
            self.members = Some(running.members);
            self.view = running.view;
        }
    }
}

/// The answer of `POST /v1/promise`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Promised {
    /// Whether it is given.
    pub promised: bool,
    /// The state in which it is.
    pub report: Report,
}
