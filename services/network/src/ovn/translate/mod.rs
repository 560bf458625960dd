//! From our virtual network to rows of OVN's northbound database. Pure: everything it needs comes as values,
//! and the same network gives the same rows. Names of rows are those that Neutron's own OVN driver gives, because
//! tools and people look for them.

mod router;
mod security;
mod switch;

use std::net::IpAddr;

use crate::model::{Chassis, Index, Topology};

use super::rows::Desired;

pub use security::protocol_number;

/// What the translation depends on beside the network itself.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// DNS servers of subnets that name none.
    pub dns_servers: Vec<IpAddr>,
    /// Domain of guests.
    pub dns_domain: String,
    /// The chassis there are, by name.
    pub chassis: Vec<Chassis>,
}

/// All rows that are to exist.
pub fn northbound(topology: &Topology, settings: &Settings) -> Desired {
    let index = Index::new(topology);
    let mut desired = Desired::default();
    switch::translate(&index, settings, &mut desired);
    router::translate(&index, settings, &mut desired);
    security::translate(&index, &mut desired);
    desired
}

/// `neutron-<id>`: the name of a network's switch and of a router.
fn named(id: &str) -> String {
    format!("neutron-{id}")
}

#[cfg(test)]
mod tests;
