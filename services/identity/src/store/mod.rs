//! Identity's tables.

pub mod access_rules;
pub mod accounts;
pub mod changes;
pub mod credentials;
pub mod endpoint_filter;
pub mod entities;
pub mod limits;
mod migrations;
pub mod policies;
pub mod revocation_times;
pub mod tags;
pub mod trusts;

pub use migrations::Migrator;
