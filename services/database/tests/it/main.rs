//! The guard as a whole: its decisions over every small situation, many guards in a simulated world, and real servers.

#![allow(clippy::unwrap_used, clippy::panic)]

use database::core::decide::Limits;
use std::time::Duration;

mod cluster;
mod decide;
mod model;
mod real;

/// Held by each test that needs the whole machine: servers that starve lose each other.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The times that are the defaults.
fn limits() -> Limits {
    Limits {
        fresh: Duration::from_secs(3),
        ask_after: Duration::from_secs(600),
        settle: Duration::from_secs(10),
        rejoin: Duration::from_secs(60),
        leave: Duration::from_secs(20),
        bootstrap_command: "wright database bootstrap --config F".to_owned(),
        data_dir: "/var/lib/mysql".to_owned(),
    }
}
