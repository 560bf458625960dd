//! Integration tests of the compute service: the API in process with a simulated hypervisor and stand-ins for its
//! neighbours, and a real libvirtd that boots a guest through the driver.

#![allow(clippy::panic)] // a test that waits in vain says for what

mod agents;
mod api;
mod clients;
mod libvirt;
mod world;
