//! Orchestration through its router, on SQLite and a simulated cloud.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cloud;
mod cloud_network;
mod lifecycle;
mod refusals;
mod scenarios;
mod support;
