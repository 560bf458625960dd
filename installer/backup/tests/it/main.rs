//! Tests against real daemons.
mod one_service;
