//! Identity's tables.

pub mod credentials;
pub mod entities;
mod migrations;
pub mod trusts;

pub use migrations::Migrator;
