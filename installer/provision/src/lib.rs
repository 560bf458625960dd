//! From a blank machine to an installed node: node states, enrolment, orders; and the building of images.
//!
//! This crate decides what a node is told; the packets and requests themselves are the `boot` crate's, the
//! rows are the `state` crate's.
//!
//! - [`machine`]: node states and what leads from one to the next;
//! - [`spec`], [`orders`]: what a node is to become, and what it is told;
//! - [`cards`]: which card of the machine is which of the inventory;
//! - [`nodes`], [`enrol`]: who may boot what, and the agent's reports;
//! - [`progress`]: how far each node is, and whether it still moves;
//! - [`provisioner`]: a run over all nodes;
//! - [`contained`]: nodes that are containers, which come with their image;
//! - [`manifest`], [`image`], [`agent_program`]: built images, building them, and the agent that goes into them.
pub mod agent_program;
pub mod cards;
pub mod contained;
pub mod enrol;
pub mod image;
pub mod machine;
pub mod manifest;
pub mod nodes;
pub mod orders;
pub mod progress;
pub mod provisioner;
pub mod spec;
pub mod ssh_key;
#[cfg(test)]
mod testing;

pub use machine::{Happening, NodeState};
pub use progress::{Event, Patience, Step};
pub use provisioner::{Outlook, ProvisionError, ProvisionSpec, Provisioner};
pub use spec::NodeSpec;
