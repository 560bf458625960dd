//! Image's tables.

pub mod entities;
pub mod metadefs;
mod migrations;

pub use migrations::Migrator;
