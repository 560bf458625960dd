//! From a blank machine to an installed node: node states, enrolment, orders; and the building of images.
//!
//! This crate decides what a node is told; the packets and requests themselves are the `boot` crate's, the
//! rows are the `state` crate's.
pub mod image;
pub mod manifest;
