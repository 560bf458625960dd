//! Tests that make a lab for real: namespace, wires, emulated machines, BMCs. They skip, saying why, without
//! root's rights or the programs, and leave nothing behind.
#![allow(clippy::unwrap_used)]

mod machines;
mod switch;
