//! The network plan: every address of every node, from the inventory and what was given before.
//!
//! [`plan`] is a function of its arguments: no files, no clock, no chance. The same inventory and
//! allocations give the same plan, and an address once given stays with its owner, also while that is
//! missing from the inventory. [`network_files`] writes a node's part of the plan as files for
//! systemd-networkd.
//!
//! This crate does not know where allocations are kept, nor who configures anything.

mod allocate;
mod plan;
mod seed;
mod table;

pub use plan::{
    Allocations, BmcPlan, Bond, Card, Interface, NetworkPlan, NodePlan, PlannedNetwork, Vips,
};
pub use seed::{FOLDER, HEADER, SeedFile, UnknownCards, network_files, system_files};

use diagnostics::Diagnostics;
use inventory::Inventory;

/// Gives every node an address on each network that its cards carry (on `app` only to controllers),
/// every BMC one on `ipmi` unless the inventory names it, and the VIPs `internal` on `mgmt` and
/// `public` on `app`.
///
/// `earlier` is what former plans gave. The allocations returned hold it too, and are to be kept.
///
/// # Errors
/// Too few addresses, or an earlier one that the networks have no place for any more; all at once.
pub fn plan(
    inventory: &Inventory,
    earlier: &Allocations,
) -> Result<(NetworkPlan, Allocations), Diagnostics> {
    let allocations = allocate::allocate(inventory, earlier)?;
    Ok((plan::assemble(inventory, &allocations), allocations))
}

#[cfg(test)]
mod tests;
