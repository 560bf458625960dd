//! The engine against simulated nodes with faults, and against a real SSH server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test: a panic is its verdict"
)]

mod behaviour;
mod faults;
mod golden;
mod killed;
mod order;
mod planning;
mod sim;
mod ssh;
mod world;
