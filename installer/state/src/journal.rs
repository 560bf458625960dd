//! Rows of the task engine (journal).
pub(crate) const SCHEMA: &[&str] = &[];
