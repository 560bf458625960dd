//! The official OpenStack clients, for tests.
use crate::python;
use anyhow::Result;
use std::path::PathBuf;

/// The folder with `openstack`, `nova`, `glance` and `neutron`.
pub fn install() -> Result<PathBuf> {
    python::environment("clients", "tests/session/requirements.txt")
}
