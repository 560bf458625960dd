//! DHCP (RFC 2131) for machines that the network plan knows: a decoded [`Request`], the pure [`answer`], and a
//! socket loop in [`server`].
//!
//! There is no pool and there are no leases: every address is a reservation, so nothing has to be remembered.
pub mod answer;
pub mod request;
pub mod server;

pub use answer::{Destination, DhcpPolicy, Reply, Reservation, answer};
pub use request::{Malformed, Request};
