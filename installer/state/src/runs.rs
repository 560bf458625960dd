//! Rows of the task engine (runs).
pub(crate) const SCHEMA: &[&str] = &[];
