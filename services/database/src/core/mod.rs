//! The part of the guard that only computes: no I/O, no clock.

pub mod data;
pub mod decide;
pub mod guard;
pub mod report;
