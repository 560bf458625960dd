//! DHCP (RFC 2131) for machines that the network plan knows: a decoded [`Request`], the pure [`answer`], and a
//! socket loop in [`server`].
//!
//! Every node's address is a reservation, so nothing has to be remembered of it. Machines that the inventory does
//! not know get no answer, unless it sets a [`pool`] aside for them: then an address, and nothing to boot.
pub mod answer;
pub mod pool;
pub mod request;
pub mod server;

pub use answer::{Destination, DhcpPolicy, Reply, Reservation, answer};
pub use request::{Malformed, Request};
