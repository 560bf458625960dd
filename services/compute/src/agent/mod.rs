//! The agent on a compute node: takes work from the compute service over HTTP and does it with a hypervisor.

pub mod protocol;
