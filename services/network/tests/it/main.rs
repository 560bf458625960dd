//! Integration tests: the API over a simulated driver, the store on real databases, and a real OVN.

#![allow(clippy::unwrap_used, clippy::panic)]

mod api;
mod bounds;
mod clients;
mod controllers;
mod databases;
mod ovsdb_tls;
mod real_ovn;
mod support;
