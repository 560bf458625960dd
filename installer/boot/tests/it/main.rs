//! The boot server as machines meet it: each test in a network namespace of its own, which ends with the test.
#![allow(clippy::unwrap_used, clippy::panic)]
mod http_and_tftp;
mod namespace;
mod network_boot;
