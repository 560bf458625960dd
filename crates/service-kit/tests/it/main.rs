//! The kit as services use it: routes with their layers, and the work queue on real databases.

// Clippy allows these in tests, but knows helpers of tests only below `#[test]`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod api;
mod policy;
mod tls;
mod work;
