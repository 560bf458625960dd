//! Image's tables.

pub mod entities;
mod migrations;

pub use migrations::Migrator;
