//! Network boot: what a blank machine asks for between power-on and our ramdisk.
//!
//! - [`dhcp`]: addresses and boot file names, a pure policy with a thin socket loop;
//! - [`router_advertisement`]: the answer that keeps iPXE from waiting for IPv6;
//! - [`tftp`]: the first stage for firmware that has no iPXE;
//! - [`http`]: script, kernel, ramdisk, token, images and files;
//! - [`server`]: all of them together on one interface.
//!
//! This crate deliberately does not know node states: it asks a [`policy::BootPolicy`].
pub mod dhcp;
pub mod error;
pub mod http;
pub mod mac;
pub mod policy;
pub mod router_advertisement;
pub mod server;
pub mod tftp;

pub use error::BootError;
pub use mac::Mac;
pub use policy::{BootChoice, BootPolicy, Observed};
pub use server::{BootConfig, BootServer};
