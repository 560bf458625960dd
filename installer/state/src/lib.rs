//! What an environment must not forget: `state.db`, `secrets.enc`, and the folder they lie in.
//!
//! - [`folder`]: the paths of an environment's folder, and their permissions;
//! - [`store`]: opens `state.db` (SQLite), its schema and its generation counter;
//! - [`nodes`], [`addresses`]: rows of nodes and the network plan's allocations;
//! - [`runs`], [`journal`]: what the task engine did; [`facts`]: what nodes said of themselves;
//! - [`secrets`]: generated passwords, encrypted at rest;
//! - [`lock`]: one writer per environment.
//!
//! This crate deliberately does not know what a node or a task is for: states are words, reports are JSON.
pub mod addresses;
pub mod error;
pub mod facts;
pub mod folder;
pub mod journal;
pub mod lock;
pub mod nodes;
mod owed;
pub mod runs;
pub mod secrets;
pub mod store;

pub use error::StateError;
pub use folder::EnvironmentFolder;
pub use lock::EnvironmentLock;
pub use nodes::{NodeRecord, Token};
pub use secrets::{Secret, Secrets};
pub use store::Store;
