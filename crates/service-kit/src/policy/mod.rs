//! Who may call an operation.
//!
//! Default is denial: a row of the route table cannot be written without a [`Rule`] (`rule.rs`). An operator can
//! replace the rules of rows by a policy file: `parse.rs` reads its language, `check.rs` has a rule as a tree and its text,
//! `file.rs` checks a whole file against the rows of a service, `evaluate.rs` decides, `live.rs` follows the file while
//! the service runs. All but the last are pure.
//!
//! It does not know resources: that somebody else's server is "not found" is the service's matter, whatever a
//! policy file says.

mod check;
mod evaluate;
mod file;
mod live;
mod parse;
mod rule;
mod show;
mod target;

pub use evaluate::Overrides;
pub use file::check;
pub use live::Policies;
pub use rule::{Rule, allows};
pub use show::defaults;
pub(crate) use target::{Target, attributes};

#[cfg(test)]
mod tests;
