//! Integration tests of the compute service.
