//! What the agent on a compute node and the compute service say to each other, below `/v2.1/internal/agents/{host}`:
//!
//! | call | meaning |
//! |---|---|
//! | `POST heartbeat` | I live; this is what I offer |
//! | `POST claim` | give me work, and wait some seconds when there is none |
//! | `POST operations/{id}/renew` | I am still at it |
//! | `POST operations/{id}/report` | how it came out |
//! | `POST guests` | the guests that I have; the answer says what to do about surprises |
//! | `GET metadata` | what a guest with this address on this network may read |
//!
//! Every call may be repeated. Agents have the role `service`; they need no database.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::hypervisor::{Capacity, GuestSpec, GuestState, Interface, PowerAction, Step};

/// What an agent is to do with a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum AgentTask {
    /// Build and start.
    Build,
    /// Change the power state.
    Power {
        /// To what.
        action: PowerAction,
    },
    /// Delete the guest and its disks, because the server is being deleted.
    Destroy,
    /// The same after a failed build: the server lives on elsewhere, or in state ERROR.
    Clean,
    /// Plug an interface.
    AttachInterface {
        /// The port.
        interface: Interface,
    },
    /// Unplug it.
    DetachInterface {
        /// The port.
        interface: Interface,
    },
    /// Copy the root disk into this image.
    Snapshot {
        /// Image that waits for its data.
        image_id: String,
    },
    /// Read the console; the API waits for the answer.
    Console {
        /// Last lines; all that is kept, when `None`.
        lines: Option<usize>,
        /// Where the API looks for the answer.
        answer: String,
    },
}

impl AgentTask {
    /// A word for logs and for the operation's row.
    pub fn name(&self) -> &'static str {
        match self {
            AgentTask::Build => "build",
            AgentTask::Power { .. } => "power",
            AgentTask::Destroy => "destroy",
            AgentTask::Clean => "clean",
            AgentTask::AttachInterface { .. } => "attach_interface",
            AgentTask::DetachInterface { .. } => "detach_interface",
            AgentTask::Snapshot { .. } => "snapshot",
            AgentTask::Console { .. } => "console",
        }
    }
}

/// A claimed operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentOperation {
    /// The same at every attempt.
    pub id: String,
    /// Which claim this is.
    pub generation: i64,
    /// The server.
    pub server: Uuid,
    /// What to do.
    #[serde(flatten)]
    pub task: AgentTask,
    /// The guest as it shall be; absent when the server's record is gone.
    pub spec: Option<GuestSpec>,
}

/// `POST claim`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// At most so many.
    pub limit: usize,
    /// Seconds to wait for work.
    pub wait: u64,
}

/// Its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimAnswer {
    /// Work.
    pub operations: Vec<AgentOperation>,
}

/// How an operation came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Done {
        /// The guest's power state now, as a number of the API.
        power_state: Option<i32>,
        /// Console text.
        text: Option<String>,
    },
    /// It will not succeed here.
    Failed {
        /// Where.
        step: Step,
        /// Why.
        message: String,
    },
    /// It may succeed later.
    Retry {
        /// Why not now.
        message: String,
    },
}

/// `POST operations/{id}/report`, and with no outcome `.../renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Which claim.
    pub generation: i64,
    /// The server.
    pub server: Uuid,
    /// What was to be done.
    #[serde(flatten)]
    pub task: AgentTask,
    /// How it came out.
    pub outcome: Outcome,
}

/// `POST operations/{id}/renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Renewal {
    /// Which claim.
    pub generation: i64,
}

/// Its answer, and that of `report`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    /// Whether the claim was still the caller's.
    pub held: bool,
}

/// `POST heartbeat`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    /// This node's address on the management network.
    pub address: String,
    /// What it offers.
    pub capacity: Capacity,
}

/// The answer to `GET guests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExpectedGuests {
    /// Guests of servers on the host that are running, as far as the service knows.
    pub running: Vec<GuestSpec>,
}

/// `POST guests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Guests {
    /// All of our guests on the host.
    pub guests: Vec<GuestState>,
}

/// Its answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GuestsAnswer {
    /// Guests of servers that were deleted while the host was away.
    pub destroy: Vec<Uuid>,
}
