//! Are the wires as the plan says? Asked from every node at once, before anything is deployed on them.
//!
//! ```text
//! Plan ─► spec ─► survey: every node listens, then all send ─► Outcome of every node ─► analysis ─► Report
//! ```
//! [`survey`] holds the conversations with the agents, over streams that the caller opens; [`analyse`] takes values and
//! gives values. A crate of its own, and no part of `health`: it needs no cloud and no client of one, so the agent's own
//! tests can hold the real program against it. It does not know the inventory, SSH, nor how the agent listens.
mod analysis;
pub mod bmc;
mod plan;
mod report;
mod spec;
mod survey;

pub use analysis::analyse;
pub use plan::{Bond, Link, Network, Node, Plan};
pub use report::{Cell, Finding, Report, Severity, Unasked};
pub use spec::Pace;
pub use survey::{Outcome, Reach, Stream, survey};
