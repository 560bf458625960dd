//! Provisioning runs with nodes that speak the agent's protocol over real sockets, in a network namespace of the
//! test's own that ends with it.
#![allow(clippy::unwrap_used, clippy::panic)]
mod guest_image;
mod machine;
mod runs;
