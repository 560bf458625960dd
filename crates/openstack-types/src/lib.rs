//! Wire types that both sides of an OpenStack API share: identity's tokens and
//! catalogue, version documents, microversions.
//!
//! Knows no HTTP library and no database: only the JSON that goes over the wire.

pub mod catalog;
pub mod microversion;
pub mod token;

pub use catalog::{CatalogEndpoint, CatalogService, Interface};
pub use microversion::Microversion;
pub use token::{DomainRef, NamedRef, ProjectRef, Token, TokenEnvelope, UserRef};
