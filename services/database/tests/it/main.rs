//! The guard as a whole: its decisions over every small situation, many guards in a simulated world, and real servers.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;
mod decide;
mod model;
mod real;

/// Held by each test that needs the whole machine: servers that starve lose each other.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
