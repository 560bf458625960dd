//! What the deployment host and `wright-agent` say to each other.
//!
//! Three conversations, one file each:
//! - [`enrol`]: JSON over HTTP while a node is in the boot ramdisk (hardware report, orders, progress);
//! - [`task`]: frames over SSH (`wright-agent attach`) once the node is installed;
//! - [`probe`]: frames over SSH (`wright-agent probe`): what nodes hear on their wires.
//!
//! Types only: this crate knows no sockets, no files, no clock.
pub mod enrol;
pub mod frame;
pub mod probe;
pub mod task;

/// Version of all conversations; a peer that says another one is refused.
pub const PROTOCOL: u32 = 1;
