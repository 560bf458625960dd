//! `wright-agent`: one static binary with two lives.
//!
//! - [`ramdisk`]: as PID 1 of the boot ramdisk it reports the hardware and installs the machine;
//! - [`serve`]: on an installed node it runs the controller's tasks.
//!
//! Blocking code on threads: the agent does one thing at a time and must stay small. It deliberately
//! does not know the inventory: orders and tasks come resolved.
pub mod hardware;
pub mod ramdisk;
pub mod serve;
