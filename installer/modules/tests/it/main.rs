//! Modules against the real programs that they drive: one server of each kind, started and ended by its test.

// Clippy allows these in tests, but knows helpers of tests only below `#[test]`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod apt;
mod certificates;
mod daemons;
mod mariadb;
mod node;
mod postgresql;
mod rabbitmq;
mod reference;
