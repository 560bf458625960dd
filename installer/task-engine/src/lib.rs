//! Runs roles in Ansible's format on many nodes at once, over SSH, through `wright-agent`.
//!
//! ```text
//! parse  playbook, roles ─► Playbook          every fault at once, before anything runs
//! plan   Playbook × nodes ─► Graph            order in a node as written, between nodes as declared
//! run    Graph ─► units ─► tasks ─► link ─► agent on the node
//!        template, vars: what a task's arguments are, on this node, now
//!        journal: what a killed run continues from
//! ```
//!
//! It does not know what roles install, where the list of nodes comes from, or how progress is shown: it takes
//! [`HostSpec`]s and gives [`Event`]s.
mod event;
pub mod hidden;
mod hosts;
pub mod journal;
pub mod link;
pub mod parse;
pub mod plan;
pub mod plan_file;
mod run;
pub mod template;
pub mod vars;
pub mod vault;

pub use event::{Event, Failure, Recap, RunReport, Status, TaskDone};
pub use hosts::{HostSpec, select};
pub use link::Patience;
pub use link::ssh::Ssh;
pub use plan::Order;
pub use run::{Limits, Mode, RunError, RunSpec, run, run_parsed};
