//! The virtual lab: machines, emulated or containers, with their BMCs, on wires that are bridges in a network namespace of
//! the environment's own; where the inventory has bonds or VLANs, on a switch in there, too. It turns machines on and off as a rack would; it does not know what is deployed on them.
//!
//! [`Host`] is the other way: no machines, but this one as a host of the cloud, in a namespace too.
//!
//! [`LabSpec`] says what there is (made from the inventory by [`LabSpec::from_inventory`]); [`Lab`] makes it so.
//! All calls block; async callers use a blocking thread.
mod accelerator;
mod bmc;
mod cgroup;
mod checks;
mod console;
mod container;
mod daemon;
mod emulator;
mod error;
mod forward;
mod from_inventory;
mod host;
mod lab;
mod machine;
mod names;
mod network;
mod openvswitch;
mod process;
mod qmp;
mod spec;
mod switch;

pub use accelerator::Accelerator;
pub use bmc::bmc_password;
pub use checks::free_bytes;
pub use console::attach as attach_console;
pub use container::RootImage;
pub use error::LabError;
pub use forward::{Forward, forward};
pub use from_inventory::SpecError;
pub use host::{Host, HostSpec, down as host_down, host_is_there, host_shortfalls};
pub use lab::{Folders, Lab, MachineStatus};
pub use machine::{MachineKind, Power};
pub use names::namespace;
pub use network::inside;
pub use spec::{Bmc, LabSpec, Machine, Nic, Plug, SwitchPort, Wire};
pub use switch::SwitchStatus;
