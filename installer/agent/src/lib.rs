//! `wright-agent`: one static binary with two lives, and a look at the wires.
//!
//! - [`ramdisk`]: as PID 1 of the boot ramdisk it reports the hardware and installs the machine;
//! - [`serve`]: on an installed node it runs the controller's tasks;
//! - [`probe`]: on an installed node it tells what it hears of the others, for `wright verify network`.
//!
//! Blocking code on threads: the agent does one thing at a time and must stay small. It deliberately
//! does not know the inventory: orders and tasks come resolved.
pub mod hardware;
pub mod probe;
pub mod ramdisk;
pub mod serve;
